"""Rebalances, segment replacements and minion tasks: what the controller says of them, and what counts as at work."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from deep_store_sync.pinot.activity import ActivityReport, Looks, find_activity
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.operations import MinionTask, RebalanceJob, Replacement
from deep_store_sync.pinot.reload_job import ReloadJob

TABLE = "flights_OFFLINE"
HOUR = 3_600_000
CONTROLLERS_NOW = 1_795_400_000_000
"""In 2026, and years away from the clock of whoever runs this."""


class Pinot:
    """A fake controller whose clock shows `CONTROLLERS_NOW`, with nothing at work but what a test adds."""

    def __init__(self, fake: Any) -> None:
        self.fake = fake
        self.jobs: dict[str, Any] = {}
        self.reload: dict[str, Any] | None = {"submissionTimeMs": str(CONTROLLERS_NOW - 5 * 60_000)}
        """An old reload that has ended: the controller tells its age, and so the time."""
        self.created = "20261119T000000Z"
        self.lineage: dict[str, Any] | None = None
        self.tasks: dict[str, dict[str, str]] = {}
        self.configs: dict[str, Any] = {}

    def find(self, looks: Looks | None = None) -> ActivityReport:
        self.fake.answer("/tables/flights/stats", {"OFFLINE": {"creationTime": self.created}})
        reloads = {"old": self.reload} if self.reload else {}
        jobs = {"RELOAD_SEGMENT": reloads, "TABLE_REBALANCE": self.jobs}
        self.fake.answer_by("/table/flights/jobs", lambda request: jobs[request.url.params["jobTypes"]])
        status = {"status": "COMPLETED", "totalSegmentCount": 1, "successCount": 1, "timeElapsedInMinutes": 5.0}
        self.fake.answer("/segments/segmentReloadStatus/old", status)
        self.fake.answer("/segments/flights/lineage", self.lineage)
        self.fake.answer("/tasks/tasktypes", sorted(self.tasks))
        for kind, states in self.tasks.items():
            self.fake.answer(f"/tasks/{kind}/{TABLE}/state", states)
        for task, configs in self.configs.items():
            self.fake.answer(f"/tasks/task/{task}/config", configs)
        with ControllerClient("http://pinot:9000", transport=self.fake.transport, sleep=lambda _: None) as controller:
            return find_activity(controller, TABLE, give_up_after_ms=HOUR, looks=looks)


@pytest.fixture
def pinot(fake: Any) -> Pinot:
    return Pinot(fake)


def rebalance(status: str, ago_ms: int = 1000) -> dict[str, str]:
    return {
        "jobType": "TABLE_REBALANCE",
        "submissionTimeMs": str(CONTROLLERS_NOW - ago_ms),
        "REBALANCE_PROGRESS_STATS": json.dumps({"status": status, "startTimeMs": CONTROLLERS_NOW - 9 * HOUR}),
    }


def task_name(ago_ms: int = 1000) -> str:
    return f"Task_MergeRollupTask_4c7a_{CONTROLLERS_NOW - ago_ms}"


def test_nothing_at_work(pinot: Pinot) -> None:
    assert pinot.find() == ActivityReport()


def test_a_rebalance_is_waited_for_as_long_as_it_gives_signs_of_life(pinot: Pinot) -> None:
    states = ("DONE", "NO_OP", "FAILED", "ABORTED", "CANCELLED", "UNKNOWN_ERROR", "IN_PROGRESS")
    pinot.jobs = {state: rebalance(state) for state in states} | {"dead": rebalance("IN_PROGRESS", ago_ms=HOUR + 1000)}
    report = pinot.find()
    assert report.active == (RebalanceJob("IN_PROGRESS", "IN_PROGRESS", CONTROLLERS_NOW - 1000),)
    assert [job.describe() for job in report.given_up] == ["rebalance job dead"]


def test_a_replacement_that_is_not_finished(pinot: Pinot) -> None:
    def entry(state: str, ago_ms: int = 1000) -> dict[str, Any]:
        return {"segmentsFrom": ["a"], "segmentsTo": ["b"], "state": state, "timestamp": CONTROLLERS_NOW - ago_ms}

    pinot.lineage = {
        "lineageEntries": {
            "1": entry("COMPLETED"),
            "2": entry("REVERTED"),
            "3": entry("IN_PROGRESS"),
            "4": entry("IN_PROGRESS", ago_ms=2 * HOUR),
        }
    }
    report = pinot.find()
    assert report.replacements == tuple(Replacement(id_, frozenset("ab")) for id_ in "34")
    # A plan leaves these segments out: nobody has to wait for them, nor to give them up.
    assert (report.active, report.given_up) == ((), ())
    assert report.lines() == [f"under way: segment replacement {id_} (segments a, b)" for id_ in "34"]


def test_minion_tasks_of_every_type_that_wait_or_run(pinot: Pinot) -> None:
    mine = {"taskType": "t", "configs": {"tableName": TABLE, "segmentName": "a,b", "authToken": "secret"}}
    other = {"taskType": "t", "configs": {"tableName": "other_OFFLINE", "segmentName": "x"}}
    unnamed = {"taskType": "t", "configs": {"tableName": TABLE}}
    over = ("STOPPED", "FAILED", "COMPLETED", "ABORTED", "TIMED_OUT")
    waits, old = task_name(), task_name(ago_ms=HOUR + 1)
    pinot.tasks = {
        "MergeRollupTask": {waits: "NOT_STARTED", old: "IN_PROGRESS", **{f"over_{state}": state for state in over}},
        "PurgeTask": {"Task_PurgeTask_by-hand": "IN_PROGRESS"},
    }
    pinot.configs = {waits: [mine, other], old: [mine, unnamed], "Task_PurgeTask_by-hand": [unnamed]}
    began = datetime.fromtimestamp(CONTROLLERS_NOW / 1000 - 60, UTC)
    pinot.fake.answer("/tasks/task/Task_PurgeTask_by-hand/debug", {"startTime": f"{began:%Y-%m-%d %H:%M:%S} UTC"})
    report = pinot.find()
    assert report.active == (
        MinionTask(waits, "MergeRollupTask", frozenset("ab"), CONTROLLERS_NOW - 1000),
        MinionTask("Task_PurgeTask_by-hand", "PurgeTask", None, CONTROLLERS_NOW - 60_000),
    )
    (given_up,) = report.given_up
    assert given_up.describe() == f"MergeRollupTask {old}"
    assert "secret" not in repr(report)


def test_a_task_of_an_unknown_age_is_waited_for_as_long_and_no_longer(pinot: Pinot) -> None:
    pinot.tasks = {"PurgeTask": {"Task_PurgeTask_by-hand": "NOT_STARTED"}}
    pinot.configs = {"Task_PurgeTask_by-hand": []}
    pinot.fake.answer("/tasks/task/Task_PurgeTask_by-hand/debug", {"startTime": "2026-11-20 04:33:20 CET"})
    assert len(pinot.find().active) == 1  # whoever looks once waits
    waits_given_up_after_an_hour(pinot)


def waits_given_up_after_an_hour(pinot: Pinot) -> None:
    now = 0.0
    looks = Looks(clock=lambda: now)
    assert len(pinot.find(looks).active) == 1
    now = 3600.0
    assert len(pinot.find(looks).active) == 1
    now = 3601.0
    report = pinot.find(looks)
    assert (report.active, len(report.given_up)) == ((), 1)


def test_minion_tasks_that_may_not_be_asked_for_are_said_to_be_unknown(pinot: Pinot) -> None:
    pinot.fake.answer("/tasks/tasktypes", {"code": 403, "error": "no GET_TASK"}, 403)
    pinot.jobs = {"j": rebalance("IN_PROGRESS")}
    report = pinot.find()
    assert len(report.active) == 1
    (line,) = report.unknown
    assert "minion tasks are not looked at" in line
    assert "no GET_TASK" in line
    assert report.lines() == ["under way: rebalance job j", line]


def test_what_an_earlier_table_of_that_name_left_does_not_block(pinot: Pinot) -> None:
    pinot.created = "20261125T000000Z"
    pinot.jobs = {"j": rebalance("IN_PROGRESS")}
    pinot.tasks = {"PurgeTask": {task_name(): "IN_PROGRESS"}}
    pinot.configs = {task_name(): []}
    assert pinot.find() == ActivityReport()


def test_a_rebalance_tells_the_time_where_no_reload_does(pinot: Pinot) -> None:
    pinot.reload = None
    pinot.jobs = {"j": rebalance("IN_PROGRESS", ago_ms=2 * HOUR)}
    progress = {"startTimeMs": CONTROLLERS_NOW - 9 * HOUR}
    answer = {"tableRebalanceProgressStats": progress, "timeElapsedSinceStartInSeconds": 9 * 3600}
    pinot.fake.answer("/rebalanceStatus/j", answer)
    assert len(pinot.find().given_up) == 1


def test_without_the_controllers_time_what_counts_is_how_long_was_waited(pinot: Pinot) -> None:
    """The worker's own clock is no help, since nobody knows how far it is off."""
    pinot.reload = None
    pinot.jobs = {"j": rebalance("IN_PROGRESS")}
    pinot.fake.answer("/rebalanceStatus/j", {"code": 403, "error": "no GET_REBALANCE_STATUS"}, 403)
    waits_given_up_after_an_hour(pinot)


def test_what_an_operation_touches() -> None:
    table = RebalanceJob("j", "IN_PROGRESS"), MinionTask("t", "PurgeTask"), ReloadJob("j", TABLE)
    some = (
        Replacement("1", frozenset("ab")),
        MinionTask("t", "PurgeTask", frozenset("ab")),
        ReloadJob("j", TABLE, segments=("a", "b")),
    )
    assert all(operation.touches(["x"]) for operation in table)
    assert all(operation.touches(["x", "a"]) for operation in some)
    assert not any(operation.touches(["x"]) for operation in some)
    assert not any(operation.touches([]) for operation in (*table, *some))


def test_many_segments_are_not_all_named() -> None:
    words = Replacement("1", frozenset(str(number) for number in range(9))).describe()
    assert words == "segment replacement 1 (segments 0, 1, 2, 3, 4 and 4 more)"
