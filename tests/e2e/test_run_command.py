"""`deep-store-sync run`: a whole run from a shell."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.command_line import CommandLine
from tests.e2e.kit import NEW_INDEXES, Sync, add_indexes


@pytest.fixture
def shell(sync: Sync, tmp_path: Path) -> CommandLine:
    """Two months of flights, out of sync."""
    sync.sandbox.load_flights(months=[1, 2])
    add_indexes(sync.sandbox)
    return CommandLine.of(sync, tmp_path, engine={"jars": str(sync.sandbox.jars_dir)}, batchSegments=1)


def told(out: str) -> dict[str, Any]:
    document = json.loads(out)
    (table,) = document["tables"]
    return {"runId": document["runId"], **table}


def test_it_syncs_the_table_and_a_second_run_has_nothing_to_do(shell: CommandLine) -> None:
    code, out, err = shell.run("run", "--json")
    assert code == 0, err
    first = told(out)
    assert first["counts"] == {"synced": 2}
    views = shell.sync.look()
    assert all(view.indexes >= NEW_INDEXES for view in views.values())
    assert {view.stamped_by for view in views.values()} == {first["runId"]}
    assert "segments rebuilt at once" in err

    code, out, _ = shell.run("run")
    assert code == 0
    assert "2 skipped" in out
    assert shell.sync.look() == views


def test_on_a_terminal_a_bar_tells_how_far_it_is(shell: CommandLine) -> None:
    code, shown = shell.on_terminal("run")
    assert code == 0, shown
    assert "batch 2 of 2 is published, 2 of 2 segments rebuilt, 2 done" in shown
    assert "/s" in shown
    assert "segments rebuilt at once" not in shown  # a line of the log, which is not told then
    assert shown.rstrip().split("\n")[-2].rpartition("\x1b[2K")[2].startswith(f"{shell.sync.table}, run shell__")
    assert "2 synced" in shown

    code, shown = shell.on_terminal("run", "--verbose", NO_COLOR="1")
    assert code == 0, shown
    assert "2 skipped" in shown
    assert "nothing to do" in shown
    assert not re.search(r"\x1b\[3\dm", shown)


def test_a_dry_run_changes_nothing(shell: CommandLine) -> None:
    before = shell.sync.look()
    code, out, err = shell.run("run", "--dry-run")
    assert code == 0
    assert "a dry run" in out
    assert "rebuild: 2 segments" in err
    assert shell.sync.look() == before


def test_it_is_bounded_by_globs_and_by_number(shell: CommandLine) -> None:
    code, out, _ = shell.run("run", "--json", "--segment", "*-02")
    assert (code, told(out)["counts"]) == (0, {"synced": 1})
    code, out, _ = shell.run("run", "--json", "--max-segments", "1")
    assert (code, told(out)["counts"]) == (0, {"skipped": 1, "synced": 1})


def test_what_is_left_undone_ends_with_a_code_of_its_own(shell: CommandLine) -> None:
    shell.sync.run()
    config = shell.sync.sandbox.table_config(shell.sync.table)
    config["tableIndexConfig"]["invertedIndexColumns"] = ["dest"]
    shell.sync.sandbox.update_table_config(config)
    for segment in shell.sync.look():
        shell.sync.services.store.delete(_url(shell.sync, segment))
    code, out, _ = shell.run("run")
    assert code == 1
    assert "Undone: 2 failed" in out


def _url(sync: Sync, segment: str) -> str:
    url = sync.services.controller.segment(sync.table, segment).url
    assert url is not None
    return url
