"""The end of a run: what became of every segment, and whether anything was left undone."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from deep_store_sync.settings import TableSync
from deep_store_sync_airflow.operators.base import TableOperator
from deep_store_sync_airflow.operators.find_stale_segments import PLAN_KEY
from deep_store_sync_airflow.services import airflow_errors, log, open_services


class WriteReport(TableOperator):
    """Writes the run's report, removes what older runs left too long ago, and fails if anything was left undone.

    It runs whatever became of the batches (trigger rule `all_done`), so it is what makes the run red. `plan_task_id`
    is the `FindStaleSegments` task of the DAG. Returns the report's URL, None in a dry run.
    """

    def __init__(self, *, settings: TableSync, plan_task_id: str, **kwargs: Any) -> None:
        super().__init__(settings=settings, **kwargs)
        self.plan_task_id = plan_task_id

    def execute(self, context: Context) -> str | None:
        """Writes the report.

        Raises:
            AirflowFailException: there is no plan, or something was left undone: the message says what.
            DeepStoreSyncError: the store did not answer: may pass.
        """
        from deep_store_sync.report import write_report
        from deep_store_sync.upkeep.retention import collect

        plan_url = context["ti"].xcom_pull(task_ids=self.plan_task_id, key=PLAN_KEY)
        if not plan_url:
            raise AirflowFailException(
                f"nothing was done: there is no plan. The log of {self.plan_task_id} or of the task before it says why"
            )
        with airflow_errors(), open_services(self.settings) as services:
            report = write_report(services, plan_url, log=log)
            if report.url:
                collect(services, plan_url, log=log)
        if report.undone:
            shown = "\n".join(f"  {line}" for line in report.undone[:20])
            more = f"\n  … and {len(report.undone) - 20} more" if len(report.undone) > 20 else ""
            raise AirflowFailException(f"left undone:\n{shown}{more}\nThe whole report: {report.url}")
        return report.url
