"""The end of a run: what became of every segment, and whether anything was left undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from deep_store_sync.settings import TableSync
from deep_store_sync_airflow.assets import changed_alias, deep_store_asset, tell_asset
from deep_store_sync_airflow.links import PageLink, PinotLink, ReportLink
from deep_store_sync_airflow.metrics import count_run, show_table
from deep_store_sync_airflow.names import SUMMARY_KEY
from deep_store_sync_airflow.operators.base import TableOperator
from deep_store_sync_airflow.operators.find_stale_segments import PLAN_KEY
from deep_store_sync_airflow.run_facts import looked_at_all, summary
from deep_store_sync_airflow.run_request import run_request
from deep_store_sync_airflow.services import airflow_errors, log, log_group, open_services

if TYPE_CHECKING:
    from deep_store_sync.report import RunReport


class WriteReport(TableOperator):
    """Writes the run's report, removes what older runs left too long ago, and fails if anything was left undone.

    It runs whatever became of the batches (trigger rule `all_done`), so it is what makes the run red. `plan_task_id`
    is the `FindStaleSegments` task of the DAG. Returns the report's URL, None in a dry run. A line on the run is pushed
    under the key `summary` besides; metrics, and the table's asset, are told of it.
    """

    operator_extra_links = (ReportLink(), PageLink(), PinotLink())

    def __init__(self, *, settings: TableSync, plan_task_id: str, **kwargs: Any) -> None:
        told = {"inlets": [deep_store_asset(settings)], "outlets": [changed_alias(settings)]}
        super().__init__(settings=settings, **{**told, **kwargs})
        self.plan_task_id = plan_task_id
        self.report_url: str | None = None

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
                with log_group("What older runs left"):
                    collect(services, plan_url, log=log)
            self.report_url = report.url
            self._tell(context, report)
        if report.undone:
            shown = "\n".join(f"  {line}" for line in report.undone[:20])
            more = f"\n  … and {len(report.undone) - 20} more" if len(report.undone) > 20 else ""
            raise AirflowFailException(f"left undone:\n{shown}{more}\nThe whole report: {report.url}")
        return report.url

    def _tell(self, context: Context, report: RunReport) -> None:
        line = summary(report)
        log.info("%s", line)
        context["ti"].xcom_push(key=SUMMARY_KEY, value=line)
        if report.dry_run:
            return
        request = run_request(context, self.settings)
        tell_asset(context, self.settings, request, report)
        count_run(report)
        if looked_at_all(request):
            show_table(report)
