"""Asks the controller, now and then, whether anything is still at work on a table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from deep_store_sync.errors import DeepStoreSyncError, PinotUnavailableError
from deep_store_sync.pinot.activity import Looks, find_activity
from deep_store_sync_airflow.hooks.pinot_controller import PinotControllerHook
from deep_store_sync_airflow.older_runs import count_active

PATIENCE = 10
"""Looks in a row that may find the controller unavailable before the trigger gives up."""


class NoActiveServerReloadTrigger(BaseTrigger):
    """Fires once no older run and no server reload or other operation on the table is active.

    The event is `{"status": "clear", "log": [...]}`, or `{"status": "error", "transient": ..., "message": ..., "log":
    [...]}`. It never fires before `poke_interval_s`.
    """

    def __init__(
        self,
        *,
        table: str,
        pinot_conn_id: str,
        timeout_s: float,
        give_up_after_ms: int,
        poke_interval_s: float,
        dag_id: str,
        older_runs: list[str],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.table = table
        self.pinot_conn_id = pinot_conn_id
        self.timeout_s = timeout_s
        self.give_up_after_ms = give_up_after_ms
        self.poke_interval_s = poke_interval_s
        self.dag_id = dag_id
        self.older_runs = older_runs

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments that make this trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "table": self.table,
                "pinot_conn_id": self.pinot_conn_id,
                "timeout_s": self.timeout_s,
                "give_up_after_ms": self.give_up_after_ms,
                "poke_interval_s": self.poke_interval_s,
                "dag_id": self.dag_id,
                "older_runs": self.older_runs,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Looks every interval, and yields one event."""
        try:
            async for event in self._events():
                yield _event(event)
        except DeepStoreSyncError as error:
            message = f"{type(error).__name__}: {error}"
            yield _event({"status": "error", "transient": error.transient, "message": message, "log": []})

    async def _events(self) -> AsyncIterator[dict[str, Any]]:
        failures = 0
        looks = Looks()
        with await PinotControllerHook(self.pinot_conn_id, timeout_s=self.timeout_s).aget_conn() as controller:
            while True:
                await asyncio.sleep(self.poke_interval_s)
                if await asyncio.to_thread(count_active, self.dag_id, self.older_runs):
                    self.log.info("waiting for older runs of this DAG: %s", ", ".join(self.older_runs))
                    continue
                try:
                    report = await asyncio.to_thread(
                        find_activity, controller, self.table, give_up_after_ms=self.give_up_after_ms, looks=looks
                    )
                except PinotUnavailableError as error:
                    failures += 1
                    self.log.warning("no answer, %d in a row: %s", failures, error)
                    if failures == PATIENCE:
                        raise
                    continue
                failures = 0
                lines = report.lines()
                for line in lines:
                    self.log.info(line)
                if not report.active:
                    yield {"status": "clear", "log": lines}
                    return


def _event(payload: dict[str, Any]) -> TriggerEvent:
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]
