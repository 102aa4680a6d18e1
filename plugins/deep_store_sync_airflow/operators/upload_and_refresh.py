"""The third step: publish what was rebuilt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context, XComArg

from deep_store_sync.settings import TableSync
from deep_store_sync_airflow.metrics import timed
from deep_store_sync_airflow.operators.base import CANCELLED, Batch, BatchOperator
from deep_store_sync_airflow.services import airflow_errors, log, log_group, open_services, stop_reason


class UploadAndRefresh(BatchOperator):
    """Puts the rebuilt archives of a batch in the deep store, and makes the servers take those that they have to take.

    It waits until they are seen to have done so. `rebuilt` is the URL that `RebuildSegment` returned. Returns the URL
    of the batch's results. The kill switch is asked before every wave.
    """

    template_fields: Sequence[str] = ("batch", "rebuilt")

    def __init__(self, *, settings: TableSync, batch: Batch, rebuilt: str | XComArg, **kwargs: Any) -> None:
        super().__init__(settings=settings, batch=batch, **kwargs)
        self.rebuilt = rebuilt

    def execute(self, context: Context) -> str:
        """Publishes the batch.

        Raises:
            AirflowFailException: it cannot be published, config or schema changed meanwhile, or the kill switch is on.
            DeepStoreSyncError: a service did not answer: may pass.
        """
        from deep_store_sync.publishing.publish import upload_and_refresh

        with (
            airflow_errors(),
            timed("publish", self.settings.table),
            open_services(self.settings) as services,
            log_group(f"Publish batch {self.batch['id']}"),
        ):
            return upload_and_refresh(
                services,
                self.batch["plan"],
                self.batch["id"],
                str(self.rebuilt),
                log=log,
                should_stop=self._stop_reason,
                last_try=self.last_try(context),
            )

    def _stop_reason(self) -> str | None:
        return CANCELLED if self.stopping() else stop_reason(self.settings.table)
