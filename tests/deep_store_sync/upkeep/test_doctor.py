"""Checks of a large table, which no sandbox has: they hold little of it, and see its storage quota."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest
from tests.benchmarks.simulated_cluster import simulated_cluster
from tests.benchmarks.simulated_controller import Scenario

from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.servers import ServerClient
from deep_store_sync.services import Services
from deep_store_sync.settings import EngineSettings, TableSync
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.upkeep.doctor import Check, Doctor, Verdict


def checks(
    store: DeepStore,
    prefix: str,
    scenario: Scenario,
    monkeypatch: pytest.MonkeyPatch,
    engine: EngineSettings | None = None,
) -> dict[str, Check]:
    monkeypatch.setattr(Doctor, "_engine", lambda self, folder: (Verdict.OK, "not asked for here"))
    settings = TableSync(
        table=scenario.table,
        deep_store_prefixes=(f"{prefix}/deep",),
        workspace=f"{prefix}/work",
        engine=engine or EngineSettings(),
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


def test_a_folder_that_cannot_be_worked_in_is_a_failed_check(
    store: DeepStore, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    workdir = tmp_path / "file" / "work"
    scenario = Scenario(10, servers=1, folder=f"{prefix}/deep/events")
    found = checks(store, prefix, scenario, monkeypatch, EngineSettings(workdir=workdir))
    assert found["worker"].verdict is Verdict.FAILED
    assert found["worker"].message == f"NotADirectoryError: {workdir}: Not a directory; check the path"
    assert "segment library" not in found
    assert found["backup"].verdict is Verdict.OK


def test_an_error_of_the_system_is_a_failed_check(
    store: DeepStore, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/work")

    monkeypatch.setattr(DeepStore, "probe", full)
    found = checks(store, prefix, Scenario(10, servers=1, folder=f"{prefix}/deep/events"), monkeypatch)
    assert found["workspace"].verdict is Verdict.FAILED
    assert found["workspace"].message.startswith("OSError: /work: No space left on device; free some space there")
    assert found["worker"].verdict is Verdict.OK
