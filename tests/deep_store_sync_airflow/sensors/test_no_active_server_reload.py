from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

from deep_store_sync.errors import PinotUnavailableError
from deep_store_sync.settings import TableSync
from deep_store_sync_airflow.sensors import no_active_server_reload
from deep_store_sync_airflow.sensors.no_active_server_reload import NoActiveServerReload
from deep_store_sync_airflow.triggers.no_active_server_reload import NoActiveServerReloadTrigger

NOW = int(datetime.now(UTC).timestamp() * 1000)
JOBS = "/table/flights/jobs"


def job(minutes_ago: float = 1) -> dict[str, dict[str, str]]:
    submitted = str(round(NOW - minutes_ago * 60_000))
    return {
        "j1": {
            "jobId": "j1",
            "tableName": "flights_OFFLINE",
            "jobType": "RELOAD_SEGMENT",
            "submissionTimeMs": submitted,
            "messageCount": "2",
        }
    }


def status(done: int, *, minutes_ago: float = 1) -> dict[str, Any]:
    return {
        "totalSegmentCount": 12,
        "successCount": done,
        "totalServersQueried": 2,
        "totalServerCallsFailed": 0,
        "status": "COMPLETED" if done == 12 else "IN_PROGRESS",
        "timeElapsedInMinutes": minutes_ago,
        "metadata": {"submissionTimeMs": round(NOW - minutes_ago * 60_000)},
    }


@pytest.fixture
def context() -> Any:
    return {"dag_run": SimpleNamespace(dag_id="deep_store_sync__flights_OFFLINE", run_id="r")}


def sensor(settings: TableSync, **options: Any) -> NoActiveServerReload:
    return NoActiveServerReload(task_id="wait", settings=settings, **options)


def test_nothing_under_way(settings: TableSync, controller: Any, context: Any) -> None:
    controller.answers[JOBS] = (200, {})
    sensor(settings).execute(context)
    assert [path for path, _ in controller.requests if "jobs" in path] == [JOBS]


def test_a_reload_that_ended(settings: TableSync, controller: Any, context: Any) -> None:
    controller.answers[JOBS] = (200, job())
    controller.answers["/segments/segmentReloadStatus/j1"] = (200, status(12))
    sensor(settings).execute(context)


def test_it_defers_while_a_reload_is_under_way(settings: TableSync, controller: Any, context: Any) -> None:
    controller.answers[JOBS] = (200, job())
    controller.answers["/segments/segmentReloadStatus/j1"] = (200, status(3))
    with pytest.raises(TaskDeferred) as deferred:
        sensor(settings, poke_interval=20, timeout=3600).execute(context)
    trigger = deferred.value.trigger
    assert isinstance(trigger, NoActiveServerReloadTrigger)
    assert trigger.serialize()[1] == {
        "table": "flights_OFFLINE",
        "pinot_conn_id": "pinot_controller_default",
        "timeout_s": 60.0,
        "give_up_after_ms": 6 * 3600 * 1000,
        "poke_interval_s": 20,
        "dag_id": "deep_store_sync__flights_OFFLINE",
        "older_runs": [],
    }
    assert deferred.value.method_name == "execute_complete"
    assert deferred.value.timeout is not None
    assert deferred.value.timeout.total_seconds() == 3600


def test_a_reload_that_never_completes_is_given_up_loudly(
    settings: TableSync, controller: Any, context: Any, caplog: pytest.LogCaptureFixture
) -> None:
    controller.answers[JOBS] = (200, job(minutes_ago=361))
    controller.answers["/segments/segmentReloadStatus/j1"] = (200, status(3, minutes_ago=361))
    with caplog.at_level(logging.WARNING):
        sensor(settings).execute(context)
    assert "no longer waited for, it never ended: reload job j1" in caplog.text


