"""Pushes to a table with a storage quota go one at a time, and take half of the time at most."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.benchmarks.simulated_cluster import simulated_cluster
from tests.benchmarks.simulated_controller import Scenario
from tests.benchmarks.waves_process import published_batch, rebuilt_batch

from deep_store_sync.model import Outcome
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.servers import ServerClient
from deep_store_sync.publishing.push_pace import LONGEST_PAUSE_S, PushPace
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0
        self.slept = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


def push(pace: PushPace, clock: FakeClock, quota: str | None, seconds: float) -> None:
    pace.know(lambda: quota)
    with pace.pushing():
        clock.now += seconds


@pytest.mark.parametrize(("quota", "takes", "pause"), [(None, 5, 0), ("10T", 5, 5), ("10T", 500, LONGEST_PAUSE_S)])
def test_after_a_push_comes_a_pause_as_long_as_it(quota: str | None, takes: float, pause: float) -> None:
    clock = FakeClock()
    pace = PushPace(clock.sleep, lambda: clock.now)
    for _ in range(3):
        push(pace, clock, quota, takes)
    assert clock.slept == 3 * pause


def test_a_push_that_fails_is_paused_after_too() -> None:
    clock = FakeClock()
    pace = PushPace(clock.sleep, lambda: clock.now)

    def refused() -> None:
        pace.know(lambda: "1G")
        with pace.pushing():
            clock.now += 2
            raise RuntimeError

    with pytest.raises(RuntimeError):
        refused()
    assert clock.slept == 2


def test_the_quota_is_asked_for_once() -> None:
    asked = []

    def quota() -> str | None:
        asked.append(1)
        return None

    pace = PushPace()

    def one(_: int) -> None:
        pace.know(quota)
        with pace.pushing():
            pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(20)))
    assert asked == [1]


@pytest.mark.parametrize("quota", ["", "10T"])
def test_each_push_sizes_all_segments_and_no_two_do_so_at_once(store: DeepStore, prefix: str, quota: str) -> None:
    scenario = Scenario(2000, servers=4, replicas=2, stale=1.0, quota=quota, folder=f"{prefix}/deep/events")
    settings = TableSync(
        table=scenario.table, deep_store_prefixes=(f"{prefix}/deep",), workspace=f"{prefix}/work", wave_segments=8
    )
    with (
        simulated_cluster(scenario) as cluster,
        ControllerClient(cluster.url) as controller,
        ServerClient() as servers,
    ):
        services = Services(controller, servers, store, settings)
        results = published_batch(services, rebuilt_batch(services, scenario, 8))
    assert {row.outcome for row in results} == {Outcome.SYNCED}
    assert cluster.sizes["segments"] == (8 * 2 * 2000 if quota else 0)
    assert cluster.sizes["calls"] == (8 * 4 if quota else 0)
    if quota:
        assert cluster.most_pushing == 1
