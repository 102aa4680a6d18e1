"""One DAG for each table file: a run where the file is right, one task that says what is wrong where it is not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, BaseOperator, Context, CronDataIntervalTimetable, TriggerRule, task_group
from airflow.sdk.exceptions import AirflowFailException

from deep_store_sync.settings import BrokenTable, LoadedTable, TableSync, load_tables
from deep_store_sync_airflow.operators.base import Batch
from deep_store_sync_airflow.operators.find_stale_segments import FindStaleSegments
from deep_store_sync_airflow.operators.rebuild_segment import RebuildSegment
from deep_store_sync_airflow.operators.report import WriteReport
from deep_store_sync_airflow.operators.stamp_hash import StampHash
from deep_store_sync_airflow.operators.upload_and_refresh import UploadAndRefresh
from deep_store_sync_airflow.run_request import run_params
from deep_store_sync_airflow.sensors.no_active_server_reload import NoActiveServerReload
from deep_store_sync_airflow.services import STOP_VARIABLE

TABLES_VARIABLE = "DEEP_STORE_SYNC_TABLES"
TAGS = ("pinot", "deep store")
BROKEN_TAG = "broken settings"

_WAIT, _FIND, _REPORT = "wait_for_no_server_reload", "find_stale_segments", "report"


def tables_folder(default: Path) -> Path:
    """The folder of the table files: where `DEEP_STORE_SYNC_TABLES` in the environment points, else the default."""
    configured = os.environ.get(TABLES_VARIABLE)
    return Path(configured).expanduser() if configured else default


def build_dags(folder: Path, *, only: str | None = None) -> Iterator[DAG]:
    """The DAGs of a folder of table files. `only` names the one that a task needs: the others are not built.

    Raises:
        ConfigError: the folder is not there.
    """
    for dag_id, table in dag_ids(load_tables(folder)).items():
        if only is None or only == dag_id:
            yield build_dag(table.settings) if isinstance(table, LoadedTable) else build_broken_dag(table, dag_id)


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
            ids[own if own and own not in ids else f"deep_store_sync__broken__{stem}"] = table
    return ids


def dag_id(table: str) -> str:
    """The id of the DAG of a table, given by name with type."""
    return f"deep_store_sync__{table}"


def build_dag(settings: TableSync) -> DAG:
    """The DAG of a table.

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
        tags=[*TAGS, settings.table],
        default_args={
            "retries": settings.retries,
            "retry_delay": timedelta(seconds=30),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(minutes=10),
        },
    ) as dag:
        wait = NoActiveServerReload(task_id=_WAIT, settings=settings, after_older_runs=True, last_task_id=_REPORT)
        find = FindStaleSegments(task_id=_FIND, settings=settings)
        report = WriteReport(task_id=_REPORT, settings=settings, plan_task_id=_FIND, trigger_rule=TriggerRule.ALL_DONE)
        batches = _batch(settings).expand(batch=find.output)
        wait >> find >> batches >> report
        find >> report
    return dag


def _batch(settings: TableSync) -> Any:
    bounds: dict[str, Any] = {"max_active_tis_per_dagrun": settings.max_active_batches}
    if settings.pool:
        bounds["pool"] = settings.pool

    @task_group(group_id="batch", tooltip="Rebuild, publish and stamp a batch of segments")
    def batch_group(batch: Batch) -> None:
        rebuild = RebuildSegment(task_id="rebuild_segment", settings=settings, batch=batch, **bounds)
        wait = NoActiveServerReload(task_id=_WAIT, settings=settings, batch=batch, pool=bounds.get("pool"))
        # How many segments of the table are in flight is this, times waveSegments.
        waves = {"max_active_tis_per_dagrun": min(settings.max_active_waves, settings.max_active_batches or 1000)}
        upload = UploadAndRefresh(
            task_id="upload_and_refresh", settings=settings, batch=batch, rebuilt=rebuild.output, **{**bounds, **waves}
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


def build_broken_dag(table: BrokenTable, dag_id: str) -> DAG:
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
    ) as dag:
        BrokenTableFile(task_id="table_file", message=table.message)
    return dag


def broken_tables(folder: Path) -> list[str]:
    """What is wrong with the table files of a folder, empty when nothing is.

    Raises:
        ConfigError: the folder is not there.
    """
    return [table.message for table in load_tables(folder) if isinstance(table, BrokenTable)]
