"""What may still be published just before a wave, and how long that is waited for."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, cast

import pytest

from deep_store_sync.model import (
    Action,
    DeferredBy,
    Outcome,
    Plan,
    PlannedSegment,
    RebuildResult,
    Rebuilt,
    RunRequest,
    Servers,
    StampState,
)
from deep_store_sync.pinot.operations import MinionTask, RebalanceJob, Replacement
from deep_store_sync.publishing.last_check import LastCheck
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.table_hash import TableHashes

LOG = logging.getLogger("tests.last_check")
TABLE = "t_OFFLINE"
SCHEMA = {"schemaName": "t", "dimensionFieldSpecs": [{"name": "a", "dataType": "STRING"}]}
CONFIG: dict[str, Any] = {"tableName": TABLE, "tableType": "OFFLINE", "tableIndexConfig": {}}
OTHER = {**CONFIG, "tableIndexConfig": {"invertedIndexColumns": ["a"]}}
HASH = TableHashes(CONFIG, SCHEMA).current(None)


class FakeController:
    """A table on which something is at work until a time, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.until = 0.0
        self.config = CONFIG
        self.table_schema: dict[str, Any] = SCHEMA
        self.tasks: list[MinionTask] = []
        self.rebalances: list[RebalanceJob] = []
        self.lineage: list[Replacement] = []
        self.looks = 0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def table_created_ms(self, table: str) -> None:
        self.looks += 1

    def reload_jobs(self, table: str) -> list[Any]:
        return []

    def rebalance_time_ms(self, job: str) -> int:
        return 1000

    def rebalance_jobs(self, table: str) -> list[RebalanceJob]:
        return self.rebalances if self.now < self.until else []

    def minion_tasks(self, table: str) -> list[MinionTask]:
        return self.tasks if self.now < self.until else []

    def replacements(self, table: str) -> list[Replacement]:
        return self.lineage if self.now < self.until else []

    def table_config(self, table: str) -> dict[str, Any]:
        return self.config

    def schema(self, table: str) -> dict[str, Any]:
        return self.table_schema


class FakeBudget:
    reason: str | None = None

    def used_up(self) -> str | None:
        return self.reason


@pytest.fixture
def controller() -> FakeController:
    return FakeController()


@pytest.fixture
def budget() -> FakeBudget:
    return FakeBudget()


@pytest.fixture
def check(controller: FakeController, budget: FakeBudget) -> LastCheck:
    settings = TableSync(
        table=TABLE, deep_store_prefixes=("s3://b/d",), workspace="s3://b/w", proof_timeout=timedelta(seconds=60)
    )
    services = Services(cast(Any, controller), cast(Any, None), cast(Any, None), settings)
    plan = Plan(TABLE, RunRequest("run"), 0, CONFIG, SCHEMA, ())
    return LastCheck(services, plan, cast(Any, budget), LOG, sleep=controller.sleep, clock=lambda: controller.now)


def item(name: str) -> tuple[PlannedSegment, RebuildResult]:
    row = PlannedSegment(name, Action.REBUILD, "", HASH, Servers.STALE, StampState.NONE, crc=7)
    return row, RebuildResult(name, Rebuilt.CHANGED)


ITEMS = [item("a"), item("b")]


def look(check: LastCheck, stop: Any = lambda: None, *, undisturbed: bool = True) -> tuple[dict[str, Any], list[str]]:
    held, rest, _ = check.look(ITEMS, stop, undisturbed=undisturbed)
    assert all(result.outcome is Outcome.DEFERRED for result in held)
    assert sorted([*(result.segment for result in held), *(row.segment for row, _ in rest)]) == ["a", "b"]
    return {result.segment: result.deferred_by for result in held}, [row.segment for row, _ in rest]


def test_nothing_is_in_the_way(check: LastCheck, controller: FakeController) -> None:
    assert look(check) == ({}, ["a", "b"])
    assert controller.now == 0


def test_the_kill_switch_and_the_budget_hold_everything(check: LastCheck, budget: FakeBudget) -> None:
    assert look(check, lambda: "deploying") == (dict.fromkeys("ab", DeferredBy.STOPPED), [])
    budget.reason = "9 segments of this run have failed"
    assert look(check) == (dict.fromkeys("ab", DeferredBy.FAILURES), [])


