"""Checks of a large table, which no sandbox has: they hold little of it, and see its storage quota."""

from __future__ import annotations

import logging

import pytest
from tests.benchmarks.simulated_cluster import simulated_cluster
from tests.benchmarks.simulated_controller import Scenario

from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.servers import ServerClient
from deep_store_sync.services import Services
from deep_store_sync.settings import EngineSettings, TableSync
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.upkeep.doctor import Check, Doctor, Verdict


def checks(store: DeepStore, prefix: str, scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> dict[str, Check]:
    monkeypatch.setattr(Doctor, "_engine", lambda self: (Verdict.OK, "not asked for here"))
    settings = TableSync(
        table=scenario.table,
        deep_store_prefixes=(f"{prefix}/deep",),
        workspace=f"{prefix}/work",
        engine=EngineSettings(),
    )
    for number in range(scenario.segments):
        if number < 5:
            store.write_workspace(f"{scenario.folder}/{scenario.name(number)}", b"")
    with (
        simulated_cluster(scenario) as cluster,
        ControllerClient(cluster.url) as controller,
        ServerClient() as servers,
    ):
        services = Services(controller, servers, store, settings)
        return {check.subject: check for check in Doctor(services, logging.getLogger("tests.doctor")).examine()}


@pytest.mark.parametrize(
    ("segments", "quota", "verdict"),
    [(10_000, "10T", Verdict.WARNING), (10_000, "", Verdict.OK), (100, "10T", Verdict.OK)],
)
def test_a_storage_quota_on_a_large_table(
    store: DeepStore, prefix: str, segments: int, quota: str, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = Scenario(segments, servers=4, silent=1, quota=quota, folder=f"{prefix}/deep/events")
    found = checks(store, prefix, scenario, monkeypatch)
    assert found["table"].message.startswith(f"events_OFFLINE: {segments} segments on 4 servers")
    assert found["table"].verdict is verdict
    assert ("quota.storage" in found["table"].message) == (verdict is Verdict.WARNING)
    assert "1 of 4 servers do not say" in found["isStale"].message
    assert scenario.server(0) in found["isStale"].message
    assert found[f"server {scenario.server(3)}"].message.startswith(f"{segments * 3 // 4} segments loaded")
    assert found["deep store"].message.startswith(f"5 of {segments} objects looked at")
