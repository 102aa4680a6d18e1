"""What a run takes, in which order, and that nothing waits for ever."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_store_sync.planning.order import Left, Limits, cut_batches, in_order, spend, turn

HOUR_MS = 3_600_000


def order(names: list[str], newest: list[int], begin: float | None) -> list[str]:
    work = pa.table(
        {
            "budgeted": pa.array([1] * len(names), pa.uint8()),
            "calm": pa.array([1] * len(names), pa.uint8()),
            "newest": pa.array(newest, pa.int64()),
            "name": names,
        }
    )
    return [names[place] for place in in_order(work, begin).to_pylist()]


def test_the_newest_data_comes_first() -> None:
    assert order(["a", "b", "c", "d"], [1, 3, 2, 3], None) == ["b", "d", "c", "a"]


def test_a_run_may_begin_anywhere_and_goes_all_around() -> None:
    assert order(["a", "b", "c", "d"], [1, 3, 2, 3], 0.5) == ["c", "d", "a", "b"]
    assert order(["a", "b", "c", "d"], [1, 3, 2, 3], 0.999) == ["d", "a", "b", "c"]
    assert order([], [], 0.5) == []


def test_what_no_budget_bounds_comes_first_then_what_servers_report() -> None:
    work = pa.table(
        {
            "budgeted": pa.array([1, 1, 0, 0], pa.uint8()),
            "calm": pa.array([1, 0, 1, 0], pa.uint8()),
            "newest": pa.array([9, 5, 5, 1], pa.int64()),
            "name": ["a", "b", "c", "d"],
        }
    )
    assert in_order(work, None).to_pylist() == [3, 2, 1, 0]


@pytest.mark.parametrize("hours", [1, 4, 6, 12, 24, 7 * 24, 30 * 24])
def test_runs_at_any_distance_begin_in_all_parts_of_the_table_and_mostly_with_what_is_new(hours: int) -> None:
    begins = [turn(run * hours * HOUR_MS) for run in range(1000)]
    elsewhere = [begin for begin in begins if begin is not None]
    assert 200 <= len(elsewhere) <= 300
    assert {int(begin * 20) for begin in elsewhere} == set(range(20))


segments = st.lists(st.tuples(st.integers(0, 100), st.booleans()), min_size=1, max_size=30)


@settings(max_examples=50, deadline=None)
@given(
    segments,
    st.integers(1, 150),
    st.integers(0, 10**9),
    st.sampled_from([1, 24, 168]),
    st.none() | st.just(2),
    st.none() | st.integers(1, 400),
)
def test_every_segment_has_its_turn_whatever_fails(
    found: list[tuple[int, bool]], budget: int, first_hour: int, hours: int, most: int | None, bytes_: int | None
) -> None:
    """Many runs, each of which stamps what it takes, but for what fails every time."""
    names = [f"s{number:02d}" for number in range(len(found))]
    failing = {name for name, (_, fails) in zip(names, found, strict=True) if fails}
    waiting, tried = list(names), set[str]()
    for run in range(100 * len(names)):
        newest = [int(name[1:]) for name in waiting]
        in_turn = order(waiting, newest, turn((first_hour + run * hours) * HOUR_MS))
        left, _ = spend(
            [found[int(name[1:])][0] for name in in_turn],
            [True] * len(in_turn),
            [3] * len(in_turn),
            budget=budget,
            max_segments=most,
            download_bytes=bytes_,
        )
        taken = {name for name, why in zip(in_turn, left, strict=True) if why == Left.TAKEN}
        assert taken
        tried |= taken
        waiting = [name for name in waiting if name in failing or name not in taken]
        if tried == set(names):
            break
    assert tried == set(names)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.booleans())), st.integers(0, 120), st.none() | st.integers(0, 5))
def test_a_run_takes_no_more_than_its_budget(work: list[tuple[int, bool]], budget: int, most: int | None) -> None:
    sizes, budgeted = [size for size, _ in work], [bounded for _, bounded in work]
    left, spent = spend(sizes, budgeted, [0] * len(sizes), budget=budget, max_segments=most)
    taken = [one for one, why in zip(work, left, strict=True) if why == Left.TAKEN]
    assert most is None or len(taken) <= most
    bounded_sizes = [max(size, 1) for size, bounded in taken if bounded]
    assert spent == sum(bounded_sizes)
    assert spent <= budget or len([size for size in bounded_sizes if size > 1]) == 1
    if budget == 0:
        assert not bounded_sizes


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3))), st.none() | st.integers(0, 200))
def test_servers_download_no_more_than_they_may(work: list[tuple[int, int]], most: int | None) -> None:
    sizes, servers = [size for size, _ in work], [count for _, count in work]
    left, _ = spend(sizes, [False] * len(work), servers, budget=0, max_segments=None, download_bytes=most)
    loads = [max(size, 1) * count for size, count in work]
    taken = [load for load, why in zip(loads, left, strict=True) if why == Left.TAKEN]
    assert set(left) <= {Left.TAKEN, Left.DOWNLOADS}
    assert most is None or sum(taken) <= most or len([load for load in taken if load]) == 1
    if most is None or most >= sum(loads):
        assert len(taken) == len(loads)
    if most == 0:
        assert not any(taken)
    assert taken.count(0) == loads.count(0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), max_size=300), st.integers(1, 40), st.integers(1, 10**6), st.integers(1, 50))
def test_batches_hold_all_of_the_work_and_the_largest_is_the_first(
    sizes: list[int], count: int, size: int, most: int
) -> None:
    cut = cut_batches(sizes, Limits(0, size, count, most))
    assert cut_batches(sizes, Limits(0, size, count, most, timed=True)) == sorted(cut)
    assert sorted(place for start, end in cut for place in range(start, end)) == list(range(len(sizes)))
    of_batch = [sum(sizes[start:end]) for start, end in cut]
    assert of_batch == sorted(of_batch, reverse=True)
    assert len(cut) <= max(most, 1)
    widest = max(size, math.ceil(4 * sum(sizes) / most))
    tallest = max(count, math.ceil(2 * len(sizes) / most))
    assert all(end - start <= tallest for start, end in cut)
    assert all(bytes_ <= widest or end - start == 1 for bytes_, (start, end) in zip(of_batch, cut, strict=True))