def test_another_config_holds_everything(check: LastCheck, controller: FakeController) -> None:
    controller.config = OTHER
    assert look(check) == (dict.fromkeys("ab", DeferredBy.DRIFT), [])


def test_another_schema_holds_everything(check: LastCheck, controller: FakeController) -> None:
    columns = [{"name": name, "dataType": "STRING"} for name in ("a", "added")]
    controller.table_schema = {**SCHEMA, "dimensionFieldSpecs": columns}
    assert look(check) == (dict.fromkeys("ab", DeferredBy.DRIFT), [])


def test_what_ends_in_time_is_waited_for(check: LastCheck, controller: FakeController) -> None:
    controller.rebalances = [RebalanceJob("j", "IN_PROGRESS", 1000)]
    controller.until = 30
    assert look(check) == ({}, ["a", "b"])
    assert 30 <= controller.now < 40


@pytest.mark.parametrize("what", ["task", "replacement"])
def test_what_does_not_holds_what_it_works_on(check: LastCheck, controller: FakeController, what: str) -> None:
    controller.until = 10_000
    if what == "task":
        controller.tasks = [MinionTask("t", "PurgeTask", frozenset("b"))]
    else:
        controller.lineage = [Replacement("1", frozenset("b"))]
    assert look(check) == ({"b": DeferredBy.OPERATION}, ["a"])
    assert 60 <= controller.now < 70
    # The next waves of the batch look, and do not wait again.
    before = controller.now
    assert look(check) == ({"b": DeferredBy.OPERATION}, ["a"])
    assert controller.now == before


def test_operations_on_other_segments_are_not_waited_for(check: LastCheck, controller: FakeController) -> None:
    controller.tasks, controller.until = [MinionTask("t", "PurgeTask", frozenset("x"))], 10_000
    assert look(check) == ({}, ["a", "b"])
    assert controller.now == 0


def test_a_stamp_is_nothing_to_other_operations(check: LastCheck, controller: FakeController) -> None:
    controller.rebalances, controller.until = [RebalanceJob("j", "IN_PROGRESS", 1000)], 10_000
    assert look(check, undisturbed=False) == ({}, ["a", "b"])
    assert controller.looks == 0


def test_the_kill_switch_ends_the_wait(check: LastCheck, controller: FakeController) -> None:
    controller.rebalances, controller.until = [RebalanceJob("j", "IN_PROGRESS", 1000)], 10_000
    assert look(check, lambda: "deploying" if controller.now else None) == (
        dict.fromkeys("ab", DeferredBy.STOPPED), [],
    )  # fmt: skip
    assert controller.now < 10


def test_a_kill_switch_that_is_on_for_a_moment_ends_the_wait_as_well(
    check: LastCheck, controller: FakeController
) -> None:
    """It was seen, so it counts: what is at work on the wave still is."""
    controller.rebalances, controller.until = [RebalanceJob("j", "IN_PROGRESS", 1000)], 10_000
    switch = iter([None, "deploying"])
    assert look(check, lambda: next(switch, None)) == (dict.fromkeys("ab", DeferredBy.STOPPED), [])
    assert controller.now < 10


def test_a_config_that_changes_during_the_wait_is_noticed(check: LastCheck, controller: FakeController) -> None:
    controller.rebalances, controller.until = [RebalanceJob("j", "IN_PROGRESS", 1000)], 30
    sleep = check.sleep

    def changing(seconds: float) -> None:
        controller.config = OTHER
        sleep(seconds)

    check.sleep = changing
    assert look(check) == (dict.fromkeys("ab", DeferredBy.DRIFT), [])


def test_what_is_under_way_is_said_once(
    check: LastCheck, controller: FakeController, caplog: pytest.LogCaptureFixture
) -> None:
    controller.rebalances, controller.until = [RebalanceJob("j", "IN_PROGRESS", 1000)], 30
    look(check)
    assert caplog.text.count("under way: rebalance job j") == 1
