"""What servers may download because of a run, over batches that know nothing of one another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from deep_store_sync.publishing.download_budget import DownloadBudget
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.workspace import Workspace


def budgets(store: DeepStore, prefix: str, most: int | None, count: int = 2) -> list[DownloadBudget]:
    workspace = Workspace(store, f"{prefix}/runs/r/1")
    return [DownloadBudget(workspace, f"b{number:04d}", most) for number in range(count)]


def test_batches_share_it(store: DeepStore, prefix: str) -> None:
    one, other = budgets(store, prefix, 100)
    assert [one.take(40), other.take(40), one.take(40), other.take(20)] == [True, True, False, True]
    assert not one.take(1)
    assert one.take(0)
    notes = sorted((writer.partition("/")[0], sizes) for writer, sizes in one.workspace.downloads().items())
    assert notes == [("b0000", [40]), ("b0001", [60])]


def test_without_a_bound_nothing_is_noted(store: DeepStore, prefix: str) -> None:
    (one,) = budgets(store, prefix, None, 1)
    assert one.take(10**15)
    assert one.workspace.downloads() == {}


def test_what_is_larger_than_the_whole_bound_is_taken_alone(store: DeepStore, prefix: str) -> None:
    one, other = budgets(store, prefix, 100)
    assert one.take(1000)
    assert not other.take(1)


def test_a_bound_of_zero_lets_nothing_through(store: DeepStore, prefix: str) -> None:
    (one,) = budgets(store, prefix, 0, 1)
    assert not one.take(1)


def test_a_batch_that_is_tried_again_counts_what_it_had(store: DeepStore, prefix: str) -> None:
    (one,) = budgets(store, prefix, 100, 1)
    assert one.take(70)
    (again,) = budgets(store, prefix, 100, 1)
    assert not again.take(40)
    assert again.take(30)


def test_two_tries_that_are_both_alive_get_no_more_than_there_is(store: DeepStore, prefix: str) -> None:
    (one,) = budgets(store, prefix, 180, 1)
    assert one.take(100)
    (again,) = budgets(store, prefix, 180, 1)
    assert [again.take(50), one.take(30), again.take(1), one.take(1)] == [True, True, False, False]


def test_however_many_ask_at_once_no_more_is_given(store: DeepStore, prefix: str) -> None:
    some = budgets(store, prefix, 100, 5)
    with ThreadPoolExecutor(10) as pool:
        given = list(pool.map(lambda number: some[number % 5].take(10), range(30)))
    assert 1 <= sum(given) <= 10
    assert sum(max(sizes) for sizes in some[0].workspace.downloads().values()) == 10 * sum(given)
