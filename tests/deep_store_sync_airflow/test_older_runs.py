from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from deep_store_sync_airflow import older_runs
from deep_store_sync_airflow.older_runs import older_active_runs

DAG = "deep_store_sync__flights_OFFLINE"


def run(run_id: str, minute: int | None, state: str = "running") -> SimpleNamespace:
    start = None if minute is None else datetime(2026, 1, 1, 0, minute, tzinfo=UTC)
    return SimpleNamespace(dag_id=DAG, run_id=run_id, start_date=start, state=state)


class FakeTaskInstance:
    """Answers as Airflow's execution API does, from runs and the states of their first and last task."""

    def __init__(self, runs: list[SimpleNamespace], states: dict[str, tuple[str | None, str | None]]) -> None:
        self.runs = runs
        self.states = states

    def get_dr_count(self, *, dag_id: str, states: list[str]) -> int:
        assert dag_id == DAG
        return sum(run.state in states for run in self.runs)

    def get_task_states(self, *, dag_id: str, task_ids: list[str]) -> dict[str, dict[str, str | None]]:
        assert (dag_id, task_ids) == (DAG, ["wait", "report"])
        return {run_id: {"wait": first, "report": last} for run_id, (first, last) in self.states.items()}


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def dag_run(dag_id: str, run_id: str) -> SimpleNamespace:
        asked.append(run_id)
        return next(run for run in RUNS if run.run_id == run_id)

    monkeypatch.setattr(older_runs, "_dag_run", dag_run)
    return asked


RUNS = [
    run("ended", 1, "success"),
    run("older, at work", 3),
    run("older, waiting", 4),
    run("mine", 5),
    run("newer", 6),
    run("queued", None, "queued"),
    run("died", 2, "failed"),
    run("same time, first by id", 5),
]
STATES: dict[str, tuple[str | None, str | None]] = {
    "ended": ("success", "success"),
    "older, at work": ("success", None),
    "older, waiting": ("deferred", None),
    "mine": ("running", None),
    "newer": ("running", None),
    "queued": (None, None),
    "died": ("failed", None),
    "same time, first by id": ("queued", None),
}


def of(run_id: str, runs: list[SimpleNamespace], states: dict[str, tuple[str | None, str | None]]) -> tuple[str, ...]:
    mine = next(run for run in runs if run.run_id == run_id)
    context: Any = {"ti": FakeTaskInstance(runs, states), "dag_run": mine}
    return older_active_runs(context, first_task_id="wait", last_task_id="report")


def test_the_only_run_asks_for_nothing_more(looked_up: list[str]) -> None:
    assert of("mine", [run("mine", 5), run("ended", 1, "success")], {}) == ()
    assert looked_up == []


def test_runs_that_began_before_and_are_active(looked_up: list[str]) -> None:
    assert of("mine", RUNS, STATES) == ("older, at work", "older, waiting")
    assert "ended" not in looked_up
    assert "queued" not in looked_up


def test_a_run_that_began_just_now_and_has_no_task_scheduled_yet_is_waited_for(looked_up: list[str]) -> None:
    runs, states = [run("older, at work", 3), run("mine", 5), run("queued", None, "queued")], dict(STATES)
    states["older, at work"] = (None, None)
    assert of("mine", runs, {name: states[name] for name in ("older, at work", "mine", "queued")}) == (
        "older, at work",
    )


def test_two_never_wait_for_one_another(looked_up: list[str]) -> None:
    waits_for = {one.run_id: of(one.run_id, RUNS, STATES) for one in RUNS if one.state == "running"}
    assert waits_for["older, at work"] == ()
    assert "mine" in waits_for["same time, first by id"]
    assert not any(a in waits_for[b] for a in waits_for for b in waits_for[a])
