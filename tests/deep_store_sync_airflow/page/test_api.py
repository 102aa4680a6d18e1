"""Who may ask the page's routes for what: in Airflow's own API application, with its own users, tokens and teams."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from airflow.models.dag import DagModel
from botocore.config import Config
from tests.deep_store_sync.overview.workspace_of_runs import Runs, segment, skipped, synced
from tests.deep_store_sync_airflow.page.fake_aws import FakeRefusingSts, FakeSilentStore

from deep_store_sync.overview.overview import Overviews
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync_airflow.page import api, tables
from deep_store_sync_airflow.page.store_threads import StoreThreads
from deep_store_sync_airflow.plugin import DeepStoreSyncPlugin
from pinot_sandbox.gateway import GatewayProcess, S3Gateway, choose_gateway

PREFIX = "/deep-store-sync"
FLIGHTS, HIDDEN = "deep_store_sync__flights_OFFLINE", "deep_store_sync__hidden_OFFLINE"
BROKEN = "deep_store_sync__broken_OFFLINE"


class User:
    """Somebody with a token, or nobody without one."""

    def __init__(self, app: Any, token: str | None) -> None:
        self._app = app
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, params: dict[str, Any] | None = None) -> httpx.Response:
        return self._request("GET", path, params=params)

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return self._request("POST", path, json=body)

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def answer() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, path, **options)

        return asyncio.run(answer())

    def client(self) -> httpx.AsyncClient:
        """For several requests at once."""
        transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://airflow", headers=self._headers, timeout=60)


Client = Callable[[str | None], User]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Gateway]:
    home = tmp_path_factory.mktemp("gateway")
    (home / "logs").mkdir()
    process = GatewayProcess(*choose_gateway("auto", print), home)
    try:
        process.s3.client().create_bucket(Bucket=process.s3.bucket)
        yield process.s3
    finally:
        process.close()


@pytest.fixture(scope="module")
def airflow_app() -> Iterator[Any]:
    """Airflow's API application with the plugin, on a database of its own."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
    from airflow import plugins_manager
    from airflow.api_fastapi.app import create_app

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "a secret for tests, " * 4)
        patch.setattr(plugins_manager, "get_fastapi_plugins", lambda: (DeepStoreSyncPlugin.fastapi_apps, []))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Airflow's own
            app = create_app(apps="core")
        yield app


