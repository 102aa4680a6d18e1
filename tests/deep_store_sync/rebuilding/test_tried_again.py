"""A batch that is asked for again: after it died, after it was published, when the run's time or budget is over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.deep_store_sync.rebuilding.kit import LOG, Batch

from deep_store_sync import time_budget
from deep_store_sync.errors import DeepStoreUnavailableError
from deep_store_sync.model import Action, Outcome, Published, RebuildResult, Rebuilt
from deep_store_sync.rebuilding.rebuild import rebuild_batch
from deep_store_sync.services import Services
from deep_store_sync.workspace import Workspace


@pytest.fixture
def timed(batch: Batch) -> Batch:
    """A batch of two segments that are only looked at, of a run that may take an hour."""
    batch.add("s 0", action=Action.RELOAD)
    batch.add("s 1", action=Action.RELOAD)
    changed = batch.services.settings.model_copy(update={"max_run_time": timedelta(hours=1), "max_failures": 2})
    batch.services = Services(batch.services.controller, batch.services.servers, batch.services.store, changed)
    return batch


def two_hours_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_budget, "age", lambda found: timedelta(hours=2))


def rebuilt(batch: Batch, plan_url: str) -> list[Rebuilt]:
    """Ask for the batch; how its segments are now."""
    answer = rebuild_batch(batch.services, plan_url, "b1", log=LOG, should_stop=lambda: None)
    results = Workspace.of_plan(batch.store, plan_url).read_results("rebuilt", "b1", RebuildResult) or ()
    statuses = [result.status for result in results]
    assert (answer is None) is (set(statuses) == {Rebuilt.NO_TIME})
    return statuses


def test_a_batch_that_died_is_finished_though_the_runs_time_is_over(
    timed: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would end green, as left to the next run."""
    plan = timed.write_plan()

    def no_answer(*_: Any) -> str:
        raise DeepStoreUnavailableError("no answer from the store")

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "write_results", no_answer)
        with pytest.raises(DeepStoreUnavailableError):
            rebuilt(timed, plan)
    two_hours_pass(monkeypatch)
    assert rebuilt(timed, plan) == [Rebuilt.RELOAD] * 2


def test_a_batch_that_was_never_begun_is_left_to_the_next_run_as_often_as_it_is_asked_for(
    timed: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_hours_pass(monkeypatch)
    plan = timed.write_plan()
    for _ in range(2):
        assert rebuilt(timed, plan) == [Rebuilt.NO_TIME] * 2


def test_what_was_published_is_not_forgotten_where_the_batch_is_left_alone(timed: Batch) -> None:
    plan = timed.write_plan()
    assert rebuilt(timed, plan) == [Rebuilt.RELOAD] * 2
    workspace = Workspace.of_plan(timed.store, plan)
    published = [Published(row.segment, Outcome.SYNCED, "published") for row in timed.planned]
    workspace.write_results("published", "b1", published, Published)
    for segment in ("s 0", "another", "one more"):
        workspace.note_failure(segment)
    assert rebuilt(timed, plan) == [Rebuilt.RELOAD] * 2
    assert workspace.read_results("published", "b1", Published) == published
    assert workspace.failures() == {"s 0", "another", "one more"}

    # Its own failures are what is tried again: without the others, it is rebuilt from its beginning.
    workspace.forget_failure("one more")
    assert rebuilt(timed, plan) == [Rebuilt.RELOAD] * 2
    assert workspace.read_results("published", "b1", Published) is None
    assert workspace.failures() == {"another"}


def test_a_batch_that_was_never_begun_is_left_alone_with_a_result_for_each_segment(timed: Batch) -> None:
    plan = timed.write_plan()
    workspace = Workspace.of_plan(timed.store, plan)
    for segment in ("another", "one more"):
        workspace.note_failure(segment)
    assert rebuilt(timed, plan) == [Rebuilt.LEFT_ALONE] * 2
    workspace.forget_failure("another")
    assert rebuilt(timed, plan) == [Rebuilt.RELOAD] * 2
