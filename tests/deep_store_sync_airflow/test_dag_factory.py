from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, CronDataIntervalTimetable, TriggerRule
from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization

from deep_store_sync.settings import TableSync
from deep_store_sync.table_files import BrokenTable
from deep_store_sync_airflow.dag_factory import BROKEN_TAG, build_dag, build_dags, tables_folder
from deep_store_sync_airflow.operators.base import MAP_INDEX_TEMPLATE

GOOD = """\
table: {table}
deepStorePrefixes: [s3://pinot/deepstore]
workspace: s3://pinot/deep-store-sync
"""


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(content)
    return folder


def with_settings(settings: TableSync, **changes: Any) -> TableSync:
    return TableSync.model_validate({**settings.model_dump(), **changes})


def test_tasks_and_edges(settings: TableSync) -> None:
    dag = build_dag(settings)
    assert dag.dag_id == "deep_store_sync__flights_OFFLINE"
    assert {task.task_id: set(task.downstream_task_ids) for task in dag.tasks} == {
        "wait_for_no_server_reload": {"find_stale_segments"},
        "find_stale_segments": {"batch.rebuild_segment", "batch.upload_and_refresh", "batch.stamp_hash", "report"}
        | {"batch.wait_for_no_server_reload"},
        "batch.rebuild_segment": {"batch.wait_for_no_server_reload", "batch.upload_and_refresh"},
        "batch.wait_for_no_server_reload": {"batch.upload_and_refresh"},
        "batch.upload_and_refresh": {"batch.stamp_hash"},
        "batch.stamp_hash": {"report"},
        "report": set(),
    }
    assert dag.get_task("report").trigger_rule == TriggerRule.ALL_DONE


def test_batches_are_mapped_and_named(settings: TableSync) -> None:
    dag = build_dag(settings)
    group = dag.task_group.get_child_by_label("batch")
    assert type(group).__name__ == "MappedTaskGroup"
    for task in ("rebuild_segment", "wait_for_no_server_reload", "upload_and_refresh", "stamp_hash"):
        in_batch = dag.get_task(f"batch.{task}")
        assert in_batch.get_closest_mapped_task_group() is group
        assert "batch" in in_batch.template_fields
        assert in_batch.map_index_template == MAP_INDEX_TEMPLATE


def test_schedule_and_runs(settings: TableSync) -> None:
    dag = build_dag(with_settings(settings, schedule="30 4 * * *", timezone="Europe/Berlin"))
    assert isinstance(dag.timetable, CronDataIntervalTimetable)
    assert dag.timetable.expression == "30 4 * * *"
    assert str(dag.timetable.timezone) == "Europe/Berlin"
    assert not dag.catchup
    assert dag.max_active_runs == 1
    assert build_dag(with_settings(settings, schedule=None)).schedule is None


def test_params_and_page(settings: TableSync) -> None:
    dag = build_dag(settings)
    assert dict(dag.params) == {"forceReload": False, "dryRun": False, "segments": [], "maxSegments": None}
    assert "deep_store_sync_stop__flights_OFFLINE" in str(dag.doc_md)
    assert "airflow backfill create --dag-id deep_store_sync__flights_OFFLINE" in str(dag.doc_md)


def test_retries(settings: TableSync) -> None:
    for task in build_dag(with_settings(settings, retries=5)).tasks:
        assert task.retries == 5
        assert task.retry_exponential_backoff == 2.0
        assert task.max_retry_delay == timedelta(minutes=10)


def test_steps_end_in_time_and_waiting_does_not_count(settings: TableSync) -> None:
    for given, most in (
        ({}, timedelta(days=1)),
        ({"task_timeout": "2h"}, timedelta(hours=2)),
        ({"task_timeout": None}, None),
    ):
        timeouts = {task.task_id: task.execution_timeout for task in build_dag(with_settings(settings, **given)).tasks}
        waiting = {task_id for task_id in timeouts if task_id.endswith("wait_for_no_server_reload")}
        assert len(waiting) == 2
        assert {timeouts.pop(task_id) for task_id in waiting} == {None}
        assert set(timeouts.values()) == {most}


def test_bounds(settings: TableSync) -> None:
    dag = build_dag(with_settings(settings, pool="sync", max_active_batches=2))
    assert {task.task_id for task in dag.tasks if task.pool == "sync"} == {
        f"batch.{task}" for task in ("rebuild_segment", "wait_for_no_server_reload", "upload_and_refresh", "stamp_hash")
    }
    assert {task.task_id for task in dag.tasks if task.max_active_tis_per_dagrun == 2} == {
        f"batch.{task}" for task in ("rebuild_segment", "stamp_hash")
    }


@pytest.mark.parametrize(
    ("given", "at_once"),
    [({}, 1), ({"max_active_waves": 3}, 3), ({"max_active_waves": 3, "max_active_batches": 2}, 2)],
)
def test_waves_of_a_table_are_in_flight_one_at_a_time_unless_more_are_asked_for(
    settings: TableSync, given: Any, at_once: int
) -> None:
    upload = build_dag(with_settings(settings, **given)).get_task("batch.upload_and_refresh")
    assert upload.max_active_tis_per_dagrun == at_once