@pytest.fixture
def client(airflow_app: Any, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A user with this role, or nobody.

    `hidden_OFFLINE` is the DAG of a team, and only `member` is in it.
    """
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    monkeypatch.setattr(DagModel, "get_team_name", lambda dag_id: "others" if dag_id == HIDDEN else None)

    def of(role: str | None) -> User:
        if role is None:
            return User(airflow_app, None)
        teams = ["others"] if role == "member" else []
        user = SimpleAuthManagerUser(username=role, role="VIEWER" if role == "member" else role, teams=teams)
        return User(airflow_app, get_auth_manager().generate_jwt(user))

    return of


@pytest.fixture(autouse=True)
def runs(gateway: S3Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Two tables and a broken table file, in a workspace on a real store."""
    root = f"s3://{gateway.bucket}/{tmp_path.name}"
    for table in ("flights", "hidden"):
        (tmp_path / f"{table}.yaml").write_text(
            f"table: {table}_OFFLINE\ndeepStorePrefixes: [s3://pinot/deepstore]\nworkspace: {root}\nauditBudget: 1KB\n"
        )
    (tmp_path / "broken.yaml").write_text("table: broken_OFFLINE\nworkspace: nowhere\n")
    monkeypatch.setenv("DEEP_STORE_SYNC_TABLES", str(tmp_path))
    connection = {
        "conn_type": "aws",
        "login": gateway.access_key,
        "password": gateway.secret_key,
        "extra": {"endpoint_url": gateway.endpoint_url, "region_name": gateway.region},
    }
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    monkeypatch.setattr(tables, "_FRESH_S", 0.0)
    monkeypatch.setattr(api, "_overviews", Overviews(fresh_s=-1, settled_s=-1))
    return Runs(DeepStore(gateway.client()), root)


ROUTES = [
    "/tables",
    f"/dags/{FLIGHTS}/overview",
    f"/dags/{FLIGHTS}/segments",
    "/page/bundle.js",
    "/page/icon.svg",
]


@pytest.mark.parametrize("route", ROUTES)
def test_nobody_gets_anything_without_signing_in(client: Client, airflow_app: Any, route: str) -> None:
    assert client(None).get(PREFIX + route).status_code == 401
    unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiIsInJvbGUiOiJBRE1JTiJ9."
    assert User(airflow_app, unsigned).get(PREFIX + route).status_code == 403


def test_these_are_all_routes_and_none_changes_anything() -> None:
    found = {(route.path, *route.methods) for route in api.app.routes}  # type: ignore[attr-defined]
    paths = ("/page/{name}", "/tables", "/dags/{dag_id}/overview", "/dags/{dag_id}/segments")
    assert found == {(path, "GET") for path in paths}


@pytest.mark.parametrize("route", ["/docs", "/redoc", "/openapi.json"])
def test_there_is_no_generated_documentation(client: Client, route: str) -> None:
    assert client("ADMIN").get(PREFIX + route).status_code == 404


@pytest.mark.parametrize(("role", "may_trigger"), [("VIEWER", False), ("USER", True), ("OP", True), ("ADMIN", True)])
def test_a_viewer_may_look_and_an_editor_may_trigger(client: Client, runs: Runs, role: str, may_trigger: bool) -> None:
    runs.plan("dry", segment("a", size=7), skipped("b"), dry_run=True).report()
    answer = client(role).get(f"{PREFIX}/dags/{FLIGHTS}/overview")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json()
    assert (found["may_trigger"], found["may_unpause"]) == (may_trigger, may_trigger)
    assert found["table"] == "flights_OFFLINE"
    assert found["states"]["out of sync"] == {"segments": 1, "bytes": 7}
    assert found["work"]["stale"] == {"segments": 1, "bytes": 7}
    assert found["audit_budget"] == 1000
    assert client(role).get(f"{PREFIX}/dags/{FLIGHTS}/segments").json()["total"] == 2


def test_who_may_trigger_a_dag_need_not_be_allowed_to_unpause_it(
    client: Client, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.app import get_auth_manager

    manager = get_auth_manager()
    decides = manager.is_authorized_dag

    def fake_decision_against_editing(*, method: Any, access_entity: Any = None, **of: Any) -> bool:
        editing = method == "PUT" and access_entity is None
        return not editing and decides(method=method, access_entity=access_entity, **of)

    monkeypatch.setattr(manager, "is_authorized_dag", fake_decision_against_editing)
    found = client("OP").get(f"{PREFIX}/dags/{FLIGHTS}/overview").json()
    assert (found["may_trigger"], found["may_unpause"]) == (True, False)
    assert client("OP")._request("PATCH", f"/api/v2/dags/{FLIGHTS}", json={"is_paused": False}).status_code == 403


def test_triggering_is_airflows_own_affair_and_refused_to_a_viewer(client: Client) -> None:
    answer = client("VIEWER").post(f"/api/v2/dags/{FLIGHTS}/dagRuns", {"logical_date": None, "conf": {}})
    assert answer.status_code == 403


@pytest.mark.parametrize("route", ["overview", "segments"])
def test_nobody_sees_a_table_whose_dag_they_may_not_read(client: Client, route: str) -> None:
    hidden = f"{PREFIX}/dags/{HIDDEN}/{route}"
    assert client("USER").get(hidden).status_code == 403
    assert client("member").get(hidden).status_code == 200


def test_the_list_has_the_tables_that_may_be_read(client: Client) -> None:
    assert [of["dag_id"] for of in client("USER").get(f"{PREFIX}/tables").json()] == [BROKEN, FLIGHTS]
    found = client("member").get(f"{PREFIX}/tables").json()
    assert [of["dag_id"] for of in found] == [BROKEN, FLIGHTS, HIDDEN]
    assert "deepStorePrefixes: required" in found[0]["problem"]
    assert found[1] == {"dag_id": FLIGHTS, "table": "flights_OFFLINE", "problem": None}


def test_another_dag_is_not_ours(client: Client) -> None:
    answer = client("ADMIN").get(f"{PREFIX}/dags/somebody_elses/overview")
    assert answer.status_code == 404
    assert "syncs no table" in answer.json()["detail"]


def test_a_broken_table_file_is_told(client: Client) -> None:
    answer = client("ADMIN").get(f"{PREFIX}/dags/{BROKEN}/overview")
    assert answer.status_code == 409
    assert "deepStorePrefixes: required" in answer.json()["detail"]


def test_pages_of_ten_thousand_segments(client: Client, runs: Runs) -> None:
    rows = [segment(f"Flights_{number:05d}", batch=f"b{number // 1000:04d}") for number in range(10_000)]
    run = runs.plan("real", *rows)
    run.batch("b0000", *(synced(row.segment) for row in rows[:1000]))
    run.report()
    of = f"{PREFIX}/dags/{FLIGHTS}/segments"
    page = client("VIEWER").get(of, params={"search": "flights_", "offset": 9950, "limit": 100}).json()
    assert (page["total"], len(page["rows"])) == (10_000, 50)
    assert page["rows"][-1]["segment"] == "Flights_09999"
    assert client("VIEWER").get(of, params={"state": "in sync"}).json()["total"] == 1000
    reason = page["rows"][-1]["reason"]
    assert "did not finish" in reason
    assert client("VIEWER").get(of, params={"reason": reason}).json()["total"] == 1000


@pytest.mark.parametrize(
    "query",
    [{"limit": "0"}, {"limit": "501"}, {"offset": "-1"}, {"state": "fine"}, {"search": "x" * 201}, {"limit": "many"}],
    ids=str,
)
def test_a_wrong_question_is_refused(client: Client, query: dict[str, str]) -> None:
    assert client("ADMIN").get(f"{PREFIX}/dags/{FLIGHTS}/segments", params=query).status_code == 422


def test_a_store_that_cannot_be_read_is_told_in_words(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_AWS_DEFAULT", "aws://wrong:wrong@/?region_name=us-east-1&endpoint_url=http%3A%2F%2F127.0.0.1%3A9"
    )
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    answer = client("ADMIN").get(f"{PREFIX}/dags/{FLIGHTS}/overview")
    assert answer.status_code == 503
    assert "DeepStoreUnavailableError" in answer.json()["detail"]
    assert answer.headers["retry-after"] == "15"


def test_a_store_that_hangs_takes_no_thread_of_the_api_server(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeSilentStore() as store:
        connection = {
            "conn_type": "aws",
            "login": "key",
            "password": "secret",
            "extra": {"endpoint_url": store.url, "region_name": "us-east-1"},
        }
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        monkeypatch.setattr(api, "_store_threads", StoreThreads[Any](2, wait_s=120))
        # Nothing here is to hang on how soon it comes to be asked once more.
        patient = Config(connect_timeout=60, read_timeout=120, retries={"total_max_attempts": 1})
        monkeypatch.setattr(api, "LIMITS", patient)

        async def many() -> list[httpx.Response]:
            async with client("ADMIN").client() as user:
                # More than the threads that the API server has for everybody.
                of = f"{PREFIX}/dags/{FLIGHTS}"
                waiting = [asyncio.ensure_future(user.get(path)) for path in [f"{of}/overview", f"{of}/segments"] * 50]
                await asyncio.to_thread(store.asked.wait, 60)
                assert (await user.get(f"{PREFIX}/tables")).status_code == 200
                assert not any(one.done() for one in waiting)
                assert store.connections == 1
                store.close()
                return await asyncio.gather(*waiting)

        for answer in asyncio.run(many()):
            assert answer.status_code == 503
            assert "DeepStoreUnavailableError: ListObjectsV2" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (
            {"endpoint_url": "me:hidden@minio:9000", "region_name": "us-east-1"},
            "ConfigError: .*Invalid endpoint: minio:9000; correct its extra",
        ),
        (
            {"endpoint_url": "http" + "://me:hidden@minio:nine", "region_name": "us-east-1"},
            "DeepStoreError: .*minio:nine",
        ),
        ({"region_name": "nowhere at all"}, "ConfigError: .*nowhere at all"),
        ({"region_name": "us-east-1", "config_kwargs": {"patience": 1}}, "ConfigError: .*patience.*correct its extra"),
        ({"profile_name": "nobody"}, "DeepStoreError: .*nobody"),
        (
            {"role_arn": "arn:aws:iam::1:role/r", "assume_role_method": "by_force", "region_name": "us-east-1"},
            "ConfigError: .*by_force",
        ),
    ],
    ids=["no URL", "no port", "no region", "unknown option", "no such profile", "no way to assume a role"],
)
def test_a_wrong_connection_is_told_with_its_remedy(
    client: Client, monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], says: str
) -> None:
    connection = {"conn_type": "aws", "login": "key", "password": "hidden", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    answer = client("ADMIN").get(f"{PREFIX}/dags/{FLIGHTS}/overview")
    assert answer.status_code == 503, answer.text
    detail = answer.json()["detail"]
    assert re.match(says, detail), detail
    assert "connection" in detail
    assert "hidden" not in detail
    assert "retry-after" not in answer.headers


def test_a_role_that_must_not_be_assumed_is_told(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeRefusingSts() as sts:
        extra = {
            "role_arn": "arn:aws:iam::123456789012:role/reader",
            "region_name": "us-east-1",
            "service_config": {"sts": {"endpoint_url": sts.url}},
        }
        connection = {"conn_type": "aws", "login": "key", "password": "hidden", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        answer = client("ADMIN").get(f"{PREFIX}/dags/{FLIGHTS}/overview")
    assert answer.status_code == 503, answer.text
    detail = answer.json()["detail"]
    assert detail.startswith("DeepStoreAccessError: credentials of the connection aws_default: ")
    assert "403 AccessDenied: not this role" in detail
    assert "hidden" not in detail


def test_a_connection_that_is_not_there_is_told_in_words(client: Client, runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "flights.yaml").write_text(
        "table: flights_OFFLINE\ndeepStorePrefixes: [s3://pinot/deepstore]\nworkspace: s3://pinot/work\n"
        "awsConnection: nobody_there\n"
    )
    answer = client("ADMIN").get(f"{PREFIX}/dags/{FLIGHTS}/overview")
    assert answer.status_code == 503
    assert "no credentials" in answer.json()["detail"]


def test_without_table_files_it_is_said_where_they_ought_to_be(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEP_STORE_SYNC_TABLES", "/nowhere")
    answer = client("ADMIN").get(f"{PREFIX}/tables")
    assert answer.status_code == 503
    assert "DEEP_STORE_SYNC_TABLES" in answer.json()["detail"]


def test_only_the_files_of_the_page_are_served(client: Client) -> None:
    admin = client("ADMIN")
    answer = admin.get(f"{PREFIX}/page/bundle.js")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/javascript")
    for name in ("api.py", "..%2fapi.py", "%2e%2e/api.py", "nothing.js", ""):
        assert "def page_file" not in admin.get(f"{PREFIX}/page/{name}").text
    assert admin.get(f"{PREFIX}/page/nothing.js").status_code == 404


def test_modules_import_only_one_another() -> None:
    static = Path(api.__file__).parent / "static"
    for path in static.glob("*.js"):
        for name in re.findall(r'from "(.+?)"', path.read_text()):
            assert name.startswith("./"), (path, name)
            assert (static / name).is_file(), (path, name)
        assert "http" + "://" not in path.read_text()
        assert "https" + "://" not in path.read_text()
