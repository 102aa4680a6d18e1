"""A wave where controller or servers do not do what they should, on a simulated cluster and a real store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ByteSize
from tests.benchmarks.simulated_cluster import simulated_cluster
from tests.benchmarks.simulated_controller import Scenario
from tests.benchmarks.waves_process import BATCH, LOG, rebuilt_batch

from deep_store_sync.errors import PinotUnavailableError
from deep_store_sync.model import (
    Action,
    Outcome,
    Plan,
    Published,
    PublishMode,
    RebuildResult,
    Rebuilt,
    ServerAnswer,
    Servers,
)
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.reload_job import ReloadStatus
from deep_store_sync.pinot.servers import ServerClient
from deep_store_sync.publishing.wave import WavePublisher
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.workspace import Workspace

REPLICAS = 2


class FakeController(ControllerClient):
    """The simulated one, but with servers that need a forced download, and it may not answer."""

    forced: list[str]
    cured: bool
    """Whether servers are in sync after a forced download."""
    table_configs: int
    """How often the table config was asked for."""
    silent_at: Callable[[int], bool]
    """Whether the controller gives no answer when it is asked for it this time."""
    silent_before_reloads: bool
    """Whether isStale gives no answer until there was a reload."""

    def table_config(self, table: str) -> dict[str, Any]:
        self.table_configs += 1
        if self.silent_at(self.table_configs):
            raise PinotUnavailableError("no answer from the controller")
        return super().table_config(table)

    def stale(self, table: str, segments: Collection[str] | None = None) -> dict[str, ServerAnswer]:
        if self.silent_before_reloads and not self.forced:
            raise PinotUnavailableError("no answer from the servers")
        cured = self.forced if self.cured else ()
        return {
            server: replace(answer, stale={name: why for name, why in answer.stale.items() if name not in cured})
            for server, answer in super().stale(table, segments).items()
        }

    def reload(self, table: str, segment: str | None = None, *, force_download: bool = False) -> str:
        assert force_download
        self.forced.append(str(segment))
        return f"job of {segment}"

    def reload_status(self, job: str) -> ReloadStatus:
        return ReloadStatus("COMPLETED", REPLICAS, REPLICAS)


class FakeServers(ServerClient):
    """Servers that do not compare CRCs: they ignore a refresh, and take it by a forced download."""

    controller: FakeController

    def segment_crcs(self, url: str, table: str) -> dict[str, int]:
        crcs = super().segment_crcs(url, table)
        return {name: crc if name in self.controller.forced else 0 for name, crc in crcs.items()}


@dataclass
class Cluster:
    """A table with three segments that all servers call stale, and a batch of them."""

    services: Services
    scenario: Scenario
    controller: FakeController
    folder: Path
    waited: list[float] = field(default_factory=list)

    def batch(self) -> tuple[Workspace, Plan, list[RebuildResult]]:
        workspace = rebuilt_batch(self.services, self.scenario, 3)
        return workspace, workspace.read_plan(), workspace.read_results("rebuilt", BATCH, RebuildResult) or []

    def publish(
        self, workspace: Workspace, plan: Plan, results: list[RebuildResult], **settings: Any
    ) -> list[Published]:
        """The batch as one wave, by a task of its own. No time passes while servers are waited for."""
        services = replace(self.services, settings=self.services.settings.model_copy(update=settings))
        publisher = WavePublisher(services, workspace, plan, BATCH, self.folder, LOG)
        now = [0.0]

        def sleep(seconds: float) -> None:
            now[0] += seconds

        publisher._watch.sleep, publisher._watch.clock = sleep, lambda: now[0]
        return publisher.publish(list(zip(plan.segments, results, strict=True)), lambda: None)


@pytest.fixture
def cluster(store: DeepStore, prefix: str, tmp_path: Path) -> Iterator[Cluster]:
    scenario = Scenario(3, servers=REPLICAS, replicas=REPLICAS, stale=1.0, folder=f"{prefix}/deep/events")
    settings = TableSync(
        table=scenario.table,
        deep_store_prefixes=(f"{prefix}/deep",),
        workspace=f"{prefix}/work",
        proof_timeout=timedelta(seconds=60),
    )
    with simulated_cluster(scenario) as simulated:
        controller, servers = FakeController(simulated.url), FakeServers()
        controller.forced, controller.cured = [], True
        controller.table_configs, controller.silent_at = 0, lambda _: False
        controller.silent_before_reloads = False
        servers.controller = controller
        with controller, servers:
            yield Cluster(Services(controller, servers, store, settings), scenario, controller, tmp_path)


def test_forced_downloads_count_for_what_servers_may_download(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Of three segments, all are refreshed, which the servers ignore, and one may be downloaded once more."""
    workspace, plan, results = cluster.batch()
    size = results[0].staged_bytes * REPLICAS
    assert {result.staged_bytes for result in results} == {results[0].staged_bytes}
    rows = cluster.publish(workspace, plan, results, max_server_download_bytes=ByteSize(4 * size))
    assert list(workspace.downloads().values()) == [[4 * size]]
    assert len(cluster.controller.forced) == 1
    assert caplog.text.count("servers may download no more for this run (maxServerDownloadBytes)") == 2
    for row in rows:
        assert row.mode is PublishMode.REFRESH
        if row.segment in cluster.controller.forced:
            assert (row.outcome, len(row.proven), row.downloads) == (Outcome.SYNCED, REPLICAS, 2 * REPLICAS)
        else:
            assert (row.outcome, row.proven, row.downloads) == (Outcome.FAILED, (), REPLICAS)
            assert "within proofTimeout, and may not be made to (maxServerDownloadBytes): look at" in row.message


