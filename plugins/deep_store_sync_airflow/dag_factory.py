"""One DAG for each table file: a run where the file is right, one task that says what is wrong where it is not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, BaseOperator, Context, CronDataIntervalTimetable, TriggerRule, task_group
from airflow.sdk.exceptions import AirflowFailException

from deep_store_sync.settings import TableSync, is_table_name
from deep_store_sync.table_files import (
    BrokenTable,
    LoadedDiscovery,
    LoadedTable,
    TablesOf,
    configured_folder,
    load_files,
    load_tables,
    tables_of,
)
from deep_store_sync_airflow.discovery import list_variable, read_list
from deep_store_sync_airflow.names import DAG_PREFIX, REPORT_TASK
from deep_store_sync_airflow.operators.base import Batch
from deep_store_sync_airflow.operators.find_stale_segments import FindStaleSegments
from deep_store_sync_airflow.operators.list_tables import ListTables
from deep_store_sync_airflow.operators.rebuild_segment import RebuildSegment
from deep_store_sync_airflow.operators.report import WriteReport
from deep_store_sync_airflow.operators.stamp_hash import StampHash
from deep_store_sync_airflow.operators.upload_and_refresh import UploadAndRefresh
from deep_store_sync_airflow.run_request import run_params
from deep_store_sync_airflow.sensors.no_active_server_reload import NoActiveServerReload
from deep_store_sync_airflow.services import STOP_VARIABLE

TAGS = ("pinot", "deep store")
BROKEN_TAG = "broken settings"

_WAIT, _FIND = "wait_for_no_server_reload", "find_stale_segments"


def tables_folder(default: Path) -> Path:
    """The folder of the table files: where `DEEP_STORE_SYNC_TABLES` in the environment points, else the default."""
    return configured_folder(os.environ) or default


def build_dags(folder: Path, *, only: str | None = None, **options: Any) -> Iterator[DAG]:
    """The DAGs of a folder of table files: of its tables, of those discovered, and of discoveries themselves.

    `only` names the one that a task needs: the others are not built, and no list is looked up for a table that a
    single discovery means. `options` go to each DAG: callbacks, a deadline, access control.

    Raises:
        ConfigError: the folder is not there.
    """
    files = load_files(folder)
    discoveries = {discovery_dag_id(file): file for file in files if isinstance(file, LoadedDiscovery)}
    for dag_id, discovery in discoveries.items():
        if only is None or only == dag_id:
            yield build_discovery_dag(discovery, **options)
    if only in discoveries:
        return
    tables = dag_ids(tables_of(files, lambda _: ()))
    if discoveries and only not in tables:  # a task of a table with a file of its own looks no variable up
        tables = dag_ids(tables_of(files, _found(discoveries.values(), only)))
    for dag_id, table in tables.items():
        if only is not None and only != dag_id:
            continue
        if isinstance(table, BrokenTable):
            yield build_broken_dag(table, dag_id, **options)
        elif table.discovery:
            yield build_dag(table.settings, **{"is_paused_upon_creation": table.discovery.start_paused, **options})
        else:
            yield build_dag(table.settings, **options)


def _found(discoveries: Iterable[LoadedDiscovery], only: str | None) -> TablesOf:
    """What discoveries have found: the lists, but for a table that one of them alone can have found."""
    table = only.removeprefix(DAG_PREFIX) if only else ""
    meant_by = [discovery for discovery in discoveries if is_table_name(table) and discovery.discovery.means(table)]
    return read_list if len(meant_by) != 1 else lambda discovery: [table]


def dag_ids(tables: list[LoadedTable | BrokenTable]) -> dict[str, LoadedTable | BrokenTable]:
    """The DAG id of each table file.

    A broken file keeps the id of its table, where that can be read and no other file has it.
    """
    ids: dict[str, LoadedTable | BrokenTable] = {
        dag_id(table.settings.table): table for table in tables if isinstance(table, LoadedTable)
    }
    for table in tables:
        if isinstance(table, BrokenTable):
            own = dag_id(table.table) if table.table else None
            stem = re.sub(r"[^\w.\-]", "-", table.path.name)
            ids[own if own and own not in ids else f"{DAG_PREFIX}broken__{stem}"] = table
    return ids


def dag_id(table: str) -> str:
    """The id of the DAG of a table, given by name with type."""
    return f"{DAG_PREFIX}{table}"


def discovery_dag_id(discovery: LoadedDiscovery) -> str:
    """The id of the DAG that asks for the tables of a discovery."""
    return f"{DAG_PREFIX}discover__{discovery.name}"


def build_dag(settings: TableSync, **options: Any) -> DAG:
    """The DAG of a table. `options` are further ones of the DAG.

    `wait_for_no_server_reload → find_stale_segments → batch[rebuild_segment → wait_for_no_server_reload →
    upload_and_refresh → stamp_hash] × N → report`
    """
    timezone = ZoneInfo(settings.timezone)
    with DAG(
        dag_id=dag_id(settings.table),
        description=f"Keeps the deep store of {settings.table} in sync with its table config and schema",
        doc_md=_doc(settings),
        schedule=CronDataIntervalTimetable(settings.schedule, settings.timezone) if settings.schedule else None,
        start_date=datetime.combine(settings.start_date, datetime.min.time(), timezone),
        catchup=False,
        max_active_runs=1,
        params=run_params(),
        tags=[*TAGS, settings.table[:100]],  # Airflow refuses longer ones, with all DAGs of the file
        # What comes later goes first: what was rebuilt is published before more is rebuilt and staged.
        default_args={**_tries(settings), "weight_rule": "upstream"},
        **options,
    ) as dag:
        wait = NoActiveServerReload(task_id=_WAIT, settings=settings, after_older_runs=True, last_task_id=REPORT_TASK)
        find = FindStaleSegments(task_id=_FIND, settings=settings)
        report = WriteReport(
            task_id=REPORT_TASK, settings=settings, plan_task_id=_FIND, trigger_rule=TriggerRule.ALL_DONE
        )
        batches = _batch(settings).expand(batch=find.output)
        wait >> find >> batches >> report
        find >> report
    return dag


def _batch(settings: TableSync) -> Any:
    bounds: dict[str, Any] = {"max_active_tis_per_dagrun": settings.max_active_batches}
    if settings.pool:
        bounds["pool"] = settings.pool
    # The tasks that need Java, memory and disk.
    heavy: dict[str, Any] = {}
    if settings.queue:
        heavy["queue"] = settings.queue
    if settings.pod_template_file:
        heavy["executor_config"] = {"pod_template_file": str(settings.pod_template_file)}

    @task_group(group_id="batch", tooltip="Rebuild, publish and stamp a batch of segments")
    def batch_group(batch: Batch) -> None:
        rebuild = RebuildSegment(task_id="rebuild_segment", settings=settings, batch=batch, **bounds, **heavy)
        wait = NoActiveServerReload(task_id=_WAIT, settings=settings, batch=batch, pool=bounds.get("pool"))
        # How many segments of the table are in flight is this, times waveSegments.
        waves = {"max_active_tis_per_dagrun": min(settings.max_active_waves, settings.max_active_batches or 1000)}
        upload = UploadAndRefresh(
            task_id="upload_and_refresh",
            settings=settings,
            batch=batch,
            rebuilt=rebuild.output,
            **{**bounds, **heavy, **waves},
        )
        stamp = StampHash(task_id="stamp_hash", settings=settings, batch=batch, published=upload.output, **bounds)
        rebuild >> wait >> upload >> stamp

    return batch_group


def _doc(settings: TableSync) -> str:
    return f"""
