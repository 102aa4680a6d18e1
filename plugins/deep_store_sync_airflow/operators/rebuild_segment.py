"""The second step: rebuild what the plan names."""

from __future__ import annotations

from airflow.sdk import Context

from deep_store_sync.errors import StoppedError
from deep_store_sync_airflow.operators.base import BatchOperator
from deep_store_sync_airflow.services import airflow_errors, log, log_group, open_services, stop_reason


class RebuildSegment(BatchOperator):
    """Downloads the segments of a batch, rebuilds and verifies them, and stages the archives in the workspace.

    Nothing in the deep store is touched. Returns the URL of the batch's results.
    """

    def execute(self, context: Context) -> str:
        """Rebuilds the batch.

        Raises:
            AirflowFailException: the batch cannot be rebuilt, or the kill switch is on.
            DeepStoreSyncError: a service did not answer: may pass.
        """
        from deep_store_sync.rebuild import rebuild_batch

        with airflow_errors():
            if reason := stop_reason(self.settings.table):
                raise StoppedError(reason)
            with open_services(self.settings) as services, log_group(f"Rebuild batch {self.batch['id']}"):
                return rebuild_batch(
                    services,
                    self.batch["plan"],
                    self.batch["id"],
                    workdir=None,
                    log=log,
                    should_stop=self.stopping,
                )
