"""What a run came to in numbers, and how far the table is."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_store_sync.model import (
    Action,
    DeferredBy,
    Outcome,
    PlannedSegment,
    PublishMode,
    SegmentOutcome,
    Servers,
    StampState,
)
from deep_store_sync.rows import record_batch
from deep_store_sync.tally import Progress, Tally, more_runs, more_runs_by_time, progress_line


def planned(name: str, action: Action = Action.REBUILD, stamp: StampState = StampState.NONE) -> PlannedSegment:
    return PlannedSegment(name, action, "why", "v1:0", Servers.CLEAN, stamp, size_bytes=100)


def tally(*pairs: tuple[PlannedSegment, SegmentOutcome], at_once: int = 100) -> Tally:
    """The rows counted, some at a time."""
    found = Tally()
    groups = [pairs[start : start + at_once] for start in range(0, len(pairs), at_once)]
    columns = [
        (
            pa.Table.from_batches([record_batch([row for row, _ in group], PlannedSegment)]),
            record_batch([outcome for _, outcome in group], SegmentOutcome),
        )
        for group in groups
    ]
    assert [len(batch) for batch in found.counting(columns)] == [len(group) for group in groups]
    return found


def test_progress_counts_what_is_stamped_now_and_what_waits_for_its_turn() -> None:
    found = tally(
        (planned("had", Action.SKIP, StampState.CURRENT), SegmentOutcome("had", Outcome.SKIPPED)),
        (planned("synced"), SegmentOutcome("synced", Outcome.SYNCED)),
        (planned("stamped"), SegmentOutcome("stamped", Outcome.STAMPED)),
        (planned("incurable"), SegmentOutcome("incurable", Outcome.INCURABLE)),
        (planned("failed"), SegmentOutcome("failed", Outcome.FAILED)),
        (planned("never", Action.NOT_ELIGIBLE), SegmentOutcome("never", Outcome.NOT_ELIGIBLE)),
        (planned("later", Action.DEFER), SegmentOutcome("later", Outcome.DEFERRED, deferred_by=DeferredBy.BUDGET)),
        (planned("asked", Action.DEFER), SegmentOutcome("asked", Outcome.DEFERRED, deferred_by=DeferredBy.SERVERS)),
        at_once=3,
    )
    assert found.progress == Progress(
        stamped=4, eligible=7, left=3, left_bytes=300, waiting=1, waiting_bytes=100, done=4, done_bytes=400
    )


def test_what_servers_downloaded_is_counted_in_bytes_too() -> None:
    refreshed = SegmentOutcome(
        "r", Outcome.SYNCED, mode=PublishMode.REFRESH, object_bytes=80, uploaded_bytes=90, downloads=3
    )
    reloaded = SegmentOutcome("l", Outcome.SYNCED, object_bytes=50, downloads=2)
    quiet = SegmentOutcome("q", Outcome.SYNCED, mode=PublishMode.QUIET, object_bytes=80, uploaded_bytes=90)
    found = tally(*((planned(row.segment), row) for row in (refreshed, reloaded, quiet)))
    assert (found.server_downloads, found.server_bytes) == (5, 3 * 90 + 2 * 50)


def test_what_servers_may_not_download_yet_is_told_apart() -> None:
    later = SegmentOutcome("later", Outcome.DEFERRED, deferred_by=DeferredBy.DOWNLOADS)
    found = tally((planned("later", Action.DEFER), later))
    assert found.progress == Progress(eligible=1, left=1, left_bytes=100, held=1, held_bytes=100)
    assert found.deferred.count == 0
    said = progress_line(found.progress, audit_bytes=1, max_segments=None, forced=False)
    assert "1 wait for servers to download more, of 100 bytes (maxServerDownloadBytes)" in said


def test_a_segment_stamped_for_the_config_that_lost_the_race_is_not_counted_as_stamped() -> None:
    found = tally((planned("a", Action.RELOAD, StampState.CURRENT), SegmentOutcome("a", Outcome.LOST_RACE)))
    assert (found.progress.stamped, found.progress.left) == (0, 1)


outcomes = st.builds(
    SegmentOutcome,
    st.just("s"),
    st.sampled_from(Outcome),
    message=st.sampled_from(["", "why"]),
    mode=st.none() | st.sampled_from(PublishMode),
    deferred_by=st.none() | st.sampled_from(DeferredBy),
    unproven=st.sampled_from([(), ("s1",)]),
    object_bytes=st.integers(0, 5),
    uploaded_bytes=st.integers(0, 5),
    downloads=st.integers(0, 5),
)


@settings(deadline=None)
@given(st.lists(outcomes, max_size=12), st.integers(1, 5))
def test_numbers_are_those_of_the_rows(rows: list[SegmentOutcome], at_once: int) -> None:
    found = tally(*((planned("s"), row) for row in rows), at_once=at_once)
    assert dict(found.counts) == {kind: n for kind in Outcome if (n := sum(row.outcome is kind for row in rows))}
    synced = [row for row in rows if row.outcome is Outcome.SYNCED]
    assert found.quiet == sum(row.mode is PublishMode.QUIET for row in synced)
    assert found.refreshed == sum(row.mode is PublishMode.REFRESH for row in synced)
    assert found.downloaded_bytes == sum(row.object_bytes for row in rows)
    assert found.uploaded_bytes == sum(row.uploaded_bytes for row in rows)
    assert found.server_downloads == sum(row.downloads for row in rows)
    failed = [row for row in rows if row.outcome is Outcome.FAILED]
    assert (found.failed.count, found.failed.first) == (len(failed), failed[:5])
    left_alone = [row for row in rows if row.deferred_by is DeferredBy.FAILURES]
    assert found.left_alone.count == len(left_alone)
    asked_for = {*DeferredBy} - {DeferredBy.SERVERS, DeferredBy.DRIFT, DeferredBy.STOPPED, DeferredBy.OPERATION}
    assert found.deferred.count == sum(
        row.outcome is Outcome.DEFERRED and row.deferred_by not in asked_for for row in rows
    )
    odd = (Outcome.FAILED, Outcome.LOST_RACE, Outcome.INCURABLE, Outcome.NOT_ELIGIBLE)
    assert found.worth_a_look.count == sum(row.outcome in odd or bool(row.unproven) for row in rows)


@pytest.mark.parametrize(
    ("waiting", "bytes_", "audit", "most", "forced", "runs"),
    [
        (0, 0, 10, None, False, 0),
        (0, 0, 0, None, False, 0),
        (5, 50, 10, None, False, 5),
        (5, 31, 10, None, False, 4),
        (5, 51, 10, None, False, 5),
        (5, 0, 10, None, False, 1),
        (5, 50, 0, None, False, None),
        (5, 50, 0, 2, True, 3),
        (5, 50, 10, 1, False, 5),
        (5, 5000, 10, 1, False, 5),
        (5, 50, 10, 0, True, None),
    ],
)
def test_how_many_more_runs_it_takes(
    waiting: int, bytes_: int, audit: int, most: int | None, forced: bool, runs: int | None
) -> None:
    progress = Progress(eligible=10, left=waiting, left_bytes=bytes_, waiting=waiting, waiting_bytes=bytes_)
    assert more_runs(progress, audit_bytes=audit, max_segments=most, forced=forced) == runs


@pytest.mark.parametrize(
    ("late", "late_bytes", "done", "done_bytes", "runs"),
    [
        (0, 0, 0, 0, 0),
        (5, 50, 2, 20, 3),
        (5, 50, 2, 500, 1),
        (5, 50, 0, 0, None),
        (5, 0, 2, 0, 3),
    ],
)
def test_how_many_more_runs_it_takes_at_the_pace_of_this_one(
    late: int, late_bytes: int, done: int, done_bytes: int, runs: int | None
) -> None:
    progress = Progress(late=late, late_bytes=late_bytes, done=done, done_bytes=done_bytes)
    assert more_runs_by_time(progress) == runs
    line = progress_line(progress, audit_bytes=1, max_segments=None, forced=True)
    assert ("wait for want of time" in line) is bool(late)
    assert ("this run got nothing done" in line) is (runs is None)


def test_what_waits_for_time_is_counted_apart_from_what_waits_for_budget() -> None:
    found = tally(
        (planned("late"), SegmentOutcome("late", Outcome.DEFERRED, deferred_by=DeferredBy.TIME)),
        (planned("done"), SegmentOutcome("done", Outcome.SYNCED)),
    )
    assert found.progress == Progress(
        stamped=1, eligible=2, left=1, left_bytes=100, late=1, late_bytes=100, done=1, done_bytes=100
    )
    assert found.deferred.count == 0
