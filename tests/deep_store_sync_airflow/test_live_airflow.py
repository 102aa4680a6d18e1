"""The DAG files and the sandbox's Airflow, in a real Airflow: started once, ended at the end of the module."""

from __future__ import annotations

import contextlib
import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from tests.deep_store_sync_airflow.fake_controller import FakeController

from pinot_sandbox import SandboxError
from pinot_sandbox.live_airflow import LiveAirflow
from pinot_sandbox.live_airflow_process import _descendants, _postgres_binaries

GOOD = """\
table: {table}
schedule: {schedule}
controllerConnection: {connection}
retries: {retries}
deepStorePrefixes: [s3://pinot/deepstore]
workspace: s3://pinot/deep-store-sync
"""


def table_file(table: str, schedule: str = "null", connection: str = "nobody_there", retries: int = 3) -> str:
    return GOOD.format(table=table, schedule=schedule, connection=connection, retries=retries)


def connection(port: int) -> str:
    return json.dumps({"conn_type": "pinot_controller", "host": "127.0.0.1", "port": port})


@pytest.fixture(scope="module")
def fake_controller() -> Iterator[FakeController]:
    fake = FakeController()
    yield fake
    fake.close()


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, fake_controller: FakeController) -> Iterator[LiveAirflow]:
    """One of its connections is in the environment, the other in a secrets backend."""
    folder = tmp_path_factory.mktemp("live")
    tables = folder / "tables"
    tables.mkdir()
    (tables / "a.yaml").write_text(table_file("a_OFFLINE"))
    (tables / "b.yaml").write_text(f"{table_file('b_OFFLINE')}batchByts: 1\n")
    (tables / "flights.yaml").write_text(table_file("flights_OFFLINE", "0 0 1 1 *", "fake", retries=0))
    # Nobody answers on port 9, "discard".
    connections = {"nobody_there": connection(9)}
    secrets = folder / "secrets.json"
    secrets.write_text(json.dumps({"fake": json.loads(connection(fake_controller.port))}))
    environment = {
        "AIRFLOW__SECRETS__BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"connections_file_path": str(secrets)}),
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
    }
    with LiveAirflow(tables=tables, home=folder / "home", connections=connections, environment=environment) as live:
        live.wait_for_dag("deep_store_sync__flights_OFFLINE")
        yield live
        assert live._process is not None
        started = {live._process.pid, *_descendants(live._process.pid)}
    assert len(started) > 5
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]


def test_the_database_is_the_real_one_where_there_is_one(airflow: LiveAirflow) -> None:
    assert airflow.database == ("postgresql" if _postgres_binaries() else "sqlite")


