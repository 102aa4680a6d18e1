"""The time that a run has, by the store's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from deep_store_sync.model import Action, PlannedSegment, Servers, StampState
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.store.object_info import ObjectInfo, object_info
from deep_store_sync.time_budget import TimeBudget, age

WRITTEN = datetime(2026, 1, 1, 3, 0, tzinfo=UTC)


def planned(batch: str) -> PlannedSegment:
    return PlannedSegment("s", Action.REBUILD, "why", "v1:0", Servers.CLEAN, StampState.NONE, batch=batch)


def plan(minutes: float) -> ObjectInfo:
    """A plan's object, so many minutes after it was written."""
    answered = WRITTEN + timedelta(minutes=minutes)
    return ObjectInfo("s3://b/plan", "e", 1, last_modified=WRITTEN, answered=answered)


class Passed:
    """Seconds that a test lets pass."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_without_a_bound_nothing_is_asked() -> None:
    def ask() -> ObjectInfo:
        raise AssertionError

    assert TimeBudget(None, ask).used_up(planned("b0001")) is None


def test_it_is_over_once_the_plan_is_older_whatever_the_workers_clock_says() -> None:
    passed = Passed()
    budget = TimeBudget(timedelta(hours=1), lambda: plan(minutes=50), passed)
    assert budget.used_up(planned("b0001")) is None
    passed.seconds += 599
    assert budget.used_up(planned("b0001")) is None
    passed.seconds += 1
    reason = budget.used_up(planned("b0001"))
    assert reason == "maxRunTime of 1:00:00 was over before it was begun. The next run takes it up"


def test_a_batch_that_comes_later_has_the_less_of_it() -> None:
    assert TimeBudget(timedelta(hours=1), lambda: plan(minutes=61), Passed()).used_up(planned("b0001"))


def test_the_first_batch_is_begun_in_any_case() -> None:
    budget = TimeBudget(timedelta(hours=1), lambda: plan(minutes=600), Passed())
    assert budget.used_up(planned("b0000")) is None
    assert budget.used_up(planned("b0001"))


def test_a_store_that_does_not_tell_the_time_has_written_the_plan_just_now() -> None:
    assert age(ObjectInfo("s3://b/plan", "e", 1)) == timedelta()
    assert object_info("s3://b/k", {"ResponseMetadata": {"HTTPHeaders": {"date": "yesterday"}}}).answered is None


@pytest.mark.parametrize("said", ["Thu, 01 Jan 2026 03:00:00 GMT", "Thu, 1 Jan 2026 03:00:00 +0000"])
def test_the_stores_clock_is_in_its_answer(said: str) -> None:
    assert object_info("s3://b/k", {"ResponseMetadata": {"HTTPHeaders": {"date": said}}}).answered == WRITTEN


def test_the_store_tells_both_times(store: DeepStore, prefix: str) -> None:
    url = f"{prefix}/plan"
    store.write_workspace(url, b"plan")
    found = store.head(url)
    assert found.answered is not None
    assert timedelta(seconds=-1) <= age(found) < timedelta(minutes=5)
