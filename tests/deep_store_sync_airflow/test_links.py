"""Links on the pages of tasks."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseOperatorLink
from airflow.serialization.serialized_objects import DagSerialization

from deep_store_sync.settings import TableSync
from deep_store_sync_airflow.dag_factory import build_dag
from deep_store_sync_airflow.links import PageLink, PinotLink, ReportLink
from deep_store_sync_airflow.names import PAGE_ROUTE
from deep_store_sync_airflow.plugin import DeepStoreSyncPlugin

REPORT = "s3://my-bucket/deep-store-sync/flights_OFFLINE/runs/manual__2026/1/report.parquet"


def task(settings: TableSync, report_url: str | None = None) -> Any:
    return SimpleNamespace(settings=settings, report_url=report_url)


def link(of: BaseOperatorLink, operator: Any) -> str:
    ti_key: Any = None
    return of.get_link(operator, ti_key=ti_key)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "pinot", "port": 9000}, "http://pinot:9000/#/tenants/table/flights_OFFLINE"),
        (
            {"host": "https://pinot.example.com/controller", "login": "me", "password": "secret"},
            "https://pinot.example.com/controller/#/tenants/table/flights_OFFLINE",
        ),
        ({"host": "pinot", "schema": "ftp"}, ""),
    ],
)
def test_pinots_own_page(
    settings: TableSync, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], url: str
) -> None:
    given = json.dumps({"conn_type": "pinot_controller", **fields})
    monkeypatch.setenv("AIRFLOW_CONN_PINOT_CONTROLLER_DEFAULT", given)
    assert link(PinotLink(), task(settings)) == url


@pytest.mark.parametrize(
    ("extra", "url"),
    [
        (
            {"region_name": "eu-central-1"},
            "https://console.aws.amazon.com/s3/object/my-bucket"
            "?prefix=deep-store-sync/flights_OFFLINE/runs/manual__2026/1/report.parquet",
        ),
        (
            {"region_name": "cn-north-1"},
            "https://console.amazonaws.cn/s3/object/my-bucket"
            "?prefix=deep-store-sync/flights_OFFLINE/runs/manual__2026/1/report.parquet",
        ),
        ({"region_name": "us-east-1", "endpoint_url": "http://minio:9000"}, ""),
    ],
    ids=["aws", "china", "another store"],
)
def test_the_report_in_the_console(
    settings: TableSync, monkeypatch: pytest.MonkeyPatch, extra: dict[str, str], url: str
) -> None:
    given = {"conn_type": "aws", "login": "key", "password": "secret", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(given))
    assert link(ReportLink(), task(settings, REPORT)) == url
    assert link(ReportLink(), task(settings)) == ""


def test_the_tab_of_the_dag(settings: TableSync, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/team/")
    url = link(PageLink(), build_dag(settings).get_task("report"))
    assert url == "https://airflow.example.com/team/dags/deep_store_sync__flights_OFFLINE/plugin/deep-store-sync-table"
    assert PAGE_ROUTE in [app["url_route"] for app in DeepStoreSyncPlugin.react_apps if app["destination"] == "dag"]


def test_which_tasks_have_which(settings: TableSync) -> None:
    dag = build_dag(settings)
    names = {task.task_id: sorted(of.name for of in task.operator_extra_links) for task in dag.tasks}
    assert {task_id: of for task_id, of in names.items() if of} == {
        "find_stale_segments": ["Deep store sync", "Pinot"],
        "report": ["Deep store sync", "Pinot", "Report"],
    }
    DagSerialization.to_dict(dag)
