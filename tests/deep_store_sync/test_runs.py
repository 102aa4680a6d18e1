"""The search for the runs of a table: what it asks of the store, and when it looks again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from tests.deep_store_sync.overview.workspace_of_runs import TABLE, Runs, WrittenRun, segment, skipped

from deep_store_sync.runs import RunFinder
from deep_store_sync.store.deep_store import DeepStore
from pinot_sandbox.gateway import S3Gateway


class Search:
    """One finder of runs over a real store, with a clock of its own and a count of calls."""

    def __init__(self, gateway: S3Gateway, prefix: str) -> None:
        client = gateway.client()
        self.now = 0.0
        self.calls: Counter[str] = Counter()
        client.meta.events.register("before-call.s3", lambda model, **_: self.calls.update([model.name]))
        self.runs = Runs(DeepStore(gateway.client()), prefix)
        self._store, self._root = DeepStore(client), prefix
        self._finder = RunFinder(settled_s=60, clock=lambda: self.now)

    def found(self, **options: Any) -> list[str]:
        self.calls.clear()
        return [of.run.run_id for of in self._finder.find(self._store, self._root, TABLE, **options)]


@pytest.fixture
def search(gateway: S3Gateway, prefix: str) -> Search:
    return Search(gateway, prefix)


def ended(runs: Runs, run_id: str) -> WrittenRun:
    run = runs.plan(run_id, skipped("a"))
    run.report()
    return run


def test_what_has_ended_is_not_asked_for_each_time(search: Search) -> None:
    for number in range(5):
        ended(search.runs, f"r{number}")
    at_work = search.runs.plan("r5", segment("a", batch="b0000"))
    newest_first = [f"r{number}" for number in range(5, -1, -1)]
    assert search.found() == newest_first
    assert search.calls["HeadObject"] >= 12
    # All runs in one listing, the one that is at work in another, and its two files.
    assert search.found() == newest_first
    assert search.calls == {"ListObjectsV2": 2, "HeadObject": 2}
    ended(search.runs, "r6")
    assert search.found() == ["r6", *newest_first]
    at_work.report()
    assert search.found() == ["r6", *newest_first]
    assert search.found() == ["r6", *newest_first]
    assert search.calls == {"ListObjectsV2": 1}


def test_what_is_done_to_a_run_that_has_ended_is_seen_in_a_minute(search: Search) -> None:
    old = ended(search.runs, "old")
    ended(search.runs, "new")
    assert search.found() == ["new", "old"]
    search.runs.plan("old", segment("a", batch="b0000"))  # a task of it was cleared
    search.now = 59.0
    assert search.found() == ["new", "old"]
    search.now = 60.0
    assert search.found() == ["old", "new", "old"]
    for url in (old.place.plan_url, old.place.report_url):
        search.runs.store.delete(url)
    search.now = 120.0
    assert search.found() == ["old", "new"]


def test_runs_that_are_removed_are_gone_at_once(search: Search) -> None:
    old = ended(search.runs, "old")
    ended(search.runs, "new")
    assert search.found() == ["new", "old"]
    for url in (old.place.plan_url, old.place.report_url):
        search.runs.store.delete(url)
    assert search.found() == ["new"]


def test_of_each_kind_only_so_many_are_looked_for(search: Search) -> None:
    for number in range(4):
        ended(search.runs, f"scheduled__2026-05-0{number + 1}")
    ended(search.runs, "manual__2025-01-01")
    ended(search.runs, "by hand")
    assert search.found(of_a_kind=2) == [
        "by hand",
        "manual__2025-01-01",
        "scheduled__2026-05-04",
        "scheduled__2026-05-03",
    ]
    assert search.calls["ListObjectsV2"] == 1 + 4
    assert len(search.found()) == 6
