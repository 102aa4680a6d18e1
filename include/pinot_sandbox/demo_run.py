"""A run of the DAG in the demo: started, watched, and read from what it leaves in the workspace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from deep_store_sync.model import SegmentOutcome
from deep_store_sync.workspace import Workspace
from pinot_sandbox.demo_stage import DAG, TABLE, Stage, check
from pinot_sandbox.demo_tables import plan_rows, task_rows
from pinot_sandbox.errors import SandboxError

TASKS: Final = (
    "wait_for_no_server_reload",
    "find_stale_segments",
    "batch.rebuild_segment",
    "batch.wait_for_no_server_reload",
    "batch.upload_and_refresh",
    "batch.stamp_hash",
    "report",
)

_TIMEOUT_S: Final = 600.0
_FAILED: Final = "Task failed with exception"  # Airflow's own words


@dataclass(frozen=True, slots=True)
class Run:
    """A run that ended well: its report by segment, the downloads by server meanwhile, and how long it took."""

    outcomes: Mapping[str, SegmentOutcome]
    downloads: Mapping[str, int]
    seconds: float

    @property
    def uploaded(self) -> int:
        """Bytes written into the deep store."""
        return sum(outcome.uploaded_bytes for outcome in self.outcomes.values())

    @property
    def counted(self) -> str:
        """How many segments ended how."""
        counts = Counter(
            f"{outcome.outcome}, {outcome.mode}" if outcome.mode else str(outcome.outcome)
            for outcome in self.outcomes.values()
        )
        return "; ".join(f"{count} {what}" for what, count in sorted(counts.items()))


def run_dag(stage: Stage) -> Run:
    """Runs the DAG and shows its tasks and its plan.

    Raises:
        SandboxError: The run did not succeed; with the end of the logs of the tasks that failed.
    """
    screen, airflow = stage.screen, stage.airflow
    stage.sandbox.reset_downloads()
    run_id = airflow.trigger(DAG)
    screen.line(f"running the DAG {DAG}")
    with screen.tasks(TASKS) as show:
        state = airflow.wait_for_run(DAG, run_id, _TIMEOUT_S, on_poll=show)
    instances = airflow.task_instances(DAG, run_id)
    seconds = float(airflow.dag_run(DAG, run_id)["duration"])
    columns = ("Task", "State", "Longest")
    screen.table(f"The run in Airflow: {state}, {seconds:.0f} s", columns, task_rows(instances, TASKS))
    check(state == "success", f"the run ended as {state}.{_failures(stage, run_id, instances)}")
    workspace = _workspace(stage, run_id)
    plan = workspace.read_plan()
    screen.table("What it had planned", ("Action", "Segments", "Size", "Why"), plan_rows(plan.segments))
    outcomes = {outcome.segment: outcome for outcome in workspace.read_report()}
    return Run(outcomes, stage.facts.downloads(), seconds)


def _workspace(stage: Stage, run_id: str) -> Workspace:
    for found in stage.store.list(f"{stage.workspace}/{TABLE}/runs/"):
        if found.url.endswith("/plan.parquet"):
            workspace = Workspace.of_plan(stage.store, found.url)
            if workspace.read_plan().request.run_id == run_id:
                return workspace
    raise SandboxError(f"The run {run_id} left no plan in {stage.workspace}.")


def _failures(stage: Stage, run_id: str, instances: list[dict[str, Any]]) -> str:
    """What the tasks that failed say, a paragraph a task, the first to fail first."""
    failed = [task for task in instances if task["state"] == "failed"]
    return "".join(
        f"\n{task['task_id']}: "
        + last_words(
            stage.airflow.task_log(
                DAG, run_id, task["task_id"], map_index=task["map_index"], try_number=task["try_number"]
            )
        )
        for task in sorted(failed, key=lambda task: str(task["end_date"]))
    )


def last_words(log: str) -> str:
    """The error that ended a task, by its log; the end of the log where it has none."""
    _, found, error = log.rpartition(_FAILED)
    return error.partition("::group::")[0].strip() if found else log[-1000:]