Finds the segments of `{settings.table}` whose copy in the deep store is not what table config and schema ask for,
rebuilds them, puts them back, makes the servers take them where they have to, and stamps each with the hash of what it
was built for.

- **By hand:** trigger it; the form explains the params. `{{"forceReload": true}}` looks at every segment that has no
  current stamp.
- **Bootstrap by time range:** `airflow backfill create --dag-id {dag_id(settings.table)} --from-date … --to-date …`;
  each run takes the segments whose time range starts in its data interval, with force.
- **Stop:** set the Airflow variable `{STOP_VARIABLE}` (all tables) or `{STOP_VARIABLE}__{settings.table}` to the
  reason. Nothing more is published until it is deleted.
- One run of a table works at a time, whatever started it: the first task waits for older runs.
- Plans, results and reports are Parquet files in `{settings.workspace}`.
"""


def build_discovery_dag(discovery: LoadedDiscovery, **options: Any) -> DAG:
    """The DAG that asks the controller, on schedule, for the tables that a discovery stands for."""
    settings = discovery.discovery
    timezone = ZoneInfo(discovery.shared.timezone)
    schedule = settings.discover_schedule
    with DAG(
        dag_id=discovery_dag_id(discovery),
        description=f"Finds the tables that {discovery.path.name} stands for",
        doc_md=f"""
Asks the controller for its tables, and keeps the names of those that `{discovery.path.name}` means in the Airflow
variable `{list_variable(discovery)}`. Each of them has a DAG, `{dag_id("<table with type>")}`, as soon as DAG files are
parsed the next time. A table that is gone from the controller, or not meant any more, has none: its past runs stay in
Airflow's database, and come back with it. A table with a file of its own goes by that file.
""",
        schedule=CronDataIntervalTimetable(schedule, discovery.shared.timezone) if schedule else None,
        start_date=datetime(2024, 1, 1, tzinfo=timezone),
        catchup=False,
        max_active_runs=1,
        tags=[*TAGS, "discovery"],
        default_args=_tries(discovery.shared),
        **{"is_paused_upon_creation": False, **options},
    ) as dag:
        ListTables(task_id="list_tables", discovery=discovery)
    return dag


def _tries(settings: TableSync) -> dict[str, Any]:
    return {
        "retries": settings.retries,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
    }


class BrokenTableFile(BaseOperator):
    """Fails with what is wrong in a table file."""

    ui_color = "#f6d5d5"

    def __init__(self, *, message: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.message = message

    def execute(self, context: Context) -> None:
        """Fails.

        Raises:
            AirflowFailException: always.
        """
        raise AirflowFailException(self.message)


def build_broken_dag(table: BrokenTable, dag_id: str, **options: Any) -> DAG:
    """A DAG in the place of one whose table file is wrong: its description, page and only task say what is wrong.

    It fails once a day, so that whoever is alerted by failed runs learns that the table is not synced.
    """
    with DAG(
        dag_id=dag_id,
        description=table.message.replace("\n", "; "),
        doc_md=f"The table file is wrong:\n\n```\n{table.message}\n```\n",
        schedule=CronDataIntervalTimetable(TableSync.model_fields["schedule"].default, "UTC"),
        catchup=False,
        start_date=datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC")),
        tags=[*TAGS, BROKEN_TAG],
        **options,
    ) as dag:
        BrokenTableFile(task_id="table_file", message=table.message)
    return dag


def broken_tables(folder: Path) -> list[str]:
    """What is wrong with the table files of a folder, empty when nothing is.

    Raises:
        ConfigError: the folder is not there.
    """
    return [table.message for table in load_tables(folder, read_list) if isinstance(table, BrokenTable)]
