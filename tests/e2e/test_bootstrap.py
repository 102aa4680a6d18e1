"""A bootstrap in parts: cut short, bounded by time, without time ranges. What was done once is not done again."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from tests.e2e.kit import TABLE, Sync, add_indexes, syncing

from deep_store_sync import time_budget
from deep_store_sync.find import find_stale_segments
from deep_store_sync.model import DeferredBy, Outcome, PlannedSegment, RunRequest, SegmentOutcome
from deep_store_sync.publishing.publish import upload_and_refresh
from deep_store_sync.publishing.stamping import stamp_batch
from deep_store_sync.rebuilding.rebuild import rebuild_batch
from deep_store_sync.store.object_info import ObjectInfo
from deep_store_sync.time_budget import TimeBudget
from pinot_sandbox import Sandbox

LOG = logging.getLogger("tests.e2e")
MONTHS = [1, 2, 3]


@pytest.fixture
def reloaded(sync: Sync) -> Sync:
    """Three months that were never synced, of which servers have more indexes than the deep store; a batch for each."""
    sync.sandbox.load_flights(months=MONTHS)
    add_indexes(sync.sandbox)
    sync.sandbox.reload(TABLE)
    return sync.with_settings(batch_segments=1)


def downloaded(rows: dict[str, SegmentOutcome]) -> set[str]:
    return {name for name, row in rows.items() if row.object_bytes}


def test_a_run_that_was_cut_short_leaves_only_the_rest_to_the_next(reloaded: Sync) -> None:
    """It died between two batches, after the second was rebuilt and before it was published."""
    services, year = reloaded.services, (1356998400000, 1388534400000)
    found = find_stale_segments(services, RunRequest("backfill__cut", force=True, interval=year), log=LOG)
    first, second, _ = (batch.id for batch in found.batches)
    rebuilt = rebuild_batch(services, found.plan_url, first, log=LOG, should_stop=lambda: None)
    published = upload_and_refresh(services, found.plan_url, first, str(rebuilt), log=LOG)
    stamp_batch(services, found.plan_url, first, published, log=LOG)
    rebuild_batch(services, found.plan_url, second, log=LOG, should_stop=lambda: None)
    (done,) = (name for name, view in reloaded.look().items() if view.stamp)

    rows = reloaded.run(force=True, interval=year)
    assert rows[done].outcome is Outcome.SKIPPED
    assert downloaded(rows) == set(rows) - {done}
    assert Counter(row.outcome for row in rows.values()) == {Outcome.SYNCED: 2, Outcome.SKIPPED: 1}
    assert downloaded(reloaded.run(force=True, interval=year)) == set()


def test_a_run_whose_time_is_over_leaves_the_rest_in_order_to_the_next(
    reloaded: Sync, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The store tells that each plan was written two hours ago: only the first batch is begun."""
    aged: list[str] = []

    def age(found: ObjectInfo) -> timedelta:
        aged.append(found.url)
        return timedelta(hours=2)

    monkeypatch.setattr(time_budget, "age", age)
    timed = reloaded.with_settings(batch_segments=1, max_run_time=timedelta(hours=1))
    synced: list[str] = []
    for left in (2, 1, 0):
        caplog.clear()
        with caplog.at_level(logging.INFO, "tests.e2e"):
            rows = timed.run(force=True)
        (now,) = (name for name, row in rows.items() if row.outcome is Outcome.SYNCED)
        synced.append(now)
        late = {name: row for name, row in rows.items() if row.outcome is Outcome.DEFERRED}
        assert {row.deferred_by for row in late.values()} <= {DeferredBy.TIME}
        assert len(late) == left
        assert downloaded(rows) == {now}
        report = timed.reports[-1]
        assert report.undone == ()
        assert (report.progress.late, report.progress.done, report.progress.left) == (left, 1, left)
        assert ("more runs at this run's pace" in caplog.text) is bool(left)
        assert all("maxRunTime of 1:00:00 was over" in row.message for row in late.values())
    assert sorted(synced) == sorted(rows)
    assert len(aged) == 3 + 2 + 1  # by every batch, and of the plan
    assert all(url.endswith("/plan.parquet") for url in aged)
    assert outcomes_of(timed.run(force=True)) == {Outcome.SKIPPED}


def test_what_is_under_way_when_the_time_is_over_is_published(reloaded: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = itertools.count()

    def over_after_one(self: TimeBudget, planned: PlannedSegment) -> str | None:
        """Asked before the batch, then before each segment."""
        return "maxRunTime was over" if next(asked) >= 2 else None

    with monkeypatch.context() as patch:
        patch.setattr(TimeBudget, "used_up", over_after_one)
        rows = reloaded.with_settings(batch_segments=50).run(force=True)
    assert Counter((row.outcome, row.deferred_by) for row in rows.values()) == {
        (Outcome.SYNCED, None): 1,
        (Outcome.DEFERRED, DeferredBy.TIME): 2,
    }
    assert {name for name, view in reloaded.look().items() if view.stamp} == downloaded(rows)


def outcomes_of(rows: dict[str, SegmentOutcome]) -> set[Outcome]:
    return {row.outcome for row in rows.values()}


def test_segments_without_a_time_range_go_by_when_they_were_pushed(sandbox: Sandbox) -> None:
    schema: dict[str, Any] = {"schemaName": "plain", "dimensionFieldSpecs": [{"name": "a", "dataType": "STRING"}]}
    config: dict[str, Any] = {
        "tableName": "plain_OFFLINE",
        "tableType": "OFFLINE",
        "segmentsConfig": {"replication": "2"},
        "tenants": {},
        "tableIndexConfig": {"loadMode": "MMAP"},
        "metadata": {},
    }
    with syncing(sandbox, "plain_OFFLINE") as plain:
        sandbox.create_table(config, schema)
        for archive in sandbox.build_segments(
            {"x": [{"a": "1"}], "y": [{"a": "2"}]}, table_config=config, schema=schema
        ):
            sandbox.push_segment("plain_OFFLINE", archive)
        sandbox.wait_until_loaded("plain_OFFLINE")
        records = plain.services.controller.segments("plain_OFFLINE")
        assert {record.start_ms for record in records} == {None}
        pushed = [int(str(record.push_ms)) for record in records]

        assert plain.run(force=True, interval=(0, min(pushed))) == {}
        assert plain.run(force=True, interval=(max(pushed) + 1, None)) == {}
        assert set(plain.run(force=True, interval=(min(pushed), None))) == {"x", "y"}
        assert outcomes_of(plain.run(force=True, interval=(0, max(pushed) + 1))) == {Outcome.SKIPPED}
