"""`deep-store-sync plan` on a real cluster: what it tells is what the next run does, and it writes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.command_line import CommandLine
from tests.e2e.kit import Sync, add_indexes

from deep_store_sync.model import Action, Outcome


@pytest.fixture
def shell(sync: Sync, tmp_path: Path) -> CommandLine:
    """Two months of flights, out of sync in the deep store."""
    sync.sandbox.load_flights(months=[1, 2])
    add_indexes(sync.sandbox)
    return CommandLine.of(sync, tmp_path, batchSegments=1)


def plan(shell: CommandLine, *options: str) -> dict[str, Any]:
    code, out, err = shell.run("plan", "--json", *options)
    assert code == 0, err
    (table,) = json.loads(out)["tables"]
    return dict(table)


def actions(told: dict[str, Any]) -> dict[str, int]:
    return {of["action"]: of["segments"] for of in told["actions"]}


def written(sync: Sync) -> list[str]:
    return [item.url for item in sync.services.store.list(sync.workspace)]


def test_a_plan_is_what_the_next_run_does(shell: CommandLine) -> None:
    sync, replicas = shell.sync, len(shell.sync.sandbox.servers)
    before = sync.look()
    told = plan(shell)
    assert written(sync) == []
    assert sync.look() == before
    assert (told["segments"], told["work"], actions(told)) == (2, 2, {Action.REBUILD: 2})
    assert told["seconds"] is None
    dry, _ = _dry_run(shell)
    assert dry == {name: value for name, value in told.items() if name != "table"}

    rows = shell.sync.run()
    report = sync.reports[-1]
    assert {row.outcome for row in rows.values()} == {Outcome.SYNCED}
    assert told["downloadBytes"] == report.downloaded_bytes
    assert told["serverDownloads"] == told["serverDownloadsMost"] == report.server_downloads == 2 * replicas
    assert told["serverDownloadBytes"] == replicas * report.downloaded_bytes
    # Indexes came on top of what the objects were.
    assert 0 < told["uploadBytes"] == told["rebuildBytes"] == told["downloadBytes"] < report.uploaded_bytes

    told = plan(shell, "--force")
    assert (told["work"], actions(told)) == (0, {Action.SKIP: 2})
    code, out, _ = shell.run("plan")
    assert code == 0
    assert "Nothing to do: none of 2 segments would be worked on" in out


def test_what_servers_have_already_they_do_not_download(shell: CommandLine) -> None:
    sync, replicas = shell.sync, len(shell.sync.sandbox.servers)
    sync.sandbox.reload(sync.table)
    told = plan(shell, "--max-segments", "1")
    assert actions(told) == {Action.AUDIT: 1, Action.DEFER: 1}
    assert (told["serverDownloads"], told["serverDownloadsMost"]) == (0, replicas)
    rows = sync.run(max_segments=1)
    assert sorted(row.outcome for row in rows.values()) == [Outcome.DEFERRED, Outcome.SYNCED]
    assert sync.reports[-1].server_downloads == 0
    assert sync.reports[-1].downloaded_bytes == told["downloadBytes"]

    # By now there is a run to go by.
    code, out, err = shell.run("plan", "--segment", "*-01", "--force")
    assert code == 0, err
    assert "Work: 1 of 1 segments, in 1 batches" in out
    assert "of 1 finished runs, their waiting included" in out
    assert f"Server downloads: none by what servers say now; {replicas}, " in out


def test_a_table_without_segments(sync: Sync, tmp_path: Path) -> None:
    sync.sandbox.load_flights(months=[])
    shell = CommandLine.of(sync, tmp_path)
    told = plan(shell)
    assert (told["segments"], told["work"], told["actions"], told["reasons"]) == (0, 0, [], [])
    code, out, _ = shell.run("plan")
    assert code == 0
    assert "Nothing to do: none of 0 segments" in out


def _dry_run(shell: CommandLine) -> tuple[dict[str, Any], str]:
    code, out, err = shell.run("run", "--dry-run", "--json")
    assert code == 0, err
    (table,) = json.loads(out)["tables"]
    return table["estimate"], err
