"""Airflow DAGs that keep Pinot's deep store in sync: one for each table file, see include/tables/."""

from pathlib import Path

from airflow.sdk import get_parsing_context

from deep_store_sync_airflow.dag_factory import build_dags, tables_folder

_FOLDER = tables_folder(Path(__file__).resolve().parent.parent / "include" / "tables")

for dag in build_dags(_FOLDER, only=get_parsing_context().dag_id):
    globals()[dag.dag_id] = dag
