"""The first step of a run."""

from __future__ import annotations

from airflow.sdk import Context
from airflow.sdk.configuration import conf

from deep_store_sync_airflow.links import PageLink, PinotLink
from deep_store_sync_airflow.metrics import timed
from deep_store_sync_airflow.operators.base import Batch, TableOperator
from deep_store_sync_airflow.run_request import run_request
from deep_store_sync_airflow.services import airflow_errors, log, open_services

PLAN_KEY = "plan"
"""XCom key of the plan's URL: set even when there is nothing to do."""


class FindStaleSegments(TableOperator):
    """Decides every segment of the table, writes the plan, and returns the batches to work on.

    Returns a list of `{"id": ..., "plan": url, "name": ...}`, empty in a dry run and when nothing is to be done. The
    plan's URL is pushed under the key `plan` besides.
    """

    operator_extra_links = (PageLink(), PinotLink())

    def execute(self, context: Context) -> list[Batch]:
        """Makes the plan.

        Raises:
            AirflowFailException: the table, the connections or the run's configuration are wrong.
            DeepStoreSyncError: controller or store did not answer: may pass.
        """
        from deep_store_sync.find import find_stale_segments
        from deep_store_sync.plan import MAX_BATCHES

        # Airflow refuses to map over more than this.
        most = min(MAX_BATCHES, conf.getint("core", "max_map_length"))
        with airflow_errors(), timed("find", self.settings.table), open_services(self.settings) as services:
            found = find_stale_segments(services, run_request(context, self.settings), log=log, max_batches=most)
        context["ti"].xcom_push(key=PLAN_KEY, value=found.plan_url)
        log.info("plan: %s", found.plan_url)
        return [
            Batch(id=batch.id, plan=found.plan_url, name=name)
            for batch, name in zip(found.batches, found.names, strict=True)
        ]
