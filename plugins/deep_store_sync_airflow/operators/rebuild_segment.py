"""The second step: rebuild what the plan names."""

from __future__ import annotations

import time

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from deep_store_sync.errors import StoppedError
from deep_store_sync_airflow.metrics import timed
from deep_store_sync_airflow.operators.base import CANCELLED, BatchOperator
from deep_store_sync_airflow.services import airflow_errors, log, log_group, open_services, stop_reason

# How often the kill switch is looked at while segments are rebuilt.
_SWITCH_EVERY_S = 30.0


class RebuildSegment(BatchOperator):
    """Downloads the segments of a batch, rebuilds and verifies them, and stages the archives in the workspace.

    Nothing in the deep store is touched. Returns the URL of the batch's results. When it is cancelled, or the kill
    switch is put on, all work ends within seconds, and nothing is left on the worker.
    """

    def execute(self, context: Context) -> str:
        """Rebuilds the batch.

        Raises:
            AirflowFailException: the batch cannot be rebuilt, or the kill switch is on.
            AirflowSkipException: the run's time is over: nothing was begun, and the rest of the batch is skipped, too.
            DeepStoreSyncError: a service did not answer: may pass.
        """
        from deep_store_sync.rebuilding.rebuild import rebuild_batch

        looked_at = time.monotonic()

        def reason_to_stop() -> str | None:
            nonlocal looked_at
            if self.stopping():
                return CANCELLED
            if time.monotonic() - looked_at < _SWITCH_EVERY_S:
                return None
            looked_at = time.monotonic()
            return stop_reason(self.settings.table)

        with airflow_errors():
            if reason := stop_reason(self.settings.table):
                raise StoppedError(reason)
            title = f"Rebuild batch {self.batch['id']}"
            table = self.settings.table
            with timed("rebuild", table), open_services(self.settings) as services, log_group(title):
                url = rebuild_batch(
                    services,
                    self.batch["plan"],
                    self.batch["id"],
                    log=log,
                    should_stop=reason_to_stop,
                    last_try=self.last_try(context),
                )
        if url is None:
            raise AirflowSkipException("the run's time is over (maxRunTime): the next one takes the batch up")
        return url
