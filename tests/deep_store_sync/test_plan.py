"""Plans: scope, budget, order, batches. Nothing here talks to anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deep_store_sync.table_states import DescribedTable, segment_table

from deep_store_sync.model import (
    Action,
    DeferredBy,
    Plan,
    RunRequest,
    SegmentRecord,
    ServerAnswer,
    StampState,
)
from deep_store_sync.plan import MAX_BATCHES, Limits, batches, build_plan, in_scope
from deep_store_sync.planning.decisions import with_consuming
from deep_store_sync.stamp import stamp_map
from deep_store_sync.table_hash import table_hash

CONFIG: dict[str, Any] = {"tableName": "t_OFFLINE", "tableIndexConfig": {"invertedIndexColumns": ["a"]}}
SCHEMA: dict[str, Any] = {"dimensionFieldSpecs": [{"name": "a", "dataType": "STRING"}]}
HASH = table_hash(CONFIG, SCHEMA)
ETAG = "e1"
LIMITS = Limits(audit_bytes=10**12, batch_bytes=10**12, batch_segments=50)


def record(name: str, *, stamped: str | None = None, size: int | None = 100, **fields: Any) -> SegmentRecord:
    custom = stamp_map(stamped, 1, ETAG, run_id="r", at="t") if stamped else {}
    return SegmentRecord(name, crc=1, url=f"s3://b/d/t/{name}", size_bytes=size, rows=1, custom=custom, **fields)


def plan(
    records: Sequence[SegmentRecord],
    request: RunRequest = RunRequest("r"),  # noqa: B008 - frozen
    *,
    stale: Sequence[str] = (),
    silent: bool = False,
    etag: str | None = None,
    config: dict[str, Any] = CONFIG,
    limits: Limits = LIMITS,
) -> Plan:
    answer = ServerAnswer(True, dict.fromkeys(stale, "range index changed: a"))
    table = DescribedTable(
        records,
        table_config=config,
        schema=SCHEMA,
        ideal_state={r.name: {"s1": "ONLINE", "s2": "ONLINE"} for r in records},
        answers={"s1": answer} if silent else {"s1": answer, "s2": answer},
        etags={str(r.url): ETAG if etag is None else etag for r in records},
    )
    return build_plan(table.state, request, prefixes=["s3://b/d"], limits=limits, created_ms=0)


def actions(result: Plan) -> dict[str, Action]:
    return {row.segment: row.action for row in result.segments}


def test_a_stamp_does_not_vouch_for_an_object_that_was_overwritten_since() -> None:
    assert actions(plan([record("a", stamped=HASH)])) == {"a": Action.SKIP}
    assert actions(plan([record("a", stamped=HASH)], etag="e2")) == {"a": Action.AUDIT}


def test_a_segment_that_a_server_still_consumes_is_not_committed_there_whatever_the_ideal_state_says() -> None:
    wanted = {"a": {"s1": "ONLINE", "s2": "ONLINE"}, "b": {"s1": "ONLINE"}, "c": {"s1": "CONSUMING"}}
    seen = {"a": {"s1": "ONLINE", "s2": "CONSUMING"}, "b": {"s1": "ERROR"}}
    merged = {segment: with_consuming(states, seen.get(segment, {})) for segment, states in wanted.items()}
    assert merged == {**wanted, "a": {"s1": "ONLINE", "s2": "CONSUMING"}}


def test_a_tier_that_servers_cannot_speak_of_is_audited_within_the_budget() -> None:
    index_config = {**CONFIG["tableIndexConfig"], "tierOverwrites": {"cold": {"invertedIndexColumns": []}}}
    config = {**CONFIG, "tableIndexConfig": index_config}
    assert actions(plan([record("cold", tier="cold")], config=config)) == {"cold": Action.AUDIT}
    none = Limits(audit_bytes=0, batch_bytes=10**12, batch_segments=50)
    (row,) = plan([record("cold", tier="cold")], config=config, limits=none).segments
    assert row.deferred_by is DeferredBy.BUDGET


def test_the_url_of_an_ineligible_segment_is_not_remembered() -> None:
    url = "https://user:hunter2@host/a?X-Amz-Signature=abc"
    (row,) = plan([SegmentRecord("a", 1, url, rows=1)]).segments
    assert row.action is Action.NOT_ELIGIBLE
    assert "hunter2" not in repr(row)
    assert "Signature" not in repr(row)


def test_a_url_that_is_no_utf8_is_that_segments_trouble_alone() -> None:
    result = plan([SegmentRecord("a", 1, "s3://b/d/t/%FF", rows=1), record("b")])
    assert actions(result) == {"a": Action.NOT_ELIGIBLE, "b": Action.AUDIT}
    (reason,) = [row.reason for row in result.segments if row.segment == "a"]
    assert "no UTF-8" in reason


def test_an_empty_table_has_an_empty_plan() -> None:
    assert tuple(plan([]).segments) == ()
    assert batches(plan([])) == []


def test_each_segment_is_decided_by_its_stamp_and_servers() -> None:
    result = plan(
        [
            record("current", stamped=HASH),
            record("current-stale", stamped=HASH),
            record("outdated", stamped="v1:" + "0" * 64),
            record("never"),
            record("never-stale"),
        ],
        stale=["current-stale", "never-stale"],
    )
    assert actions(result) == {
        "current": Action.SKIP,
        "current-stale": Action.RELOAD,
        "outdated": Action.REBUILD,
        "never": Action.AUDIT,
        "never-stale": Action.REBUILD,
    }
    assert {row.segment for row in result.segments if row.batch} == {
        "current-stale",
        "outdated",
        "never",
        "never-stale",
    }


def test_a_second_plan_over_stamped_segments_has_no_work() -> None:
    for force in (False, True):
        result = plan([record("a", stamped=HASH), record("b", stamped=HASH)], RunRequest("r", force=force))
        assert batches(result) == []


def test_without_a_budget_only_what_servers_report_is_touched() -> None:
    limits = Limits(audit_bytes=0, batch_bytes=10**12, batch_segments=50)
    records = [record("never"), record("outdated", stamped="v1:old"), record("stale")]
    result = plan(records, stale=["stale"], limits=limits)
    assert actions(result) == {"never": Action.DEFER, "outdated": Action.DEFER, "stale": Action.REBUILD}
    assert {row.deferred_by for row in result.segments} == {None, DeferredBy.BUDGET}
    forced = plan(records, RunRequest("r", force=True), stale=["stale"], limits=limits)
    assert set(actions(forced).values()) == {Action.REBUILD}


def test_the_budget_takes_the_newest_data_first_and_leaves_the_rest_to_the_next_run() -> None:
    records = [record(f"day-{day}", size=100, start_ms=day, end_ms=day) for day in range(5)]
    result = plan(records, limits=Limits(audit_bytes=250, batch_bytes=10**12, batch_segments=50))
    assert [name for name, action in actions(result).items() if action is Action.AUDIT] == ["day-4", "day-3"]
    assert all("auditBudget" in row.reason for row in result.segments if row.action is Action.DEFER)


def test_what_servers_report_costs_no_budget() -> None:
    records = [record("stale", size=1000), record("never", size=100)]
    result = plan(records, stale=["stale"], limits=Limits(audit_bytes=100, batch_bytes=10**12, batch_segments=50))
    assert actions(result) == {"stale": Action.REBUILD, "never": Action.AUDIT}


def test_a_segment_larger_than_the_budget_does_not_starve() -> None:
    result = plan([record("huge", size=10**9)], limits=Limits(audit_bytes=1, batch_bytes=10**12, batch_segments=50))
    assert actions(result) == {"huge": Action.AUDIT}


def test_what_servers_would_download_is_bounded_and_what_they_have_is_not() -> None:
    records = [record(f"stale-{n}", size=100, start_ms=n, end_ms=n) for n in range(4)] + [record("clean", size=10**6)]
    stale = [f"stale-{n}" for n in range(4)]
    limits = Limits(audit_bytes=10**12, batch_bytes=10**12, batch_segments=50, download_bytes=450)
    result = plan(records, stale=stale, limits=limits)  # by two servers each
    assert [name for name, action in actions(result).items() if action is Action.REBUILD] == ["stale-3", "stale-2"]
    assert actions(result)["clean"] is Action.AUDIT
    left = [row for row in result.segments if row.action is Action.DEFER]
    assert {row.segment for row in left} == {"stale-1", "stale-0"}
    assert {row.deferred_by for row in left} == {DeferredBy.DOWNLOADS}
    assert all(row.reason.startswith("this run's maxServerDownloadBytes is used up; stale on") for row in left)


def test_max_segments_bounds_the_work_and_is_no_trouble_with_servers() -> None:
    result = plan([record("a"), record("b"), record("c")], RunRequest("r", force=True, max_segments=2), silent=True)
    assert [row.action for row in result.segments].count(Action.REBUILD) == 2
    assert {row.deferred_by for row in result.segments if row.action is Action.DEFER} == {DeferredBy.MAX_SEGMENTS}
    nothing = plan([record("a")], RunRequest("r", force=True, max_segments=0))
    assert batches(nothing) == []


def test_a_silent_server_defers_what_was_never_stamped() -> None:
    result = plan([record("never"), record("current", stamped=HASH)], silent=True)
    assert actions(result) == {"never": Action.DEFER, "current": Action.SKIP}
    (deferred,) = [row for row in result.segments if row.action is Action.DEFER]
    assert deferred.deferred_by is DeferredBy.SERVERS
    assert "s2" in deferred.reason


def test_two_segments_with_one_object_are_both_left_alone() -> None:
    shared = [SegmentRecord("a", 1, "s3://b/d/t/a", rows=1), SegmentRecord("b", 1, "s3://b/d/t/a", rows=1)]
    assert set(actions(plan(shared)).values()) == {Action.NOT_ELIGIBLE}


def test_one_object_under_two_urls_is_shared_too() -> None:
    """Pinot stores the segment `a b` at `a+b`, and the segment `a+b` at `a%2Bb`: one key."""
    shared = [SegmentRecord("a b", 1, "s3://b/d/t/a+b", rows=1), SegmentRecord("a+b", 1, "s3://b/d/t/a%2Bb", rows=1)]
    assert set(actions(plan(shared)).values()) == {Action.NOT_ELIGIBLE}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"start_ms": 10, "end_ms": 500}, True),
        ({"start_ms": 9, "end_ms": 15}, False),
        ({"start_ms": 20}, False),
        ({"push_ms": 10}, True),
        ({"push_ms": 9, "creation_ms": 15}, False),
        ({"creation_ms": 19}, True),
        ({}, False),
    ],
)
def test_a_data_interval_takes_the_segments_that_start_in_it(fields: dict[str, int], expected: bool) -> None:
    assert (len(in_scope(segment_table([record("s", **fields)]), RunRequest("r", interval=(10, 20)))) == 1) is expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"start_ms": 10, "end_ms": 500}, True),
        ({"start_ms": 9, "end_ms": 15}, False),
        ({"start_ms": 4_000_000_000_000}, True),
        ({"push_ms": 20}, True),
        ({"push_ms": 9}, False),
        ({}, True),
    ],
)
def test_the_interval_without_an_end_takes_what_belongs_to_no_other(fields: dict[str, int], expected: bool) -> None:
    scope = in_scope(segment_table([record("s", **fields)]), RunRequest("r", interval=(10, None)))
    assert (len(scope) == 1) is expected


def test_globs_choose_segments() -> None:
    request = RunRequest("r", segments=("flights_2013-0[12]", "x*"))
    assert len(in_scope(segment_table([record("flights_2013-02")]), request)) == 1
    assert len(in_scope(segment_table([record("xyz")]), request)) == 1
    assert len(in_scope(segment_table([record("flights_2013-03")]), request)) == 0


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), max_size=300), st.integers(1, 40), st.integers(1, 10**6))
def test_batches_hold_every_segment_once_within_both_limits(sizes: list[int], count: int, size: int) -> None:
    records = [record(f"s{index:04d}", size=bytes_) for index, bytes_ in enumerate(sizes)]
    result = plan(records, RunRequest("r", force=True), limits=Limits(0, size, count))
    found = batches(result)
    assert sum(batch.segments for batch in found) == len(sizes)
    assert sum(batch.bytes for batch in found) == sum(sizes)
    widest = max(size, -(-4 * sum(sizes) // MAX_BATCHES))
    assert all(batch.segments <= max(count, 1) for batch in found)
    assert all(batch.bytes <= widest or batch.segments == 1 for batch in found if batch.bytes > 0)


def test_a_huge_table_stays_below_the_number_of_batches_that_airflow_maps() -> None:
    records = [record(f"s{index}", size=1 + index % 7) for index in range(20_000)]
    result = plan(records, RunRequest("r", force=True), limits=Limits(0, 1, 1))
    assert len(batches(result)) <= MAX_BATCHES
    assert sum(batch.segments for batch in batches(result)) == 20_000


def test_a_plan_knows_the_stamp_and_the_servers_of_each_segment() -> None:
    (row,) = plan([record("a", stamped="v1:old")]).segments
    assert row.stamp is StampState.OUTDATED
    assert row.table_hash == HASH
    assert row.replicas == ("s1", "s2")
