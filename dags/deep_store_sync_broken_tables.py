"""No DAG comes from here: it fails to import while a table file is wrong, so that Airflow shows what is wrong.

Airflow hides every DAG of a file with an import error. Raised in a file of its own, it hides none.
"""

from pathlib import Path

from airflow.sdk import get_parsing_context

from deep_store_sync.errors import ConfigError
from deep_store_sync_airflow.dag_factory import broken_tables, tables_folder

if get_parsing_context().dag_id is None:
    _FOLDER = tables_folder(Path(__file__).resolve().parent.parent / "include" / "tables")
    if _BROKEN := broken_tables(_FOLDER):
        raise ConfigError("\n".join(_BROKEN))
