"""The first step of a run, against a simulated controller: what of a large table no real one would show here."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.benchmarks.simulated_controller import Scenario, SimulatedController, simulated

from deep_store_sync.errors import PinotAnswerError, PinotUnavailableError
from deep_store_sync.estimate import estimate
from deep_store_sync.find import FoundPlan, as_stamped, batch_name, find_stale_segments, plan_table, read_table
from deep_store_sync.model import Action, DeferredBy, RunRequest, Servers, StampState
from deep_store_sync.pinot import long_answers
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.servers import ServerClient
from deep_store_sync.planning.order import Batch
from deep_store_sync.planning.table_state import column, one_chunk
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.table_hash import table_hash
from deep_store_sync.workspace import Workspace

LOG = logging.getLogger("tests.find")


@contextmanager
def table(
    store: DeepStore, prefix: str, scenario: Scenario, **settings: Any
) -> Iterator[tuple[Services, SimulatedController]]:
    """Services for a simulated table, whose workspace is real."""
    with (
        simulated(scenario) as controller,
        ControllerClient(controller.url, timeout_s=2, sleep=lambda _: None) as client,
        ServerClient() as servers,
    ):
        configured = TableSync(
            table=f"events_{scenario.kind}",
            deep_store_prefixes=(scenario.folder.rpartition("/")[0],),
            workspace=f"{prefix}/work",
            **settings,
        )
        yield Services(client, servers, store, configured), controller


def found(services: Services, **request: Any) -> FoundPlan:
    return find_stale_segments(services, RunRequest("r", **request), log=LOG, now_ms=1)


@pytest.fixture
def _in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_answers, "PIECE", 20_000)


@pytest.mark.usefixtures("_in_pieces")
@pytest.mark.parametrize("kind", ["OFFLINE", "REALTIME"])
@pytest.mark.parametrize("segments", [1, 100, 5_000])
def test_calls_do_not_grow_with_the_table(store: DeepStore, prefix: str, segments: int, kind: str) -> None:
    with table(store, prefix, Scenario(segments, kind=kind, stale=0.5), audit_budget=10**15) as (services, controller):
        plan = found(services)
    assert sum(controller.calls.values()) <= 7
    rows = Workspace.of_plan(store, plan.plan_url).read_plan().segments
    scenario = Scenario(segments)
    assert sorted(row.segment for row in rows) == sorted(scenario.name(number) for number in range(segments))
    stale = {scenario.name(number) for number in range(int(segments * 0.5))}
    for row in rows:
        assert row.action is (Action.REBUILD if row.segment in stale else Action.AUDIT)
        assert row.servers is (Servers.STALE if row.segment in stale else Servers.CLEAN)
        assert row.url == f"{scenario.folder}/{row.segment}"
        number = int(row.segment.rpartition("_")[2])
        assert row.replicas == tuple(sorted(scenario.server(server) for server in scenario.hosts(number)))
    assert sum(batch.segments for batch in plan.batches) == segments
    sizes = [batch.bytes for batch in plan.batches]
    assert sizes == sorted(sizes, reverse=True)


def test_a_plan_alone_is_the_plan_of_a_run_and_writes_nothing(store: DeepStore, prefix: str) -> None:
    scenario = Scenario(50, stale=0.5)
    with table(store, prefix, scenario, audit_budget=10**15) as (services, _):
        planned = plan_table(services, RunRequest("r"), log=LOG, now_ms=1)
        assert list(store.list(prefix)) == []
        run = found(services)
    assert list(planned.rows) == list(run.plan.segments)
    assert planned.rows.batches == run.batches
    of_columns = estimate(planned.rows.record_batches(), planned.plan.table_config)
    reader = Workspace.of_plan(store, run.plan_url).open_plan()
    assert of_columns == estimate(reader.groups(), reader.plan.table_config)
    assert (of_columns.work, of_columns.batches) == (50, len(run.batches))


@pytest.mark.usefixtures("_in_pieces")
def test_servers_that_are_left_out_or_answer_nonsense_are_unknown(store: DeepStore, prefix: str) -> None:
    scenario = Scenario(300, servers=6, replicas=2, stale=0.1, silent=1, invalid=1)
    with table(store, prefix, scenario) as (services, _):
        rows = found(services).plan.segments
    asked = {scenario.server(number) for number in range(2, 6)}
    seen = set()
    for row in rows:
        number = int(row.segment.rpartition("_")[2])
        silent = sorted(set(row.replicas) - asked)
        if number < 30 and set(row.replicas) & asked:
            assert (row.action, row.servers) == (Action.REBUILD, Servers.STALE)
        elif silent:
            assert (row.action, row.deferred_by) == (Action.DEFER, DeferredBy.SERVERS)
            assert row.reason.endswith(f"no valid isStale answer from {', '.join(silent)}")
        else:
            assert row.action is Action.AUDIT
        seen.add(row.action)
    assert seen == {Action.REBUILD, Action.DEFER, Action.AUDIT}


@pytest.mark.usefixtures("_in_pieces")
@pytest.mark.parametrize("fault", ["timeout", "cut"])
def test_where_is_stale_has_no_whole_answer_nothing_is_known_of_servers(
    store: DeepStore, prefix: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    scenario = Scenario(500, stale=1.0, fault=fault)
    with table(store, prefix, scenario) as (services, controller), caplog.at_level(logging.WARNING):
        plan = found(services)
        forced = found(services, force=True)
    assert {(row.action, row.deferred_by, row.servers) for row in plan.plan.segments} == {
        (Action.DEFER, DeferredBy.SERVERS, Servers.UNKNOWN)
    }
    assert all("no valid isStale answer from Server_" in row.reason for row in plan.plan.segments)
    assert {row.action for row in forced.plan.segments} == {Action.REBUILD}
    assert "isStale told nothing" in caplog.text
    said = "no answer within 2 s" if fault == "timeout" else "the answer broke off after"
    assert said in caplog.text
    # What took too long is not asked again at once, what broke off is.
    assert controller.calls["/segments/events_OFFLINE/isStale"] == (2 if fault == "timeout" else 8)


@pytest.mark.usefixtures("_in_pieces")
def test_metadata_that_breaks_off_is_an_error_that_says_where_to_look(store: DeepStore, prefix: str) -> None:
    with table(store, prefix, Scenario(5000, metadata_fault="cut")) as (services, controller):
        with pytest.raises(PinotUnavailableError, match=r"zkmetadata: the answer broke off after \d+ bytes .* proxy"):
            found(services)
        assert controller.calls["/segments/events/zkmetadata"] == 4
    assert list(store.list(f"{prefix}/work")) == []


@pytest.mark.usefixtures("_in_pieces")
def test_metadata_that_ends_too_early_is_an_error_too(store: DeepStore, prefix: str) -> None:
    with (
        table(store, prefix, Scenario(5000, metadata_fault="short")) as (services, _),
        pytest.raises(PinotAnswerError, match=r"gave \d+ bytes that are not an object .*cut short.* look at"),
    ):
        found(services)


def test_a_stamp_speaks_of_the_object_that_is_there(store: DeepStore, prefix: str) -> None:
    scenario = Scenario(40, stamped=0.5, folder=f"{prefix}/deep/events")
    objects = {scenario.name(number): f"{scenario.folder}/{scenario.name(number)}" for number in range(40)}
    etags = {name: store.write_workspace(url, name.encode()) for name, url in objects.items()}
    store.delete(objects[scenario.name(39)])

    class Stamped(Scenario):
        def etag(self, number: int) -> str:
            return "another" if number % 5 == 0 else etags[self.name(number)]

    stamped = Stamped(40, stamped=0.5, folder=scenario.folder)
    with table(store, prefix, stamped) as (services, _):
        state = read_table(services, LOG)
        names = column(state.segments, "name").to_pylist()
        assert {name for name, same in zip(names, state.as_stamped.to_pylist(), strict=True) if same} == {
            scenario.name(number) for number in range(20, 39) if number % 5
        }
        segments = one_chunk(services.controller.long.segment_columns("events_OFFLINE"))
        elsewhere = as_stamped(store, segments, ["s3://elsewhere/deep"])
        assert elsewhere.true_count == 0


def test_what_is_stamped_for_the_current_config_is_skipped(store: DeepStore, prefix: str) -> None:
    scenario = Scenario(10)
    current = table_hash(scenario.table_config(), scenario.schema())
    folder = f"{prefix}/deep/events"
    etags = {n: store.write_workspace(f"{folder}/{scenario.name(n)}", bytes([n])) for n in range(10)}

    class Stamped(Scenario):
        def etag(self, number: int) -> str:
            return etags[number]

    with table(store, prefix, Stamped(10, stamped=1.0, stamp=current, folder=folder)) as (services, _):
        plan = found(services)
    assert plan.batches == ()
    assert {(row.action, row.stamp) for row in plan.plan.segments} == {(Action.SKIP, StampState.CURRENT)}


def test_what_is_left_to_later_runs_is_said(store: DeepStore, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    mib = 1024**2
    with (
        table(store, prefix, Scenario(100), audit_budget=65 * 10 * mib) as (services, _),
        caplog.at_level(logging.INFO),
    ):
        plan = found(services)
    assert sum(batch.segments for batch in plan.batches) == 10
    assert "before this run: 0 of 100 segments stamped for the current config; 100 left" in caplog.text
    assert "of these, 90 wait for want of budget" in caplog.text
    assert "9 more runs at this budget, at least" in caplog.text


@pytest.mark.parametrize("quota", ["", "10T"])
def test_a_storage_quota_on_a_large_table_is_warned_of(
    store: DeepStore, prefix: str, quota: str, caplog: pytest.LogCaptureFixture
) -> None:
    with table(store, prefix, Scenario(10_000, stale=0.1, quota=quota)) as (services, _):
        found(services)
    assert ("the table has a storage quota (10T): for each push" in caplog.text) == bool(quota)


def test_no_more_batches_than_asked_for(store: DeepStore, prefix: str) -> None:
    with table(store, prefix, Scenario(500, stale=1.0), batch_segments=1) as (services, _):
        plan = find_stale_segments(services, RunRequest("r"), log=LOG, max_batches=7)
    assert 1 < len(plan.batches) <= 7
    assert sum(batch.segments for batch in plan.batches) == 500
    for batch, name in zip(plan.batches, plan.names, strict=True):
        rows = [row.segment for row in plan.plan.segments if row.batch == batch.id]
        assert name.startswith(f"{batch.id}: {rows[0]} … {rows[-1]} ({len(rows)} segments, ")


def test_a_batch_of_one_has_the_name_of_its_segment() -> None:
    assert batch_name(Batch("b0007", 1, 1_500), "a", "a") == "b0007: a (1.5 kB)"
