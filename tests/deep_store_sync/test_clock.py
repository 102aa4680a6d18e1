"""Where this machine's clock is read: in one place, and for nothing that decides."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("include/deep_store_sync", "plugins/deep_store_sync_airflow")

READS = {
    ("time", "time"),
    ("time", "time_ns"),
    ("time", "localtime"),
    ("time", "gmtime"),
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
}

FOR = {
    # The name of a run that somebody starts from a shell.
    "include/deep_store_sync/command/run.py",
    # The name of a run's folder, which is made unique and put in order by what is there already.
    "include/deep_store_sync/find.py",
    # The time of a stamp, for people.
    "include/deep_store_sync/publishing/publish_segment.py",
    # How long ago a file of this machine was made, by this machine.
    "include/deep_store_sync/workdir.py",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def test_the_clock_is_read_in_one_place() -> None:
    reads = {
        module
        for module, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in READS
    }
    assert reads == {"include/deep_store_sync/clock.py"}


def test_those_who_ask_it_decide_nothing_by_it() -> None:
    asks = {
        module
        for module, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module == "deep_store_sync.clock" or any(name.name == "clock" for name in node.names))
    }
    assert asks == FOR
