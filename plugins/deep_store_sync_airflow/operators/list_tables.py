"""The one step of a discovery."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator, Context

from deep_store_sync.discovery import find_tables
from deep_store_sync.errors import ConfigError
from deep_store_sync.table_files import LoadedDiscovery
from deep_store_sync_airflow.discovery import list_variable, look_up_list, write_list
from deep_store_sync_airflow.services import airflow_errors, controller_hook, log


class ListTables(BaseOperator):
    """Asks the controller for its tables, and keeps the list of those that a discovery means.

    The DAGs follow when the DAG file is parsed the next time. Returns how many tables there are, and which are new or
    gone since the last list. Whatever goes wrong leaves the last list alone.
    """

    ui_color = "#e8f3ee"

    def __init__(self, *, discovery: LoadedDiscovery, **kwargs: Any) -> None:
        super().__init__(**{"execution_timeout": discovery.shared.task_timeout, **kwargs})
        self.discovery = discovery

    def execute(self, context: Context) -> dict[str, Any]:
        """Asks, and keeps the answer.

        Raises:
            AirflowFailException: the connection is wrong, there are too many tables, or none any more.
            DeepStoreSyncError: the controller did not answer: may pass.
            Exception: the last list cannot be looked up: may pass.
        """
        try:
            known = look_up_list(self.discovery)
        except ConfigError as error:
            log.warning("the list is made anew: %s", error)
            known = []
        with airflow_errors(), controller_hook(self.discovery.shared).get_conn() as controller:
            found = find_tables(controller, self.discovery.discovery, known, log=log)
        new, gone = sorted(set(found) - set(known)), sorted(set(known) - set(found))
        if found != known:
            write_list(self.discovery, found)
            log.info("the variable %s has %d tables now", list_variable(self.discovery), len(found))
        for table in new:
            log.info("new: %s", table)
        for table in gone:
            log.warning("gone, so that it has no DAG any more: %s", table)
        return {"tables": len(found), "new": new, "gone": gone}
