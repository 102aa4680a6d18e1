"""Every kind of change, from the old config to a deep store, servers and stamps that are as the new one wants them.

All changes are made first, each to a table of its own and some at a time; then a server starts once on an empty disk.
Every case has a verdict of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.deep_store_sync.pinot_segments import engine
from tests.e2e.changes.case import Case
from tests.e2e.changes.rows import Layout, make_rows
from tests.e2e.changes.table import CASES
from tests.e2e.kit import SegmentView, Sync, outcomes, syncing

from deep_store_sync.model import Outcome, PublishMode, SegmentOutcome, SegmentRecord
from deep_store_sync.segment.archive import unpack
from deep_store_sync.table_hash import table_hash
from pinot_sandbox import Sandbox
from pinot_sandbox.errors import SandboxError

ROWS = make_rows()
AT_ONCE = 2


@dataclass(frozen=True)
class Changed:
    """A table after its case's change was synced."""

    sync: Sync
    segment: str
    after: SegmentView


@pytest.fixture(scope="module")
def changed(sandbox: Sandbox, request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Changed]]]:
    """By case, its table after the change, or what went wrong. One server is on an empty disk since the last change."""
    cases = [item.callspec.params["case"] for item in request.session.items if item.path == request.path]  # type: ignore[attr-defined]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        syncs = {case.name: syncing(sandbox, f"{case.raw_table}_OFFLINE") for case in cases}
        try:
            done = {case.name: pool.submit(change, syncs[case.name].__enter__(), case) for case in cases}
            for future in done.values():
                future.exception()
            # A table that the server cannot load is its own case's to find.
            with suppress(SandboxError):
                sandbox.restart_server(sandbox.servers[0], wipe=True)
            yield done
        finally:
            list(pool.map(end, syncs.values()))


def end(sync: AbstractContextManager[Sync]) -> None:
    with suppress(SandboxError):  # of a table that could not even be made
        sync.__exit__(None, None, None)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_change(changed: dict[str, Future[Changed]], case: Case, tmp_path: Path) -> None:
    table = changed[case.name].result()
    sync, sandbox = table.sync, table.sync.sandbox

    # What a server that came back with an empty disk has is what the deep store has: it built nothing.
    sandbox.wait_until_loaded(sync.table)
    local = sandbox.server_segment_dir(sandbox.servers[0], sync.table, table.segment)
    found = {path.relative_to(local).as_posix(): path for path in local.rglob("*") if path.is_file()}
    same = {name for name, digest in table.after.content.items() if name in found and digest_of(found[name]) == digest}
    assert same == table.after.content.keys()
    assert {name for name in found.keys() - same if not name.endswith((".mapping", "creation.meta"))} == set()
    if case.refused:
        return
    assert answers(sync, case, new=True) == expected(case, new=True)
    if case.incurable:
        return

    # And the object needs nothing more, by Pinot's own word.
    (record,) = sync.services.controller.segments(sync.table)
    archive = tmp_path / "object"
    sync.services.store.download(str(record.url), archive)
    segment = unpack(archive, tmp_path, table.segment).dir
    assert engine().preprocess(segment, *current(sync), case.tier) is False
    if case.check:
        case.check(segment)


def change(sync: Sync, case: Case) -> Changed:
    """Make the old table, change it, sync it, and hold everything that can be seen of it against the case."""
    sandbox, controller, segment = sync.sandbox, sync.services.controller, f"{case.raw_table}_0"
    built = case.built or case.before
    config, schema = built.table_config(case.raw_table), built.schema_of(case.raw_table)
    sandbox.create_table(config, schema)
    (archive,) = sandbox.build_segments({segment: ROWS}, table_config=config, schema=schema)
    if case.prepare:
        case.prepare(archive)
    sandbox.push_segment(sync.table, archive)
    sandbox.wait_until_loaded(sync.table)
    if case.synced:
        alter(sandbox, case.raw_table, case.before)
        assert outcomes(sync.run(force=True)) <= {Outcome.SYNCED, Outcome.STAMPED}
    elif case.tier:
        move_to_tier(sandbox, sync.table, segment, case.tier)
    assert answers(sync, case, new=False) == expected(case, new=False)
    if case.synced and case.tier:
        move_to_tier(sandbox, sync.table, segment, case.tier)
    (before,), (record,) = sync.look().values(), controller.segments(sync.table)

    alter(sandbox, case.raw_table, case.after)
    if case.refused:
        return refuse(sync, case.refused, before, record)
    if case.incurable:
        return give_up(sync, case.incurable, segment)
    (row,) = sync.run(run_id="the-run").values()
    (after,), (now,) = sync.look().values(), controller.segments(sync.table)
    assert (row.outcome, sync.reports[-1].undone) == (case.outcome, ()), row.message
    assert sorted(row.changes) == sorted(case.changes)
    assert (after.stamp, after.stamped_by) == (table_hash(*current(sync), case.tier), "the-run")
    expect_facts(case, record, now)
    expect_loaded(sync, case, row, after)
    if case.outcome is Outcome.STAMPED:
        assert (after.etag, after.content, after.crc) == (before.etag, before.content, before.crc)

    (again,) = sync.run().values()
    assert again.outcome is Outcome.SKIPPED
    assert sync.look() == {segment: after}
    return Changed(sync, segment, after)


