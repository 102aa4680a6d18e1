"""`deep-store-sync explain` on a real cluster: what is known of a segment, and what would be done with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.command_line import CommandLine
from tests.e2e.kit import Sync, add_indexes

from deep_store_sync.model import Action, StampState

SEGMENT = "flights_2013-01"


@pytest.fixture
def shell(sync: Sync, tmp_path: Path) -> CommandLine:
    """A month of flights, out of sync in the deep store and on servers."""
    sync.sandbox.load_flights(months=[1])
    add_indexes(sync.sandbox)
    return CommandLine.of(sync, tmp_path)


def explain(shell: CommandLine, segment: str = SEGMENT) -> dict[str, Any]:
    code, out, err = shell.run("explain", segment, "--json")
    assert code == 0, err
    (table,) = json.loads(out)["tables"]
    return dict(table)


def test_a_segment_from_never_stamped_to_overwritten(shell: CommandLine) -> None:
    sync, servers = shell.sync, list(shell.sync.sandbox.servers)
    view = sync.look()[SEGMENT]
    told = explain(shell)
    assert (told["segment"], told["table"]) == (SEGMENT, sync.table)
    assert told["record"]["crc"] == told["object"]["crc"] == view.crc
    assert told["record"]["rows"] == 27004
    assert (told["object"]["etag"], told["object"]["writtenBy"], told["object"]["problem"]) == (view.etag, None, None)
    assert (told["stamp"]["state"], told["stamp"]["tableHash"]) == (StampState.NONE, None)
    assert [replica["server"] for replica in told["replicas"]] == sorted(servers)
    for replica in told["replicas"]:
        assert (replica["wanted"], replica["seen"], replica["stale"]) == ("ONLINE", "ONLINE", True)
        assert "index" in replica["says"]
    for ruling, when in ((told["onSchedule"], "on schedule"), (told["forced"], "with forceReload")):
        assert ruling["action"] == Action.REBUILD
        assert ruling["rule"] == f"stamp none, servers stale, {when}"
        assert ruling["toDo"] is None

    sync.run(run_id="manual__first")
    told = explain(shell)
    assert (told["stamp"]["state"], told["stamp"]["run"], told["stamp"]["says"]) == ("current", "manual__first", "")
    assert told["stamp"]["tableHash"] == told["tableHash"]
    assert told["object"]["writtenBy"] == "manual__first"
    assert {replica["stale"] for replica in told["replicas"]} == {False}
    assert told["onSchedule"]["action"] == told["forced"]["action"] == Action.SKIP

    # Overwritten by somebody who has not told ZooKeeper.
    url = sync.services.controller.segment(sync.table, SEGMENT).url
    assert url is not None
    sync.services.store.write_workspace(url, b"no segment")
    sync.sandbox.stop_server(servers[0])
    code, out, err = shell.run("explain", SEGMENT)
    assert code == 0, err
    assert "it speaks of an object that was overwritten since" in out
    assert "it is no segment archive" in out
    assert "unknown" in next(line for line in out.splitlines() if line.startswith(servers[0]))
    assert "A run on schedule now: defer" in out
    assert "start the server that gave no answer" in out
    assert "With forceReload: rebuild" in out


def test_a_segment_that_must_not_be_touched_and_one_that_is_not_there(shell: CommandLine, tmp_path: Path) -> None:
    elsewhere = CommandLine.of(shell.sync, tmp_path, deepStorePrefixes=["s3://elsewhere/data"])
    code, out, err = elsewhere.run("explain", SEGMENT)
    assert code == 0, err
    assert "A run on schedule now: not eligible" in out
    assert "it may not be touched, whatever stamp and servers say" in out
    assert "add the prefix to deepStorePrefixes" in out
    assert "it lies outside deepStorePrefixes, and was not looked at" in out

    code, out, err = elsewhere.run("explain", "flights_2013-11")
    assert (code, out) == (2, "")
    assert f"has no segment flights_2013-11. Near are {SEGMENT}" in err
    code, _, err = elsewhere.run("explain", "xyz")
    assert code == 2
    assert "none of its 1 segments is called like that" in err
