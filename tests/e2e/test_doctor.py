"""`deep-store-sync doctor` on a real cluster: what is right, and what is wrong, with the remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.command_line import CommandLine
from tests.e2e.kit import Sync


@pytest.fixture
def loaded(sync: Sync) -> Sync:
    sync.sandbox.load_flights(months=[1])
    return sync


def examine(sync: Sync, folder: Path, **settings: Any) -> tuple[int, dict[str, tuple[str, str]]]:
    """Exit code, and verdict and words by check."""
    settings = {"engine": {"jars": str(sync.sandbox.jars_dir)}, **settings}
    code, out, _ = CommandLine.of(sync, folder, **settings).run("doctor", "--json")
    (table,) = json.loads(out)["tables"]
    return code, {check["subject"]: (check["verdict"], check["message"]) for check in table["checks"]}


def test_a_healthy_table(loaded: Sync, tmp_path: Path) -> None:
    before = [item.url for item in loaded.services.store.list(loaded.workspace)]
    code, checks = examine(loaded, tmp_path)
    assert code == 0
    assert {verdict for verdict, _ in checks.values()} == {"ok"}, checks
    assert {"controller", "table", "isStale", "deep store", "workspace", "backup", "segment library"} <= set(checks)
    assert len([subject for subject in checks if subject.startswith("server ")]) == len(loaded.sandbox.servers)
    assert [item.url for item in loaded.services.store.list(loaded.workspace)] == before


def test_a_server_that_is_down_is_a_warning(loaded: Sync, tmp_path: Path) -> None:
    server = loaded.sandbox.servers[0]
    loaded.sandbox.stop_server(server)
    code, checks = examine(loaded, tmp_path)
    assert code == 0
    (verdict, message) = checks["isStale"]
    assert verdict == "warning"
    assert server in message
    assert checks[f"server {server}"][0] == "warning"
    assert "unproven" in checks[f"server {server}"][1]


@pytest.mark.parametrize(
    ("settings", "subject", "words"),
    [
        ({"deepStorePrefixes": ["s3://elsewhere/data"]}, "deep store", "outside deepStorePrefixes"),
        ({"workspace": "s3://no-such-bucket/work"}, "workspace", "no-such-bucket"),
        ({"backup": "versioning"}, "backup", "nothing would be overwritten"),
        ({"engine": {"jars": "/no/such/folder"}}, "segment library", "/no/such/folder"),
    ],
)
def test_what_is_wrong_is_found_and_named(
    loaded: Sync, tmp_path: Path, settings: dict[str, Any], subject: str, words: str
) -> None:
    code, checks = examine(loaded, tmp_path, **settings)
    assert code == 1
    assert checks[subject][0] == "failed"
    assert words in checks[subject][1]


def test_a_table_that_is_not_there(loaded: Sync, tmp_path: Path) -> None:
    code, checks = examine(loaded, tmp_path, table="nobody_OFFLINE")
    assert code == 1
    assert checks["table"][0] == "failed"
    assert "nobody_OFFLINE" in checks["table"][1]
    assert checks["workspace"][0] == "ok"
