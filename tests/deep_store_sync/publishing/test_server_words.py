"""How often servers are asked what they have, and that it is asked anew where it may have changed."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.benchmarks.simulated_cluster import simulated_cluster
from tests.benchmarks.simulated_controller import Scenario
from tests.benchmarks.waves_process import published_batch, rebuilt_batch

from deep_store_sync.model import Outcome, PublishMode, ServerAnswer
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.servers import ServerClient
from deep_store_sync.publishing import server_words
from deep_store_sync.publishing.server_words import ServerWords
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore

CONFIG: dict[str, Any] = {"tableIndexConfig": {}}
OTHER: dict[str, Any] = {"tableIndexConfig": {"invertedIndexColumns": ["a"]}}


class FakeSlowController:
    """A controller whose servers take `takes_s` to compare their segments."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.now = 0.0
        self.asked: list[Any] = []

    def stale(self, table: str, segments: Any) -> dict[str, ServerAnswer]:
        self.now += self.takes_s
        self.asked.append(segments)
        return {"s": ServerAnswer(True)}

    def need_reload(self, table: str) -> dict[str, bool]:
        self.now += self.takes_s
        self.asked.append(table)
        return {"s": False}


def words(controller: FakeSlowController) -> ServerWords:
    services = Services(cast(Any, controller), cast(Any, None), cast(Any, None), cast(Any, None))
    return ServerWords(services, "t_OFFLINE", frozenset("ab"), clock=lambda: controller.now)


def test_where_servers_answer_at_once_they_are_asked_each_time() -> None:
    controller = FakeSlowController(0.5)
    asked = words(controller)
    for _ in range(3):
        assert asked.stale(CONFIG, ()) == {"s": ServerAnswer(True)}
    assert controller.asked == [{"a", "b"}] * 3


@pytest.mark.parametrize("question", ["stale", "need_reload"])
def test_asking_takes_a_tenth_of_the_time_at_most(question: str) -> None:
    controller = FakeSlowController(30)
    asked = words(controller)
    for _ in range(1000):
        getattr(asked, question)(CONFIG, ())
        controller.now += 5
    assert len(controller.asked) * 30 <= 0.1 * controller.now + 30
    assert len(controller.asked) > 10


def test_another_config_and_a_reload_that_has_ended_make_an_answer_old() -> None:
    controller = FakeSlowController(30)
    asked = words(controller)
    for times, (config, reloads) in enumerate([(CONFIG, ()), (OTHER, ()), (OTHER, ("job",)), (CONFIG, ("job",))], 1):
        for _ in range(3):
            asked.stale(config, reloads)
        assert len(controller.asked) == times


@pytest.mark.parametrize(("stale", "mode"), [(0.0, PublishMode.QUIET), (1.0, PublishMode.REFRESH)])
def test_waves_of_a_large_table_use_one_answer(
    store: DeepStore, prefix: str, stale: float, mode: PublishMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a wave asks of a controller does not grow with the table, and servers are not asked for each."""
    monkeypatch.setattr(server_words, "AT_ONCE_S", 0.1)
    scenario = Scenario(3000, servers=6, stale=stale, folder=f"{prefix}/deep/events")
    settings = TableSync(
        table=scenario.table,
        deep_store_prefixes=(f"{prefix}/deep",),
        workspace=f"{prefix}/work",
        wave_segments=2,
    )
    with (
        simulated_cluster(scenario, slow_s=0.8) as cluster,
        ControllerClient(cluster.url) as controller,
        ServerClient() as servers,
    ):
        services = Services(controller, servers, store, settings)
        results = published_batch(services, rebuilt_batch(services, scenario, 10))
    assert {(row.outcome, row.mode) for row in results} == {(Outcome.SYNCED, mode)}
    asked = cluster.calls[f"/segments/{scenario.table}/isStale"]
    assert 1 <= asked < 5
    assert cluster.calls["/tables/events/idealstate"] == 5
    for row in results:
        assert len(row.proven) == (0 if mode is PublishMode.QUIET else scenario.replicas)
