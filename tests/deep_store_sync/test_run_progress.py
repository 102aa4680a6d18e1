"""How far a run is, in numbers and in words."""

from __future__ import annotations

import pytest

from deep_store_sync.model import Action, PlannedSegment, Servers, StampState
from deep_store_sync.plan import Batch
from deep_store_sync.run_progress import RunProgress


def row(size: int) -> PlannedSegment:
    return PlannedSegment("s", Action.REBUILD, "", "v1:0", Servers.STALE, StampState.NONE, size_bytes=size)


class FakeClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_half_of_the_work_is_rebuilding_and_the_rest_publishing() -> None:
    shown: list[tuple[float, str]] = []
    clock = FakeClock()
    progress = RunProgress(lambda share, words: shown.append((share, words)), clock)
    progress.note("planning")
    progress.planned([Batch("b0000", 2, 3_000), Batch("b0001", 1, 1_000)])
    progress.begins(1, "is rebuilt")
    clock.now = 10.0
    progress.rebuilt(row(1_000))
    progress.rebuilt(row(2_000))
    progress.begins(1, "is published")
    clock.now = 20.0
    progress.published(row(1_000))
    assert [share for share, _ in shown] == [0, 0, 0.125, 0.375, 0.375, 0.5]
    assert shown[0][1] == "planning"
    assert shown[1][1] == "batch 1 of 2 is rebuilt, 0 of 3 segments rebuilt, 0 done, 0 B of 4.0 kB"
    assert shown[-1][1] == (
        "batch 1 of 2 is published, 2 of 3 segments rebuilt, 1 done, 3.0 kB of 4.0 kB, 150 B/s, about 20 s left"
    )
    for _ in range(4):
        progress.published(row(1_000))
    assert progress.share == pytest.approx(1.0)
    assert "left" not in progress.words()


def test_where_no_size_is_known_segments_are_counted() -> None:
    progress = RunProgress()
    progress.planned([Batch("b0000", 2, 0)])
    progress.rebuilt(row(0))
    assert progress.share == 0.25


def test_a_plan_without_work() -> None:
    progress = RunProgress()
    progress.planned([])
    assert progress.share == 0