def refuse(sync: Sync, reason: str, before: SegmentView, record: SegmentRecord) -> Changed:
    """A change that no rebuild can make without harm fails with its reason, as often as it is tried, and does none."""
    for _ in range(2):
        (row,) = sync.run().values()
        assert row.outcome is Outcome.FAILED
        assert reason in row.message
        assert sync.look() == {record.name: before}
        assert sync.services.controller.segments(sync.table) == [record]
    return Changed(sync, record.name, before)


def give_up(sync: Sync, reason: str, segment: str) -> Changed:
    """A segment that cannot be made right is reported as such, and is not looked at again until the config changes."""
    for _ in range(3):
        (row,) = sync.run().values()
        if row.outcome is Outcome.INCURABLE:
            break
    assert (row.outcome, reason in row.message) == (Outcome.INCURABLE, True), row.message
    after = sync.look()
    (again,) = sync.run().values()
    assert again.outcome is Outcome.INCURABLE
    assert sync.last is not None
    assert (sync.last.batches, sync.reports[-1].downloaded_bytes, sync.look()) == ((), 0, after)
    return Changed(sync, segment, after[segment])


def expect_facts(case: Case, before: SegmentRecord, after: SegmentRecord) -> None:
    times = [row[case.time_column] for row in ROWS]
    assert (after.rows, after.start_ms, after.end_ms) == (len(ROWS), min(times), max(times))
    assert (after.creation_ms, after.push_ms, after.url) == (before.creation_ms, before.push_ms, before.url)
    assert after.tier == case.tier


def expect_loaded(sync: Sync, case: Case, row: SegmentOutcome, after: SegmentView) -> None:
    """Every server has the segment as it was published, and misses nothing in it."""
    servers = sync.sandbox.servers
    stale = sync.services.controller.stale(sync.table)
    says = {row.segment: case.stale_says} if case.stale_says else {}
    assert {server: (stale[server].valid, stale[server].stale) for server in stale} == dict.fromkeys(
        servers, (True, says)
    )
    for server in servers:
        crcs = sync.services.servers.segment_crcs(sync.sandbox.server_admin_url(server), sync.table)
        assert crcs == {row.segment: after.crc}
    if row.mode is PublishMode.REFRESH:
        assert set(row.proven) == set(servers)


def answers(sync: Sync, case: Case, *, new: bool) -> list[Any]:
    """What the table answers now. Servers take turns, and each is asked."""
    layout = case.after if new else case.before
    found = []
    for sql in (layout.dump_sql(), *(query.sql for query in case.queries if new or query.kept)):
        of_each = [sync.sandbox.query(sql.replace("{t}", case.raw_table)) for _ in sync.sandbox.servers]
        assert all(rows == of_each[0] for rows in of_each)
        found.append(of_each[0])
    return found


def expected(case: Case, *, new: bool) -> list[Any]:
    """What it has to answer, by the rows that were ingested."""
    rows = sorted(ROWS, key=case.order) if new and case.order else ROWS
    dump = case.after.dump(rows, case.values) if new else case.before.dump(rows, case.old_values)
    return [dump, *(query.answer(ROWS) for query in case.queries if new or query.kept)]


def alter(sandbox: Sandbox, raw_table: str, layout: Layout) -> None:
    # A column has to be there before the config may name it, and has to be named no more before it may go.
    config, schema = layout.table_config(raw_table), layout.schema_of(raw_table)
    try:
        sandbox.update_schema(schema, force=True)
        sandbox.update_table_config(config)
    except SandboxError:
        sandbox.update_table_config(config)
        sandbox.update_schema(schema, force=True)


def current(sync: Sync) -> tuple[dict[str, Any], dict[str, Any]]:
    return sync.sandbox.table_config(sync.table), sync.sandbox.schema(sync.table)


def move_to_tier(sandbox: Sandbox, table: str, segment: str, tier: str) -> None:
    """What the controller's SegmentRelocator writes; servers that are reloaded or started take it from there."""
    with httpx.Client(base_url=sandbox.controller_url, trust_env=False) as http:
        cluster = http.get("/cluster/info").raise_for_status().json()["clusterName"]
        path = {"path": f"/{cluster}/PROPERTYSTORE/SEGMENTS/{table}/{segment}"}
        node = http.get("/zk/get", params=path).raise_for_status().json()
        node["simpleFields"]["segment.tier"] = tier
        http.put("/zk/put", params=path, json=node).raise_for_status()


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
