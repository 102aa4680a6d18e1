"""A note on each run with what it came to, in a line: so that a list of runs tells which of them changed what.

No task can write a note on its run. The scheduler can, when the run ends: a listener there takes the line that the
run's last task has left.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from airflow.listeners import hookimpl

from deep_store_sync_airflow.names import DAG_PREFIX, REPORT_TASK, SUMMARY_KEY

log = logging.getLogger(__name__)

# What the column of notes holds.
_LONGEST = 1000


class RunNotes:
    """Listens for runs that end."""

    @hookimpl
    def on_dag_run_success(self, dag_run: Any, msg: str) -> None:
        """A run was green."""
        _note(dag_run)

    @hookimpl
    def on_dag_run_failed(self, dag_run: Any, msg: str) -> None:
        """A run was red."""
        _note(dag_run)


def _note(dag_run: Any) -> None:
    if not dag_run.dag_id.startswith(DAG_PREFIX):
        return
    line = _summary(dag_run)
    if line and line not in (dag_run.note or ""):
        dag_run.note = f"{dag_run.note}\n\n{line}"[:_LONGEST] if dag_run.note else line[:_LONGEST]


def _summary(dag_run: Any) -> str | None:
    """The line that the run's last task has left, in the session that the run belongs to."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        return None
    found = session.scalar(
        select(XComModel.value).where(
            XComModel.dag_run_id == dag_run.id,
            XComModel.task_id == REPORT_TASK,
            XComModel.key == SUMMARY_KEY,
            XComModel.map_index == -1,
        )
    )
    return None if found is None else _text(found)


def _text(value: Any) -> str:
    """A text that a task has pushed, which Airflow keeps as JSON inside of JSON."""
    try:
        return str(json.loads(value))
    except (TypeError, ValueError):
        return str(value)
