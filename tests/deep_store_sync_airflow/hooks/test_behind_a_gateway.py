"""A connection to a real controller behind a gateway that demands TLS, a client certificate, and credentials."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.models import Connection
from tests.network.certificates import Certificates
from tests.network.tls_gateway import tls_gateway

from deep_store_sync_airflow.hooks.pinot_controller import PinotControllerHook
from pinot_sandbox import Sandbox
from pinot_sandbox.toolchain import pinot_version

BASIC = "Basic " + base64.b64encode(b"sync:pass word").decode()
LIMITED = "Basic " + base64.b64encode(b"guest:guest").decode()
USER = {"login": "sync", "password": "pass word"}

# What the API server looks a connection type's hook up with, is deprecated for everybody else.
pytestmark = pytest.mark.filterwarnings("ignore:ProvidersManager")

Test = Callable[..., tuple[bool, str]]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def gateway(sandbox: Sandbox, certificates: Certificates) -> Iterator[int]:
    """The port of the gateway."""
    with tls_gateway(
        sandbox.controller_url, certificates, accepted=[BASIC, "Bearer abc.def"], limited=[LIMITED]
    ) as port:
        yield port


@pytest.fixture
def extra(certificates: Certificates) -> dict[str, Any]:
    """What a right connection has in its extra."""
    cert, key = certificates.client
    return {"verify": str(certificates.ca), "client_cert": str(cert), "client_key": str(key)}


@pytest.fixture
def button(gateway: int, monkeypatch: pytest.MonkeyPatch) -> Test:
    """Presses the test button: the form's fields as Airflow keeps them, and the hook that it finds for them."""

    def press(extra: dict[str, Any], **fields: Any) -> tuple[bool, str]:
        given = {"host": "127.0.0.1", "port": gateway, "schema": "https", **fields}
        connection = Connection(conn_id="pinot", conn_type="pinot_controller", extra=json.dumps(extra), **given)
        monkeypatch.setenv("AIRFLOW_CONN_PINOT", connection.get_uri())
        ok, message = connection.test_connection()
        assert "pass word" not in message
        assert BASIC.removeprefix("Basic ") not in message
        return ok, message

    return press


def test_basic(button: Test, extra: dict[str, Any]) -> None:
    assert button(extra, **USER) == (True, f"Pinot {pinot_version()} answers")


def test_bearer(button: Test, extra: dict[str, Any]) -> None:
    assert button(extra | {"token": "abc.def"}) == (True, f"Pinot {pinot_version()} answers")


def test_more_than_a_greeting(
    button: Test, extra: dict[str, Any], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run asks first, and what discovery asks."""
    button(extra, **USER)
    sandbox.load_flights(months=[1])
    try:
        with PinotControllerHook("pinot").get_conn() as controller:
            assert controller.tables() == ["flights_OFFLINE"]
            assert controller.table_config("flights_OFFLINE")["tableName"] == "flights_OFFLINE"
            assert [segment.name for segment in controller.segments("flights_OFFLINE")] == ["flights_2013-01"]
    finally:
        sandbox.drop_table("flights_OFFLINE")


def test_wrong_password(button: Test, extra: dict[str, Any]) -> None:
    ok, message = button(extra, login="sync", password="wrong")
    assert not ok
    assert "(401: HTTP 401 Unauthorized). Check user and password or token for the controller" in message


def test_no_credentials(button: Test, extra: dict[str, Any]) -> None:
    ok, message = button(extra)
    assert not ok
    assert "401" in message


def test_no_permission(button: Test, extra: dict[str, Any]) -> None:
    ok, message = button(extra, login="guest", password="guest")
    assert not ok
    assert "(403: Permission is denied). The credentials for the controller do not permit this call" in message


def test_an_unknown_ca(button: Test, extra: dict[str, Any]) -> None:
    del extra["verify"]
    ok, message = button(extra, **USER)
    assert not ok
    assert "the controller's certificate is not trusted" in message
    assert "Name the CA that signed it in `verify`" in message


def test_another_host_name(button: Test, extra: dict[str, Any]) -> None:
    ok, message = button(extra, host="localhost", **USER)
    assert not ok
    assert "not valid for 'localhost'" in message
    assert "take a host name that the certificate has" in message


def test_without_a_client_certificate(button: Test, extra: dict[str, Any]) -> None:
    ok, message = button({"verify": extra["verify"]}, **USER)
    assert not ok
    assert "does not accept the client's certificate, or the lack of one" in message
    assert "`client_cert`" in message


def test_the_client_certificate_of_somebody_else(
    button: Test, extra: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    cert, key = Certificates(tmp_path_factory.mktemp("others")).client
    ok, message = button(extra | {"client_cert": str(cert), "client_key": str(key)}, **USER)
    assert not ok
    assert "does not accept the client's certificate" in message


def test_a_certificate_file_that_is_not_there(button: Test, extra: dict[str, Any]) -> None:
    ok, message = button(extra | {"client_cert": "/nowhere/client.pem"}, **USER)
    assert not ok
    assert "TLS files cannot be used" in message
    assert "/nowhere/client.pem" in message


def test_tls_where_there_is_none(button: Test, extra: dict[str, Any], sandbox: Sandbox) -> None:
    """Of a server that answers at all: Pinot's own plain port is silent, which takes the time-out to see."""
    port = int(sandbox.s3.endpoint_url.rpartition(":")[2])
    ok, message = button(extra, port=port, **USER)
    assert not ok
    assert "what answers there speaks no TLS" in message
    assert "Is the scheme http, or the port another?" in message


def test_no_tls_where_there_is_some(button: Test) -> None:
    ok, message = button({}, schema="http", **USER)
    assert not ok
    assert "are host, port and scheme of its address right?" in message


def test_nobody_there(button: Test, extra: dict[str, Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        ok, message = button(extra, port=taken.getsockname()[1], **USER)
    assert not ok
    assert "Connection refused" in message
    assert "Is the controller running" in message


def test_something_else(button: Test, sandbox: Sandbox) -> None:
    port = int(sandbox.s3.endpoint_url.rpartition(":")[2])
    ok, message = button({}, port=port, schema="http")
    assert not ok
    assert "Is this a Pinot controller's own port? A proxy, a login page or another Pinot component" in message
