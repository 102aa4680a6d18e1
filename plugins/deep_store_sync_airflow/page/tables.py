"""The tables that the page shows, by the DAGs that sync them."""

from __future__ import annotations

import time
from pathlib import Path

from airflow.sdk.configuration import conf

from deep_store_sync.lru_cache import LruCache
from deep_store_sync.table_files import BrokenTable, LoadedTable, load_tables
from deep_store_sync_airflow.dag_factory import dag_ids, tables_folder
from deep_store_sync_airflow.discovery import read_list

Tables = dict[str, LoadedTable | BrokenTable]

_FRESH_S = 10.0

_kept = LruCache[tuple[float, Tables]](1)


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
