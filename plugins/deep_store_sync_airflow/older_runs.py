"""Which runs of a DAG have to end before another may begin.

`max_active_runs` counts a backfill's runs apart from the others, so a scheduled, a manual and several backfill runs
of one table can be active together. The guard is an order: a run waits for those that began before it and are still
active. The oldest never waits, so there is no deadlock, and a run that died is not active. Nothing depends on it for
safety, only for peace: writes are conditional.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from airflow.sdk import Context, DagRunState, TaskInstanceState
from airflow.sdk.execution_time.comms import GetDagRun

_ENDED = {
    TaskInstanceState.SUCCESS,
    TaskInstanceState.FAILED,
    TaskInstanceState.SKIPPED,
    TaskInstanceState.UPSTREAM_FAILED,
    TaskInstanceState.REMOVED,
}


def older_active_runs(context: Context, *, first_task_id: str, last_task_id: str) -> tuple[str, ...]:
    """Ids of the active runs of the context's DAG that began before the context's run, oldest first.

    A run is looked up only if its first task was scheduled and its last one has not ended, which leaves out what is
    queued or over. The others are looked up if more runs are active than that finds: one may have begun just now.
    """
    ti: Any = context["ti"]
    run: Any = context["dag_run"]
    running = ti.get_dr_count(dag_id=run.dag_id, states=[DagRunState.RUNNING])
    if running <= 1:
        return ()
    states = ti.get_task_states(dag_id=run.dag_id, task_ids=[first_task_id, last_task_id])
    unfinished = [
        run_id
        for run_id, of in states.items()
        if run_id != run.run_id and of.get(first_task_id) and of.get(last_task_id, "removed") not in _ENDED
    ]
    active = _active_of(run.dag_id, unfinished)
    if len(active) + 1 < running:
        active += _active_of(run.dag_id, states.keys() - {run.run_id, *unfinished})
    mine = _order(run)
    return tuple(run_id for _, run_id in sorted(key for key in map(_order, active) if key < mine))


def count_active(dag_id: str, run_ids: Sequence[str]) -> int:
    """How many of the runs are still active. Works in a worker and, off the event loop, in a triggerer."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    if not run_ids:
        return 0
    return RuntimeTaskInstance.get_dr_count(dag_id=dag_id, run_ids=list(run_ids), states=[DagRunState.RUNNING])


def _order(run: Any) -> tuple[datetime, str]:
    return run.start_date, run.run_id


def _active_of(dag_id: str, run_ids: Iterable[str]) -> list[Any]:
    found = (_dag_run(dag_id, run_id) for run_id in run_ids)
    return [run for run in found if run.state == DagRunState.RUNNING and run.start_date is not None]


def _dag_run(dag_id: str, run_id: str) -> Any:
    # The task SDK has no public call for a run's start: this is the message that its own asset events use for their
    # source run.
    from airflow.sdk.execution_time import task_runner

    return task_runner.SUPERVISOR_COMMS.send(GetDagRun(dag_id=dag_id, run_id=run_id))