def test_it_defers_while_older_runs_are_active(
    settings: TableSync, controller: Any, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller.answers[JOBS] = (200, {})
    asked: list[dict[str, str]] = []

    def older(_: Any, **tasks: str) -> tuple[str, ...]:
        asked.append(tasks)
        return ("r0",)

    monkeypatch.setattr(no_active_server_reload, "older_active_runs", older)
    with pytest.raises(TaskDeferred) as deferred:
        sensor(settings, after_older_runs=True, last_task_id="report").execute(context)
    assert deferred.value.trigger.serialize()[1]["older_runs"] == ["r0"]
    assert asked == [{"first_task_id": "wait", "last_task_id": "report"}]
    sensor(settings).execute(context)
    assert len(asked) == 1


def test_what_it_needs_to_know_the_end_of_a_run(settings: TableSync) -> None:
    with pytest.raises(ValueError, match="after_older_runs needs last_task_id"):
        sensor(settings, after_older_runs=True)


def test_a_reload_of_an_earlier_table_of_that_name(settings: TableSync, controller: Any, context: Any) -> None:
    controller.answers["/tables/flights/stats"] = (200, {"OFFLINE": {"creationTime": "99990101T000000Z"}})
    controller.answers[JOBS] = (200, job())
    controller.answers["/segments/segmentReloadStatus/j1"] = (200, status(3))
    sensor(settings).execute(context)


def rebalance(status: str) -> dict[str, Any]:
    progress = json.dumps({"status": status})
    return {"j2": {"jobId": "j2", "submissionTimeMs": str(NOW), "REBALANCE_PROGRESS_STATS": progress}}


REPLACEMENT = {"1": {"segmentsFrom": ["a"], "segmentsTo": ["b"], "state": "IN_PROGRESS", "timestamp": NOW}}


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"/rebalances of flights": rebalance("IN_PROGRESS")}, "rebalance job j2"),
        (
            {
                "/tasks/tasktypes": ["PurgeTask"],
                "/tasks/PurgeTask/flights_OFFLINE/state": {f"Task_PurgeTask_u_{NOW}": "IN_PROGRESS"},
                f"/tasks/task/Task_PurgeTask_u_{NOW}/config": [],
            },
            f"PurgeTask Task_PurgeTask_u_{NOW}",
        ),
    ],
    ids=["rebalance", "minion task"],  # the same in every process of a test run: the names hold the time
)
def test_it_defers_while_anything_else_is_at_work(
    settings: TableSync, controller: Any, context: Any, answers: Any, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    controller.answers[JOBS] = (200, {})
    controller.answers |= {path: (200, body) for path, body in answers.items()}
    with caplog.at_level(logging.WARNING), pytest.raises(TaskDeferred):
        sensor(settings).execute(context)
    assert f"under way: {says}" in caplog.text


def test_it_goes_on_when_that_is_over(settings: TableSync, controller: Any, context: Any) -> None:
    controller.answers[JOBS] = (200, {})
    controller.answers["/segments/flights/lineage"] = (200, {"lineageEntries": REPLACEMENT})  # the plan sees to that
    controller.answers["/rebalances of flights"] = (200, rebalance("DONE"))
    sensor(settings).execute(context)


def test_no_such_table_fails_for_good(settings: TableSync, controller: Any, context: Any) -> None:
    with pytest.raises(AirflowFailException, match="PinotNotFoundError: there is no table flights_OFFLINE"):
        sensor(settings).execute(context)


def test_a_controller_that_is_down_may_come_back(settings: TableSync, controller: Any, context: Any) -> None:
    controller.answers[JOBS] = (500, {"code": 500, "error": "ZooKeeper is away"})
    with pytest.raises(PinotUnavailableError, match="ZooKeeper is away"):
        sensor(settings).execute(context)


def test_the_end_of_the_wait(settings: TableSync, context: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        sensor(settings).execute_complete(context, {"status": "clear", "log": ["given up: j1"]})
    assert "given up: j1" in caplog.text


@pytest.mark.parametrize(("transient", "kind"), [(True, AirflowException), (False, AirflowFailException)])
def test_an_error_of_the_trigger(settings: TableSync, context: Any, transient: bool, kind: type[Exception]) -> None:
    event = {"status": "error", "transient": transient, "message": "PinotError: no", "log": []}
    with pytest.raises(AirflowException, match="PinotError: no") as error:
        sensor(settings).execute_complete(context, event)
    assert type(error.value) is kind
