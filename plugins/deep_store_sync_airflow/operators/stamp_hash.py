"""The last step of a batch: stamp."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context, XComArg

from deep_store_sync.settings import TableSync
from deep_store_sync_airflow.metrics import timed
from deep_store_sync_airflow.operators.base import Batch, BatchOperator
from deep_store_sync_airflow.services import airflow_errors, log, log_group, open_services


class StampHash(BatchOperator):
    """Stamps the segments of a batch that were published quietly or needed no change, and marks the incurable ones.

    `published` is the URL that `UploadAndRefresh` returned. Returns the URL of the batch's final outcomes.
    """

    template_fields: Sequence[str] = ("batch", "published")

    def __init__(self, *, settings: TableSync, batch: Batch, published: str | XComArg, **kwargs: Any) -> None:
        super().__init__(settings=settings, batch=batch, **kwargs)
        self.published = published

    def execute(self, context: Context) -> str:
        """Stamps the batch.

        Raises:
            AirflowFailException: it cannot be stamped.
            DeepStoreSyncError: a service did not answer: may pass.
        """
        from deep_store_sync.publishing.stamping import stamp_batch

        with (
            airflow_errors(),
            timed("stamp", self.settings.table),
            open_services(self.settings) as services,
            log_group(f"Stamp batch {self.batch['id']}"),
        ):
            return stamp_batch(services, self.batch["plan"], self.batch["id"], str(self.published), log=log)