def test_without_a_bound_all_are_forced(cluster: Cluster) -> None:
    rows = cluster.publish(*cluster.batch())
    assert {(row.outcome, row.downloads) for row in rows} == {(Outcome.SYNCED, 2 * REPLICAS)}
    assert sorted(cluster.controller.forced) == sorted(row.segment for row in rows)


@pytest.fixture
def behind(cluster: Cluster) -> tuple[Workspace, Plan, list[RebuildResult]]:
    """Segments that the deep store has right already: one is stamped, and the others are to be."""
    workspace, plan, results = cluster.batch()
    statuses = [Rebuilt.RELOAD, Rebuilt.UNCHANGED, Rebuilt.UNCHANGED]
    actions = [Action.RELOAD, Action.REBUILD, Action.REBUILD]
    rows = tuple(replace(row, action=action) for row, action in zip(plan.segments, actions, strict=True))
    results = [replace(result, status=status) for result, status in zip(results, statuses, strict=True)]
    return workspace, replace(plan, segments=rows), results


def test_servers_that_took_it_at_an_earlier_try_are_not_made_to_once_more(
    cluster: Cluster, behind: tuple[Workspace, Plan, list[RebuildResult]]
) -> None:
    workspace, plan, results = behind
    bound = {"max_server_download_bytes": ByteSize(1000)}
    rows = cluster.publish(workspace, plan, results, **bound)
    assert {(row.outcome, row.downloads) for row in rows} == {(Outcome.SYNCED, REPLICAS)}
    forced, counted = Counter(cluster.controller.forced), workspace.downloads()
    assert forced == Counter(row.segment for row in plan.segments)

    again = cluster.publish(workspace, plan, results, **bound)
    assert [(row.outcome, row.downloads, row.pending) for row in again] == [
        (Outcome.STAMPED, 0, first.pending) for first in rows
    ]
    assert again[0].message == "servers have it by now"
    assert Counter(cluster.controller.forced) == forced
    assert workspace.downloads() == counted

    # Those that are still behind are made to, and no others.
    cluster.controller.forced.remove(plan.segments[1].segment)
    cluster.publish(workspace, plan, results, **bound)
    assert Counter(cluster.controller.forced) == forced


def test_where_nobody_tells_whether_the_config_changed_nothing_is_marked_incurable(
    cluster: Cluster, behind: tuple[Workspace, Plan, list[RebuildResult]]
) -> None:
    """The look before the wave reads the config; the one after servers have stayed stale gets no answer."""
    cluster.controller.cured = False
    cluster.controller.silent_at = lambda number: number > 1
    rows = cluster.publish(*behind, proof_timeout=timedelta())
    assert {(row.outcome, row.pending) for row in rows} == {(Outcome.FAILED, None)}
    assert all("still stale (" in row.message for row in rows)
    assert all(row.message.endswith("read again: no answer from the controller") for row in rows)


def test_a_quota_that_cannot_be_read_leaves_the_object_as_it_was(cluster: Cluster) -> None:
    """It is asked for before anything is written: the second time that the config is read."""
    cluster.controller.silent_at = lambda number: number == 2
    workspace, plan, results = cluster.batch()
    rows = cluster.publish(workspace, plan, results)
    (failed,) = [row for row in rows if row.outcome is Outcome.FAILED]
    assert failed.message == "no answer from the controller"
    objects = {row.segment: cluster.services.store.read(row.url) for row in plan.segments}
    assert [name for name, body in objects.items() if body == f"old {name}".encode()] == [failed.segment]
    assert {row.outcome for row in rows if row is not failed} == {Outcome.SYNCED}


def test_what_only_has_to_be_taken_needs_no_word_of_the_servers_to_begin(
    cluster: Cluster, behind: tuple[Workspace, Plan, list[RebuildResult]]
) -> None:
    cluster.controller.silent_before_reloads = True
    rows = cluster.publish(*behind)
    assert {(row.outcome, row.downloads) for row in rows} == {(Outcome.SYNCED, REPLICAS)}


def test_without_their_word_a_change_goes_out_only_if_the_plan_had_none_either(cluster: Cluster) -> None:
    cluster.controller.silent_before_reloads = True
    workspace, plan, results = cluster.batch()
    with pytest.raises(PinotUnavailableError, match="no answer from the servers"):
        cluster.publish(workspace, plan, results)
    assert {cluster.services.store.read(row.url)[:3] for row in plan.segments} == {b"old"}
    unknown = replace(plan, segments=tuple(replace(row, servers=Servers.UNKNOWN) for row in plan.segments))
    rows = cluster.publish(workspace, unknown, results)
    assert {(row.outcome, row.mode) for row in rows} == {(Outcome.SYNCED, PublishMode.REFRESH)}