def test_everything_listens_on_the_loopback_address_alone(airflow: LiveAirflow) -> None:
    assert airflow._process
    listening = []
    for process in psutil.Process(airflow._process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # DAGs are parsed in processes that come and go
            listening += [socket.laddr.ip for socket in process.net_connections("tcp") if socket.status == "LISTEN"]
    assert set(listening) == {"127.0.0.1"}


def test_every_table_has_its_dag_and_a_broken_file_hides_none(airflow: LiveAirflow) -> None:
    dags = {f"deep_store_sync__{table}" for table in ("a_OFFLINE", "b_OFFLINE", "flights_OFFLINE")}
    airflow.wait_until("the broken file is seen", lambda: bool(airflow.import_errors()), 60)
    assert airflow.dag_ids() == dags
    assert set(airflow.import_errors()) == {"deep_store_sync_broken_tables.py"}
    (error,) = airflow.import_errors().values()
    assert "b.yaml: batchByts: unknown setting; did you mean batchBytes?" in error


def test_a_run_of_a_broken_table_fails_with_what_is_wrong(airflow: LiveAirflow) -> None:
    dag_id = "deep_store_sync__b_OFFLINE"
    airflow.unpause(dag_id)
    run_id = airflow.trigger(dag_id)
    assert airflow.wait_for_run(dag_id, run_id, 120) == "failed"
    assert "batchByts: unknown setting; did you mean batchBytes?" in airflow.task_log(dag_id, run_id, "table_file")


def test_airflow_refuses_a_wrong_param(airflow: LiveAirflow) -> None:
    dag_id = "deep_store_sync__a_OFFLINE"
    airflow.unpause(dag_id)
    with pytest.raises(Exception, match="maxSegments"):
        airflow.trigger(dag_id, {"maxSegments": "many"})
    assert airflow.dag_runs(dag_id) == []


def test_a_controller_that_is_away_is_asked_again_later(airflow: LiveAirflow) -> None:
    dag_id = "deep_store_sync__a_OFFLINE"
    airflow.unpause(dag_id)
    run_id = airflow.trigger(dag_id)
    task = "wait_for_no_server_reload"
    airflow.wait_until("its first try ends", lambda: airflow.task_states(dag_id, run_id)[task] == "up_for_retry", 120)
    assert "PinotUnavailableError" in airflow.task_log(dag_id, run_id, task)


def test_the_form_and_the_test_button_of_a_connection(airflow: LiveAirflow, fake_controller: FakeController) -> None:
    assert airflow._api
    forms = airflow._api.get("/ui/connections/hook_meta").json()
    (form,) = [form for form in forms if form["connection_type"] == "pinot_controller"]
    assert form["hook_name"] == "Pinot Controller"
    assert set(form["extra_fields"]) == {"token", "database", "verify", "client_cert", "client_key"}
    typed = {"connection_id": "new", "conn_type": "pinot_controller", "host": "127.0.0.1", "login": "me"}
    typed |= {"password": "secret word", "port": fake_controller.port, "extra": '{"database": "sales"}'}
    answer = airflow._request("POST", "/connections/test", json=typed)
    assert answer == {"status": True, "message": "Pinot 1.5.1 answers"}
    assert fake_controller.headers["database"] == "sales"
    answer = airflow._request("POST", "/connections/test", json={**typed, "port": 9})
    assert answer["status"] is False
    assert "Is the controller running" in answer["message"]


def test_the_password_is_its_owners_alone(airflow: LiveAirflow) -> None:
    assert stat.S_IMODE(airflow.password_file.stat().st_mode) == 0o600
    password = json.loads(airflow.password_file.read_text())["admin"]
    assert len(password) >= 20
    for log in airflow.logs.rglob("*.log"):
        assert password not in log.read_text(errors="replace"), log


def test_runs_of_a_table_wait_for_its_reload_and_for_one_another(
    airflow: LiveAirflow, fake_controller: FakeController
) -> None:
    dag_id, wait = "deep_store_sync__flights_OFFLINE", "wait_for_no_server_reload"
    job: dict[str, Any] = {"jobId": "j", "submissionTimeMs": str(time.time_ns() // 1_000_000)}
    status = {"totalSegmentCount": 2, "successCount": 1, "totalServersQueried": 1, "status": "IN_PROGRESS"}
    fake_controller.answers["/table/flights/jobs"] = (200, {"j": job})
    fake_controller.answers["/segments/segmentReloadStatus/j"] = (200, status)
    airflow.unpause(dag_id)  # a scheduled run begins
    airflow.wait_until("it waits", lambda: len(airflow.dag_runs(dag_id)) == 1, 60)
    (first,) = (run["dag_run_id"] for run in airflow.dag_runs(dag_id))
    airflow.wait_until("it has deferred", lambda: airflow.task_states(dag_id, first)[wait] == "deferred", 120)

    runs = [first, *airflow.backfill(dag_id, "2013-01-01", "2014-01-01")]
    assert len(runs) == 3
    for run_id in runs:
        airflow.wait_until(
            "all defer", lambda run_id=run_id: airflow.task_states(dag_id, run_id)[wait] == "deferred", 120
        )
    fake_controller.answers["/segments/segmentReloadStatus/j"] = (200, status | {"status": "COMPLETED"})
    for run_id in runs:  # the fake controller has no table: so they fail, one after the other
        assert airflow.wait_for_run(dag_id, run_id, 180) == "failed"
        assert "PinotNotFoundError" in airflow.task_log(dag_id, run_id, "find_stale_segments")
        assert "there is no plan" in airflow.task_log(dag_id, run_id, "report")
    tasks = [{task["task_id"]: task for task in airflow.task_instances(dag_id, run_id)} for run_id in runs]
    began = [of["find_stale_segments"]["start_date"] for of in tasks]
    ended = [of["report"]["end_date"] for of in tasks]
    assert sorted([*began, *ended]) == [moment for pair in zip(began, ended, strict=True) for moment in pair]


def test_fake_api_without_an_answer_is_read_again_and_then_named(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        if len(asked) == 2:
            return httpx.Response(200, json={"dags": [], "total_entries": 0})
        raise httpx.ReadTimeout("timed out")

    live = LiveAirflow(tables=tmp_path, home=tmp_path)
    live._api = httpx.Client(base_url="http://fake", transport=httpx.MockTransport(answer))
    assert live.dag_ids() == set()
    with pytest.raises(SandboxError, match=r"POST /dags/t/dagRuns: Airflow gives no answer \(timed out; logs in .*\)"):
        live.trigger("t")
    assert asked == ["GET", "GET", "POST"]
    live.close()
