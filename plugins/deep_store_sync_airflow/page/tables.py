"""The tables that the page shows, by the DAGs that sync them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.configuration import conf

from deep_store_sync.overview.kept import Kept
from deep_store_sync.settings import BrokenTable, LoadedTable, TableSync, load_tables
from deep_store_sync.store.client_config import client_config
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync_airflow.dag_factory import dag_ids, tables_folder
from deep_store_sync_airflow.discovery import read_list

Tables = dict[str, LoadedTable | BrokenTable]

_FRESH_S = 10.0

_kept = Kept[tuple[float, Tables]](1)


def tables_by_dag() -> Tables:
    """DAG id to table, as the DAG files have them, by the table files that the API server sees.

    Raises:
        ConfigError: it sees none.
    """
    now = time.monotonic()
    return _kept.get("tables", lambda: (now, _read()), good=lambda of: now - of[0] < _FRESH_S)[1]


def _read() -> Tables:
    # Where DAG files of this package look, in a project that has them in its `dags` folder.
    default = Path(conf.get("core", "dags_folder")).parent / "include" / "tables"
    return dag_ids(load_tables(tables_folder(default), read_list))


@contextmanager
def open_store(settings: TableSync) -> Iterator[DeepStore]:
    """The store of a table's workspace, by the Airflow connection that the table names."""
    s3 = S3Hook(aws_conn_id=settings.aws_connection)
    config = client_config(settings.store_timeout.total_seconds()).merge(s3.config)
    with closing(s3.get_client_type(config=config)) as client:
        yield DeepStore(client)