def test_what_is_heavy_has_a_queue_and_a_pod_of_its_own(settings: TableSync) -> None:
    heavy = {"batch.rebuild_segment", "batch.upload_and_refresh"}
    template = "/opt/airflow/pod_templates/rebuild.yaml"
    dag = build_dag(with_settings(settings, queue="pinot_rebuild", pod_template_file=template))
    assert {task.task_id for task in dag.tasks if task.queue == "pinot_rebuild"} == heavy
    pods = {task.task_id: task.executor_config for task in dag.tasks if task.executor_config}
    assert pods == {task_id: {"pod_template_file": template} for task_id in heavy}
    again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert again.get_task("batch.rebuild_segment").executor_config == {"pod_template_file": template}
    plain = build_dag(settings)
    assert {task.queue for task in plain.tasks} == {"default"}
    assert not any(task.executor_config for task in plain.tasks)


def test_a_batch_that_has_begun_goes_before_one_that_has_not(settings: TableSync) -> None:
    stored = DagSerialization.from_dict(DagSerialization.to_dict(build_dag(settings)))
    steps = ("rebuild_segment", "wait_for_no_server_reload", "upload_and_refresh", "stamp_hash")
    tasks: list[Any] = [stored.get_task(f"batch.{step}") for step in steps]
    weights = [task.weight_rule.get_weight(SimpleNamespace(task=task)) for task in tasks]
    assert weights == sorted(set(weights))


def test_only_the_first_task_waits_for_older_runs(settings: TableSync) -> None:
    dag = build_dag(settings)
    first: Any = dag.get_task("wait_for_no_server_reload")
    again: Any = dag.get_task("batch.wait_for_no_server_reload")
    assert first.after_older_runs
    assert first.last_task_id == "report"
    assert not again.after_older_runs


def test_it_can_be_stored(settings: TableSync) -> None:
    again = DagSerialization.from_dict(DagSerialization.to_dict(build_dag(settings)))
    assert len(again.task_dict) == 7


def test_a_broken_file_breaks_its_own_dag_alone(tmp_path: Path) -> None:
    write(
        tmp_path,
        a=GOOD.format(table="a_OFFLINE"),
        b=f"{GOOD.format(table='b_OFFLINE')}batchByts: 1\n",
        c="table: [",
        d=GOOD.format(table="a_OFFLINE"),
    )
    dags = {dag.dag_id: dag for dag in build_dags(tmp_path)}
    assert set(dags) == {
        "deep_store_sync__a_OFFLINE",
        "deep_store_sync__b_OFFLINE",
        "deep_store_sync__broken__c.yaml",
        "deep_store_sync__broken__d.yaml",
    }
    assert {dag_id for dag_id, dag in dags.items() if BROKEN_TAG in dag.tags} == set(dags) - {
        "deep_store_sync__a_OFFLINE"
    }


def test_the_dag_of_a_broken_file_says_what_is_wrong(tmp_path: Path) -> None:
    write(tmp_path, b=f"{GOOD.format(table='b_OFFLINE')}batchByts: 1\nretries: x\n")
    (dag,) = build_dags(tmp_path)
    says = "batchByts: unknown setting; did you mean batchBytes?"
    assert says in str(dag.doc_md)
    assert says in str(dag.description)
    (task,) = dag.tasks
    with pytest.raises(AirflowFailException) as error:
        task.execute({})  # type: ignore[typeddict-item]
    assert says in str(error.value)
    assert str(tmp_path / "b.yaml") in str(error.value)
    DagSerialization.to_dict(dag)


def test_a_task_builds_its_own_dag_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, a=GOOD.format(table="a_OFFLINE"), b=GOOD.format(table="b_OFFLINE"), c="table: [")
    assert [dag.dag_id for dag in build_dags(tmp_path, only="deep_store_sync__b_OFFLINE")] == [
        "deep_store_sync__b_OFFLINE"
    ]
    assert [dag.dag_id for dag in build_dags(tmp_path, only="deep_store_sync__broken__c.yaml")] == [
        "deep_store_sync__broken__c.yaml"
    ]
    assert list(build_dags(tmp_path, only="deep_store_sync__nobody_OFFLINE")) == []


def test_where_the_tables_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tables_folder(tmp_path) == tmp_path
    monkeypatch.setenv("DEEP_STORE_SYNC_TABLES", "/etc/tables")
    assert tables_folder(tmp_path) == Path("/etc/tables")
    monkeypatch.setenv("DEEP_STORE_SYNC_TABLES", "")
    assert tables_folder(tmp_path) == tmp_path


def test_names_of_broken_files_make_dag_ids() -> None:
    from deep_store_sync_airflow.dag_factory import dag_ids

    broken: Any = [BrokenTable(Path("/t/my flights (old).yaml"), "wrong")]
    (dag_id,) = dag_ids(broken)
    assert DAG(dag_id, schedule=None).dag_id == "deep_store_sync__broken__my-flights--old-.yaml"
