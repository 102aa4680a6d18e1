from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from deep_store_sync.errors import DeepStoreUnavailableError, EngineError, PinotUnavailableError, StoppedError
from deep_store_sync.failure_budget import KEPT_S, SHARE_COUNTS_FROM, FailureBudget, used_up
from deep_store_sync.model import Action, Plan, PlannedSegment, RunRequest, Servers, StampState
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore, ObjectInfo
from deep_store_sync.workspace import Workspace

LOG = logging.getLogger("tests.failure_budget")
ODD = "a b/c+d%é:1"


@pytest.mark.parametrize(
    ("failed", "planned", "most", "share", "says"),
    [
        (0, 10, 1, 0.2, None),
        (1, 10, 1, 0.2, "maxFailures is 1"),
        (99, 10_000, 100, 1.0, None),
        (100, 10_000, 100, 1.0, "100 segments of this run have failed, and maxFailures is 100"),
        (3, 3, None, 0.2, None),  # of so few segments the share says nothing
        (SHARE_COUNTS_FROM, 20, None, 0.2, "5 of 20 segments of this run have failed, and maxFailedShare is 0.2"),
        (SHARE_COUNTS_FROM, 25, None, 0.2, None),
        (6, 25, None, 0.2, "6 of 25"),
        (10_000, 10_000, None, 1.0, None),
    ],
)
def test_when_it_is_used_up(failed: int, planned: int, most: int | None, share: float, says: str | None) -> None:
    reason = used_up(failed, planned, max_failures=most, max_failed_share=share)
    assert (reason is None) is (says is None)
    assert says is None or says in str(reason)


class Clock:
    """Seconds that a test lets pass."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def budget(
    store: DeepStore,
    prefix: str,
    log: logging.Logger = LOG,
    clock: Callable[[], float] = time.monotonic,
    **settings: Any,
) -> FailureBudget:
    """As each task of a run makes its own."""
    rows = [
        PlannedSegment(f"s{number}", Action.REBUILD, "", "v1:0", Servers.STALE, StampState.NONE, batch="b0001")
        for number in range(8)
    ]
    table = TableSync(table="t_OFFLINE", deep_store_prefixes=("s3://b/d",), workspace=prefix).model_copy(
        update=settings
    )
    nothing = cast(Any, None)
    plan = Plan("t_OFFLINE", RunRequest("run"), 0, {}, {}, tuple(rows))
    return FailureBudget(
        Services(nothing, nothing, store, table), Workspace(store, f"{prefix}/run/1"), plan, log, clock
    )


def test_it_counts_the_failures_of_all_tasks_each_segment_once(store: DeepStore, prefix: str) -> None:
    clock = Clock()
    one, other = (budget(store, prefix, clock=clock, max_failures=3) for _ in range(2))
    one.record(["s0", ODD])
    other.record(["s0"])
    assert one.used_up() is None
    other.record(["s1"])
    assert other.used_up() == "3 segments of this run have failed, and maxFailures is 3"
    assert one.used_up() is None
    clock.now += KEPT_S
    assert one.used_up() == other.used_up()


def test_notes_are_listed_now_and_then_and_own_failures_count_at_once(s3: Any, prefix: str) -> None:
    store, clock = FakeCountingStore(s3), Clock()
    one = budget(store, prefix, clock=clock, max_failures=3)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: one.used_up(), range(50))) == {None}
    assert store.listings == 1
    one.record(["s0", "s1", "s2"])
    assert one.used_up() is not None
    assert one.used_up(apart_from=["s0", "s5"]) is None
    assert store.listings == 1
    clock.now += KEPT_S
    assert one.used_up() is not None
    assert store.listings == 2


def test_what_another_task_tries_again_counts_no_more(store: DeepStore, prefix: str) -> None:
    clock = Clock()
    one, other = (budget(store, prefix, clock=clock, max_failures=1) for _ in range(2))
    other.record(["s0"])
    assert one.used_up() is not None
    other.forget(["s0"])
    clock.now += KEPT_S
    assert one.used_up() is None


def test_what_is_tried_again_has_not_failed(store: DeepStore, prefix: str) -> None:
    one = budget(store, prefix, max_failures=2)
    one.record(["s0", ODD])
    one.forget(["s7", ODD])
    assert one.used_up() is None
    one.forget(["s0"])
    one.record(["s1"])
    assert one.used_up() is None


class FakeCountingStore(DeepStore):
    """The real store, which counts how often notes are listed."""

    listings = 0

    def list(self, prefix_url: str) -> Iterator[ObjectInfo]:
        self.listings += 1
        return super().list(prefix_url)


class FakeStoreWithoutAnswers(DeepStore):
    """A store that takes nothing now."""

    def write_workspace(self, url: str, body: Any) -> str:
        raise DeepStoreUnavailableError("no answer from the store")


def test_a_note_that_cannot_be_written_is_a_warning_and_stops_nobody(
    s3: Any, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = budget(FakeStoreWithoutAnswers(s3), prefix, max_failures=1)
    one.record(["s0"])
    assert "no answer from the store" in caplog.text
    assert one.used_up() is not None  # the batch itself knows


@pytest.mark.parametrize(
    ("error", "last_try", "counts"),
    [
        (EngineError("no Java"), False, True),
        (PinotUnavailableError("no answer"), False, False),
        (PinotUnavailableError("no answer"), True, True),
        (OSError(28, "No space left on device"), False, False),  # Airflow tries it again
        (OSError(28, "No space left on device"), True, True),
        (StoppedError("the kill switch is on"), True, False),
        (KeyboardInterrupt(), True, False),
    ],
    ids=["no Java", "tried again", "last try", "full disk", "full disk, last try", "kill switch", "cancelled"],
)
def test_a_batch_that_ends_with_an_error_counts_as_a_whole(
    store: DeepStore, prefix: str, error: BaseException, last_try: bool, counts: bool
) -> None:
    one = budget(store, prefix, max_failures=2)
    with pytest.raises(type(error)), one.counting(lambda: ["s0", "s1"], last_try=last_try):
        raise error
    assert (one.used_up() is not None) is counts


def test_a_batch_that_comes_to_its_end_does_not_count(store: DeepStore, prefix: str) -> None:
    one = budget(store, prefix, max_failures=1)
    with one.counting(lambda: ["s0"], last_try=True):
        pass
    assert one.used_up() is None
