"""`verify` finds what is not as it should be and changes nothing; `unstamp` takes stamps away and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.command_line import CommandLine
from tests.e2e.kit import TABLE, Sync, add_indexes, outcomes

from deep_store_sync.model import Outcome

JANUARY, FEBRUARY, MARCH = "flights_2013-01", "flights_2013-02", "flights_2013-03"


@pytest.fixture
def command(sync: Sync, tmp_path: Path) -> CommandLine:
    return CommandLine.of(sync, tmp_path)


def verified(command: CommandLine, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    code, out, _ = command.run("verify", "--json", *arguments)
    return code, {row["segment"]: row for row in json.loads(out)["tables"][0]["segments"]}


def test_verify_tells_what_is_not_true(sync: Sync, command: CommandLine) -> None:
    sandbox, store = sync.sandbox, sync.services.store
    sandbox.load_flights(months=[1, 2, 3])
    assert outcomes(sync.run(force=True, run_id="first")) == {Outcome.STAMPED}
    before = sync.look()
    code, rows = verified(command)
    assert code == 0
    assert {(row["verdict"], row["stamp"], row["stampedBy"]) for row in rows.values()} == {("true", "current", "first")}
    add_indexes(sandbox)
    code, out, _ = command.run("verify")
    assert (code, "3 true (stamp: 0 current, 3 outdated, 0 none)" in out) == (0, True)
    assert len(verified(command, "--sample", "2")[1]) == 2
    assert sync.look() == before

    urls = {record.name: str(record.url) for record in sync.services.controller.segments(TABLE)}
    store.write_workspace(urls[JANUARY], store.read(urls[FEBRUARY]))
    store.delete(urls[FEBRUARY])
    # The same bytes but for the gzip header: the data is the same, and the object is not the one that was stamped.
    body = bytearray(store.read(urls[MARCH]))
    body[4] ^= 1
    store.write_workspace(urls[MARCH], bytes(body))
    code, rows = verified(command)
    assert code == 1
    assert {row["verdict"] for row in rows.values()} == {"problem"}
    assert "top folder is 'flights_2013-02'" in rows[JANUARY]["message"]
    assert "is not there" in rows[FEBRUARY]["message"]
    assert "speaks of the ETag" in rows[MARCH]["message"]
    code, rows = verified(command, "--segment", "*-03", "--segment", "*-04")
    assert (code, set(rows)) == (1, {MARCH})


def test_unstamp_blanks_stamps_and_the_next_run_looks_again(sync: Sync, command: CommandLine) -> None:
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1, 2])
    sync.run(force=True, run_id="first")
    before = sync.look()
    sandbox.reset_downloads()

    assert command.run("unstamp")[0] == 2
    assert "no such stamps" in command.run("unstamp", "--run", "another")[1]
    code, out, _ = command.run("unstamp", "--segment", "*-01", "--dry-run")
    assert (code, "1 would be unstamped" in out, sync.look() == before) == (0, True, True)
    code, out, _ = command.run("unstamp", "--segment", "*-01", "--run", "first")
    assert (code, "1 unstamped" in out) == (0, True)
    after = sync.look()
    assert after[FEBRUARY] == before[FEBRUARY]
    view = after[JANUARY]
    assert (view.etag, view.crc, view.stamp) == (before[JANUARY].etag, before[JANUARY].crc, "")
    assert command.run("verify")[0] == 0
    rows = sync.run(force=True)
    assert {name: row.outcome for name, row in rows.items()} == {JANUARY: Outcome.STAMPED, FEBRUARY: Outcome.SKIPPED}
    assert sync.downloads() == dict.fromkeys(sandbox.servers, 0)
    assert "0 true" not in command.run("verify")[1]
