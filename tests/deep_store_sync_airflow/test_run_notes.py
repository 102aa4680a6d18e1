"""What is written on a run when it ends. That Airflow calls it, and finds the line, a live one shows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from deep_store_sync_airflow import run_notes
from deep_store_sync_airflow.plugin import DeepStoreSyncPlugin
from deep_store_sync_airflow.run_notes import RunNotes

LINE = "12 synced (12 quiet, 0 by refresh); 7.6 MB uploaded, 0 server downloads; 12 of 12 segments in sync"


def ended(dag_id: str = "deep_store_sync__flights_OFFLINE", note: str | None = None) -> Any:
    return SimpleNamespace(dag_id=dag_id, note=note)


@pytest.fixture(autouse=True)
def line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_notes, "_summary", lambda dag_run: LINE)


def test_a_run_gets_its_line_whatever_its_end() -> None:
    green, red = ended(), ended()
    RunNotes().on_dag_run_success(green, "success")
    RunNotes().on_dag_run_failed(red, "task_failure")
    assert green.note == red.note == LINE


def test_what_somebody_wrote_stays() -> None:
    run = ended(note="before the upgrade")
    RunNotes().on_dag_run_success(run, "success")
    RunNotes().on_dag_run_success(run, "success")  # cleared, and run again
    assert run.note == f"before the upgrade\n\n{LINE}"


def test_a_note_that_is_full() -> None:
    run = ended(note="x" * 990)
    RunNotes().on_dag_run_success(run, "success")
    assert len(run.note) == 1000


def test_other_runs_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ended("somebody_elses")
    monkeypatch.setattr(run_notes, "_summary", None)
    RunNotes().on_dag_run_success(other, "success")
    assert other.note is None


def test_a_run_without_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_notes, "_summary", lambda dag_run: None)
    run = ended()
    RunNotes().on_dag_run_failed(run, "task_failure")
    assert run.note is None


@pytest.mark.parametrize(("value", "says"), [('"a line"', "a line"), ("a line", "a line"), (7, "7")])
def test_as_airflow_keeps_it(value: Any, says: str) -> None:
    assert run_notes._text(value) == says


def test_airflow_is_told_of_it() -> None:
    assert [type(listener) for listener in DeepStoreSyncPlugin.listeners] == [RunNotes]
