"""The scenario table: what a run does to a segment, by what the deep store and the servers have.

After each case: a second run changes nothing, a server that comes back with a wiped disk loads what the deep store has
without building an index, and queries answer what they did.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.kit import NEW_INDEXES, TABLE, Sync, add_indexes, outcomes

from deep_store_sync.model import Outcome, PublishMode
from deep_store_sync.table_hash import table_hash

QUERIES = (
    "select count(*), sum(distance), min(dep_delay) from flights",
    "select origin, carrier, count(*) from flights group by origin, carrier order by origin, carrier limit 1000",
    "select count(*) from flights where distance between 500 and 1000 and tailnum = 'N14228'",
)


@dataclass(frozen=True)
class Case:
    """`row` of the scenario table. `becomes` is None where nothing may change."""

    row: int
    stamped: bool
    updated: bool
    reloaded: bool
    mode: str
    outcome: Outcome
    becomes: str | None

    def __str__(self) -> str:
        return f"{self.row}-{self.mode}"


STAMPED_ONLY, QUIETLY, BY_REFRESH = "stamped only", "rebuilt quietly", "rebuilt, refreshed"
S, D, K = Outcome.STAMPED, Outcome.DEFERRED, Outcome.SKIPPED
CASES = [
    Case(1, False, False, False, "budget 0", D, None),
    Case(1, False, False, False, "reloadOnly", S, STAMPED_ONLY),
    Case(1, False, False, False, "forceReload", S, STAMPED_ONLY),
    Case(2, False, True, True, "budget 0", D, None),
    Case(2, False, True, True, "reloadOnly", Outcome.SYNCED, QUIETLY),
    Case(2, False, True, True, "forceReload", Outcome.SYNCED, QUIETLY),
    Case(3, False, True, False, "budget 0", Outcome.SYNCED, BY_REFRESH),
    Case(3, False, True, False, "reloadOnly", Outcome.SYNCED, BY_REFRESH),
    Case(3, False, True, False, "forceReload", Outcome.SYNCED, BY_REFRESH),
    Case(4, True, False, False, "budget 0", K, None),
    Case(4, True, False, False, "reloadOnly", K, None),
    Case(4, True, False, False, "forceReload", K, None),
    Case(5, True, True, True, "reloadOnly", Outcome.SYNCED, QUIETLY),
    Case(5, True, True, True, "forceReload", Outcome.SYNCED, QUIETLY),
    Case(6, True, True, False, "reloadOnly", Outcome.SYNCED, BY_REFRESH),
    Case(6, True, True, False, "forceReload", Outcome.SYNCED, BY_REFRESH),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_scenario(sync: Sync, case: Case) -> None:
    sandbox = sync.sandbox
    segments = sandbox.load_flights(months=[1, 2])
    if case.stamped:
        assert outcomes(sync.run(force=True)) == {Outcome.STAMPED}
    if case.updated:
        add_indexes(sandbox)
    if case.reloaded:
        sandbox.reload(TABLE)
    answers = [sandbox.query(sql) for sql in QUERIES]
    before = sync.look()
    sandbox.reset_downloads()

    run = sync.with_settings(audit_budget=0) if case.mode == "budget 0" else sync
    rows = run.run(force=case.mode == "forceReload", run_id="the-run")

    after = sync.look()
    assert set(rows) == set(segments)
    assert outcomes(rows) == {case.outcome}
    assert run.reports[-1].undone == ()
    current = table_hash(sandbox.table_config(TABLE), sandbox.schema(TABLE))
    for name in segments:
        was, now, row = before[name], after[name], rows[name]
        if case.becomes is None:
            assert now == was
            continue
        assert (now.stamp, now.stamped_by) == (current, "the-run")
        if case.becomes == STAMPED_ONLY:
            assert (now.etag, now.content, now.crc) == (was.etag, was.content, was.crc)
            assert row.uploaded_bytes == 0
            continue
        assert now.etag != was.etag
        assert now.indexes == was.indexes | NEW_INDEXES
        assert not was.indexes & NEW_INDEXES
        assert row.uploaded_bytes > 0
        if case.becomes == QUIETLY:
            assert row.mode is PublishMode.QUIET
            assert now.crc == was.crc
        else:
            assert row.mode is PublishMode.REFRESH
            assert now.crc != was.crc
            assert set(row.proven) == set(sandbox.servers)
    expected = len(segments) if case.becomes == BY_REFRESH else 0
    assert sync.downloads() == dict.fromkeys(sandbox.servers, expected)
    assert [sandbox.query(sql) for sql in QUERIES] == answers
    assert all(answer.valid and not answer.stale for answer in sync.services.controller.stale(TABLE).values())

    # A second run changes nothing.
    again = run.run(force=case.mode == "forceReload")
    assert outcomes(again) == {Outcome.SKIPPED if case.becomes else case.outcome}
    assert sync.look() == after
    assert sync.downloads() == dict.fromkeys(sandbox.servers, expected)

    # A server that comes back with an empty disk has nothing to build, where the run was to see to that.
    server = sandbox.servers[0]
    sandbox.restart_server(server, wipe=True)
    for name in segments:
        local = sandbox.server_segment_dir(server, TABLE, name)
        same = all(_digest(local / path) == digest for path, digest in after[name].content.items())
        assert same is (case.becomes is not None or not case.updated)
    assert [sandbox.query(sql) for sql in QUERIES] == answers


def test_a_change_that_is_taken_back_before_servers_had_it(sync: Sync) -> None:
    """The object has the CRC again that ZooKeeper kept when it was published quietly: no server hears of the push."""
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1])
    config = sandbox.table_config(TABLE)
    add_indexes(sandbox)
    sandbox.reload(TABLE)
    assert [row.mode for row in sync.run(force=True).values()] == [PublishMode.QUIET]
    (before,) = sync.look().values()
    sandbox.update_table_config(config)
    sandbox.reset_downloads()
    (row,) = sync.run().values()
    (after,) = sync.look().values()
    assert (row.outcome, after.crc) == (Outcome.SYNCED, before.crc)
    assert before.indexes - after.indexes == NEW_INDEXES
    assert set(row.proven) == set(sandbox.servers)
    assert sync.downloads() == dict.fromkeys(sandbox.servers, 1)
    assert all(answer.valid and not answer.stale for answer in sync.services.controller.stale(TABLE).values())
    assert outcomes(sync.run()) == {Outcome.SKIPPED}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
