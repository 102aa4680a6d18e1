from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string

from deep_store_sync_airflow.triggers import no_active_server_reload
from deep_store_sync_airflow.triggers.no_active_server_reload import PATIENCE, NoActiveServerReloadTrigger

JOBS = "/table/flights/jobs"
STATUS = "/segments/segmentReloadStatus/j1"


def trigger(**options: Any) -> NoActiveServerReloadTrigger:
    given = {
        "table": "flights_OFFLINE",
        "pinot_conn_id": "pinot_controller_default",
        "timeout_s": 5.0,
        "give_up_after_ms": 3_600_000,
        "poke_interval_s": 0.0,
        "dag_id": "d",
        "older_runs": [],
    }
    return NoActiveServerReloadTrigger(**{**given, **options})


def job(submitted_ms: int) -> dict[str, dict[str, str]]:
    return {"j1": {"jobId": "j1", "tableName": "flights_OFFLINE", "submissionTimeMs": str(submitted_ms)}}


def status(state: str, minutes: float = 1) -> dict[str, Any]:
    counts = {"totalSegmentCount": 2, "successCount": 1, "totalServersQueried": 1}
    return {**counts, "status": state, "timeElapsedInMinutes": minutes}


async def first_event(trigger: NoActiveServerReloadTrigger) -> Any:
    async for event in trigger.run():
        return event.payload
    raise AssertionError("no event")


def test_round_trip() -> None:
    made = trigger(older_runs=["a", "b"], poke_interval_s=15.0)
    path, arguments = made.serialize()
    again = import_string(path)(**json.loads(json.dumps(arguments)))
    assert type(again) is NoActiveServerReloadTrigger
    assert again.serialize() == made.serialize()


def test_clear(controller: Any) -> None:
    controller.answers[JOBS] = (200, {})
    assert asyncio.run(first_event(trigger())) == {"status": "clear", "log": []}


def test_it_waits_for_the_reload_and_asks_no_more_about_ended_ones(
    controller: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller.answers[JOBS] = (200, job(time.time_ns() // 1_000_000))
    controller.answers[STATUS] = (200, status("IN_PROGRESS"))
    looks = 0
    sleep = asyncio.sleep

    async def look_again(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            controller.answers[STATUS] = (200, status("COMPLETED"))
        await sleep(0)

    monkeypatch.setattr(no_active_server_reload.asyncio, "sleep", look_again)
    assert asyncio.run(first_event(trigger())) == {"status": "clear", "log": []}
    assert looks == 3
    assert [path for path, _ in controller.requests].count(STATUS) == 3


def test_a_reload_that_never_completes_is_given_up(controller: Any) -> None:
    controller.answers[JOBS] = (200, job(1))
    controller.answers[STATUS] = (200, status("IN_PROGRESS", minutes=61))
    event = asyncio.run(first_event(trigger()))
    assert event["status"] == "clear"
    assert event["log"] == ["no longer waited for, it never ended: reload job j1 (all segments)"]


def test_it_waits_for_older_runs_first(controller: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    controller.answers[JOBS] = (200, {})
    counts = [2, 1, 0]
    asked: list[tuple[str, list[str]]] = []

    def count_active(dag_id: str, run_ids: list[str]) -> int:
        asked.append((dag_id, run_ids))
        assert controller.requests == []
        return counts.pop(0)

    monkeypatch.setattr(no_active_server_reload, "count_active", count_active)
    assert asyncio.run(first_event(trigger(older_runs=["a", "b"])))["status"] == "clear"
    assert asked == [("d", ["a", "b"])] * 3


def test_a_controller_that_is_away_for_a_while(controller: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    controller.answers[JOBS] = (200, {})
    real, failures = no_active_server_reload.find_activity, [0]

    def unavailable(*args: Any, **kwargs: Any) -> Any:
        failures[0] += 1
        if failures[0] < PATIENCE:
            raise no_active_server_reload.PinotUnavailableError("away")
        return real(*args, **kwargs)

    monkeypatch.setattr(no_active_server_reload, "find_activity", unavailable)
    assert asyncio.run(first_event(trigger()))["status"] == "clear"


def test_a_controller_that_stays_away(controller: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*args: Any, **kwargs: Any) -> Any:
        raise no_active_server_reload.PinotUnavailableError("away")

    monkeypatch.setattr(no_active_server_reload, "find_activity", unavailable)
    event = asyncio.run(first_event(trigger()))
    assert event == {"status": "error", "transient": True, "message": "PinotUnavailableError: away", "log": []}


def test_a_refusal_ends_the_wait(controller: Any) -> None:
    controller.answers[JOBS] = (401, {"code": 401, "error": "who are you?"})
    event = asyncio.run(first_event(trigger()))
    assert (event["status"], event["transient"]) == ("error", False)
    assert "who are you?" in event["message"]


def test_no_connection_ends_the_wait() -> None:
    event = asyncio.run(first_event(trigger(pinot_conn_id="nowhere")))
    assert (event["status"], event["transient"]) == ("error", False)
    assert "connection nowhere: not found" in event["message"]
