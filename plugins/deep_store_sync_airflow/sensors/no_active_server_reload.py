"""Waits until nothing else works on the table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from deep_store_sync.pinot.activity import find_activity
from deep_store_sync.settings import TableSync
from deep_store_sync_airflow.older_runs import older_active_runs
from deep_store_sync_airflow.operators.base import MAP_INDEX_TEMPLATE, Batch
from deep_store_sync_airflow.services import airflow_errors, controller_hook, log
from deep_store_sync_airflow.triggers.no_active_server_reload import NoActiveServerReloadTrigger


class NoActiveServerReload(BaseSensorOperator):
    """Waits until nothing else is at work on the table, without a worker slot while it waits.

    That is a server reload of the table or of a segment, a rebalance, a minion task (see
    `deep_store_sync.pinot.activity`; segments that are being replaced or committed are left out by the plan). It looks
    once itself, and defers only if it has to wait. With `after_older_runs` it first waits for the runs of the same DAG
    that began earlier (see `older_runs`), given the id of the DAG's last task as `last_task_id`. What is older than the
    setting `reloadGiveUpAfter` is no longer waited for, with a warning. `poke_interval` is in seconds.
    """

    ui_color = "#e8f3ee"
    template_fields: Sequence[str] = ("batch",)

    def __init__(
        self,
        *,
        settings: TableSync,
        batch: Batch | None = None,
        after_older_runs: bool = False,
        last_task_id: str | None = None,
        poke_interval: timedelta | float = 15,
        **kwargs: Any,
    ) -> None:
        if after_older_runs and not last_task_id:
            raise ValueError("after_older_runs needs last_task_id: the task whose end is the end of a run")
        named = {"map_index_template": MAP_INDEX_TEMPLATE} if batch else {}
        super().__init__(poke_interval=poke_interval, **{**named, **kwargs})
        self.settings = settings
        self.batch = batch
        self.after_older_runs = after_older_runs
        self.last_task_id = last_task_id

    def execute(self, context: Context) -> None:
        """Looks, and defers if it has to wait.

        Raises:
            AirflowFailException: the connection, the credentials or the table are wrong.
            DeepStoreSyncError: the controller did not answer: may pass.
        """
        older: tuple[str, ...] = ()
        if self.after_older_runs:
            older = older_active_runs(context, first_task_id=self.task_id, last_task_id=str(self.last_task_id))
        give_up_ms = self.settings.give_up_after_ms
        with airflow_errors(), controller_hook(self.settings).get_conn() as controller:
            report = find_activity(controller, self.settings.table, give_up_after_ms=give_up_ms)
        for line in report.lines():
            log.warning(line)
        if older:
            log.info("waiting for older runs of this DAG: %s", ", ".join(older))
        if not older and not report.active:
            log.info("nothing else is at work on %s", self.settings.table)
            return
        # The trigger's first look comes an interval from now. Airflow can fail a task whose trigger fires while the
        # worker that deferred it is still on its way out (upstream #71580), so it has to be more than a few seconds.
        self.defer(
            trigger=NoActiveServerReloadTrigger(
                table=self.settings.table,
                pinot_conn_id=self.settings.controller_connection,
                timeout_s=self.settings.controller_timeout.total_seconds(),
                give_up_after_ms=give_up_ms,
                poke_interval_s=self.poke_interval,
                dag_id=context["dag_run"].dag_id,
                older_runs=list(older),
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout),
        )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """Ends the wait.

        Raises:
            AirflowFailException: the controller refuses what was asked.
            AirflowException: it did not answer for a while: may pass.
        """
        for line in event.get("log", ()):
            log.warning(line)
        if event["status"] == "clear":
            log.info("nothing else is at work on %s", self.settings.table)
            return
        raise (AirflowException if event["transient"] else AirflowFailException)(event["message"])
