from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.sdk import Connection
from tests.network.certificates import Certificates

from deep_store_sync.errors import ConfigError, PinotTlsError
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync_airflow.hooks import pinot_controller
from deep_store_sync_airflow.hooks.pinot_controller import PinotControllerHook, read_connection


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., PinotControllerHook]:
    """A hook for a connection with the given fields."""

    def make(**fields: Any) -> PinotControllerHook:
        given = {"conn_type": "pinot_controller", "host": "127.0.0.1", **fields}
        monkeypatch.setenv("AIRFLOW_CONN_PINOT", json.dumps(given))
        return PinotControllerHook("pinot", timeout_s=5, server_timeout_s=5, retries=0)

    return make


def connection(**fields: Any) -> Connection:
    extra = fields.pop("extra", None)
    return Connection(
        conn_id="pinot", conn_type="pinot_controller", extra=json.dumps(extra) if extra else None, **fields
    )


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "pinot"}, "http://pinot"),
        ({"host": "pinot", "port": 9000}, "http://pinot:9000"),
        ({"host": "pinot", "port": 9443, "schema": "https"}, "https://pinot:9443"),
        ({"host": "https://pinot:9443/controller/"}, "https://pinot:9443/controller"),
        ({"host": "https://pinot", "port": 9443}, "https://pinot:9443"),
        ({"host": "::1", "port": 9000}, "http://[::1]:9000"),
        ({"host": "[::1]", "port": 9000}, "http://[::1]:9000"),
    ],
)
def test_address(fields: dict[str, Any], url: str) -> None:
    assert read_connection(connection(**fields)).base_url == url


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "connection pinot: host: not given"),
        ({"host": "pinot", "schema": "ftp"}, "schema: 'ftp' is neither http nor https"),
        ({"host": "http://me:secret@pinot"}, "host: give a host name, or a URL without credentials"),
        ({"host": "pinot/controller"}, "host: give a host name"),
        ({"host": "http://pinot:1", "port": 2}, "host: has a port, and so has the field port"),
        ({"host": "pinot", "login": "me", "extra": {"token": "t"}}, "gives a token and a login"),
        ({"host": "pinot", "extra": {"tokn": "t"}}, "extra tokn: unknown; known are token, database"),
        ({"host": "pinot", "extra": {"client_key": "k.pem"}}, "client_key: needs client_cert"),
    ],
)
def test_a_wrong_connection(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_connection(connection(**fields))
    assert says in str(error.value)
    assert "secret" not in str(error.value)


def test_no_such_connection() -> None:
    with pytest.raises(ConfigError, match="connection nowhere: not found; create it with type pinot_controller"):
        PinotControllerHook("nowhere").get_conn()


def test_without_credentials(connect: Callable[..., PinotControllerHook], controller: Any) -> None:
    with connect(port=controller.port).get_conn() as client:
        assert client.version() == "1.5.1"
    assert "authorization" not in controller.headers
    assert "database" not in controller.headers


def test_basic(connect: Callable[..., PinotControllerHook], controller: Any) -> None:
    with connect(port=controller.port, login="me", password="pass word").get_conn() as client:
        client.version()
    assert controller.headers["authorization"] == "Basic " + base64.b64encode(b"me:pass word").decode()


def test_bearer_and_database(connect: Callable[..., PinotControllerHook], controller: Any) -> None:
    with connect(port=controller.port, extra={"token": "abc.def", "database": "sales"}).get_conn() as client:
        client.version()
    assert controller.headers["authorization"] == "Bearer abc.def"
    assert controller.headers["database"] == "sales"


def test_servers_get_the_same_credentials(connect: Callable[..., PinotControllerHook], controller: Any) -> None:
    controller.answers["/tables/flights_OFFLINE/segments/crc"] = (200, {"s": "12"})
    with connect(port=1, extra={"token": "abc.def"}).get_server_client() as servers:
        assert servers.segment_crcs(f"http://127.0.0.1:{controller.port}", "flights_OFFLINE") == {"s": 12}
    assert controller.headers["authorization"] == "Bearer abc.def"


def test_secrets_are_masked_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[str] = []
    monkeypatch.setattr(pinot_controller, "mask_secret", masked.append)
    basic = read_connection(connection(host="pinot", login="me", password="pass word"))
    bearer = read_connection(connection(host="pinot", extra={"token": "abc.def"}))
    assert masked == ["pass word", base64.b64encode(b"me:pass word").decode(), "abc.def"]
    assert not any(secret in repr((basic, bearer)) for secret in masked)


def test_the_test_button(connect: Callable[..., PinotControllerHook], controller: Any) -> None:
    hook = connect(port=controller.port, login="me", password="secret")
    assert hook.test_connection() == (True, "Pinot 1.5.1 answers")
    controller.answers["/version"] = (401, {"code": 401, "error": "Permission denied"})
    ok, message = hook.test_connection()
    assert not ok
    assert "401" in message
    assert "Check user and password or token" in message
    assert "secret" not in message


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_that_is_not_pinots(
    connect: Callable[..., PinotControllerHook], controller: Any, status: int
) -> None:
    controller.answers["/version"] = (status, {"message": "log in first"})
    ok, message = connect(port=controller.port).test_connection()
    assert not ok
    assert "It was not Pinot that said so: is this a Pinot controller's own port" in message


def test_the_test_button_with_nobody_there(connect: Callable[..., PinotControllerHook], controller: Any) -> None:
    hook = connect(port=controller.port)
    controller.close()
    ok, message = hook.test_connection()
    assert not ok
    assert "Is the controller running" in message


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def tls_controller(certificates: Certificates, controller: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A fake controller behind TLS; parametrised with True it demands a client certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca)
    context.load_cert_chain(*certificates.server)
    if getattr(request, "param", False):
        context.verify_mode = ssl.CERT_REQUIRED
    fake = type(controller)(context)
    yield fake
    fake.close()


def test_own_ca(connect: Callable[..., PinotControllerHook], tls_controller: Any, certificates: Certificates) -> None:
    hook = connect(port=tls_controller.port, schema="https", extra={"verify": str(certificates.ca)})
    assert hook.test_connection() == (True, "Pinot 1.5.1 answers")


def test_an_unknown_ca_is_refused(connect: Callable[..., PinotControllerHook], tls_controller: Any) -> None:
    with connect(port=tls_controller.port, schema="https").get_conn() as client, pytest.raises(PinotTlsError):
        client.version()
    assert tls_controller.requests == []


def test_what_no_second_try_mends_is_asked_once(tls_controller: Any) -> None:
    def sleep(_: float) -> None:
        raise AssertionError("it is asked again")

    with (
        ControllerClient(f"https://127.0.0.1:{tls_controller.port}", sleep=sleep) as client,
        pytest.raises(PinotTlsError, match="the controller's certificate is not trusted"),
    ):
        client.version()


@pytest.mark.parametrize("verify", [False, "false", "False"])
def test_anybody_may_be_trusted(
    connect: Callable[..., PinotControllerHook], tls_controller: Any, verify: bool | str
) -> None:
    hook = connect(port=tls_controller.port, schema="https", extra={"verify": verify})
    assert hook.test_connection() == (True, "Pinot 1.5.1 answers")


@pytest.mark.parametrize("tls_controller", [True], indirect=True)
def test_client_certificate(
    connect: Callable[..., PinotControllerHook], tls_controller: Any, certificates: Certificates
) -> None:
    extra = {"verify": str(certificates.ca)}
    assert not connect(port=tls_controller.port, schema="https", extra=extra).test_connection()[0]
    cert, key = certificates.client
    extra |= {"client_cert": str(cert), "client_key": str(key)}
    assert connect(port=tls_controller.port, schema="https", extra=extra).test_connection()[0]


def test_tls_files_that_are_not_there(connect: Callable[..., PinotControllerHook]) -> None:
    ok, message = connect(schema="https", extra={"verify": "/nowhere/ca.pem"}).test_connection()
    assert not ok
    assert "/nowhere/ca.pem" in message
