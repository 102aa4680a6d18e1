"""From environment variables to a controller."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from deep_store_sync.command.connections import controller_access, open_services, open_store
from deep_store_sync.errors import ConfigError
from deep_store_sync.pinot.access import Access, BearerAuth
from deep_store_sync.settings import TableSync


def access(connection: str = "pinot_controller_default", **environment: str) -> Access:
    return controller_access(connection, environment)


def header(access: Access) -> str | None:
    request = httpx.Request("GET", access.base_url)
    if access.auth is not None:
        next(access.auth.auth_flow(request))
    return request.headers.get("authorization")


def test_an_address_alone() -> None:
    got = access(PINOT_CONTROLLER_URL="https://pinot:9443/controller/")
    assert (got.base_url, got.auth, got.verify) == ("https://pinot:9443/controller", None, True)


def test_user_and_password_and_what_else_there_is() -> None:
    got = access(
        PINOT_CONTROLLER_URL="http://pinot:9000",
        PINOT_CONTROLLER_USER="me",
        PINOT_CONTROLLER_PASSWORD="pass word",
        PINOT_CONTROLLER_DATABASE="sales",
        PINOT_CONTROLLER_VERIFY="false",
    )
    assert header(got) == "Basic bWU6cGFzcyB3b3Jk"
    assert got.headers == {"Database": "sales"}
    assert got.verify is False
    assert "pass word" not in repr(got)


def test_a_token_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("abc.def\n")
    got = access(PINOT_CONTROLLER_URL="http://pinot:9000", PINOT_CONTROLLER_TOKEN_FILE=str(file))
    assert isinstance(got.auth, BearerAuth)
    assert header(got) == "Bearer abc.def"


@pytest.mark.parametrize(
    "value",
    [
        json.dumps(
            {"conn_type": "pinot_controller", "host": "pinot", "port": 9443, "schema": "https", "login": "me",
             "password": "p@ss/word", "extra": {"database": "sales"}}
        ),
        json.dumps(
            {"host": "https://pinot", "port": "9443", "login": "me", "password": "p@ss/word",
             "extra": '{"database": "sales"}'}
        ),
        "pinot-controller://me:p%40ss%2Fword@pinot:9443/https?database=sales",
        "pinot-controller://https://me:p%40ss%2Fword@pinot:9443?database=sales",
        "pinot-controller://me:p%40ss%2Fword@pinot:9443/https?__extra__=%7B%22database%22%3A+%22sales%22%7D",
    ],
)  # fmt: skip
def test_airflows_own_variable_in_its_forms(value: str) -> None:
    got = access("prod", AIRFLOW_CONN_PROD=value)
    assert got.base_url == "https://pinot:9443"
    assert header(got) == "Basic bWU6cEBzcy93b3Jk"
    assert got.headers == {"Database": "sales"}


def test_the_address_goes_before_airflows_variable() -> None:
    environment = {"AIRFLOW_CONN_PROD": "pinot-controller://other:1", "PINOT_CONTROLLER_URL": "http://pinot:9000"}
    assert controller_access("prod", environment).base_url == "http://pinot:9000"


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "set PINOT_CONTROLLER_URL .* or AIRFLOW_CONN_PROD"),
        ({"PINOT_CONTROLLER_URL": "pinot:9000"}, "give the whole address with http://"),
        ({"PINOT_CONTROLLER_URL": "http://me:secret@pinot"}, "without credentials in it"),
        (
            {"PINOT_CONTROLLER_URL": "http://p", "PINOT_CONTROLLER_TOKEN": "secret", "PINOT_CONTROLLER_USER": "me"},
            "gives a token and a login",
        ),
        (
            {
                "PINOT_CONTROLLER_URL": "http://p",
                "PINOT_CONTROLLER_PASSWORD": "secret",
                "PINOT_CONTROLLER_PASSWORD_FILE": "/f",
            },
            "PINOT_CONTROLLER_PASSWORD_FILE are both set",
        ),
        ({"PINOT_CONTROLLER_URL": "http://p", "PINOT_CONTROLLER_TOKEN_FILE": "/no/such"}, "/no/such cannot be read"),
        ({"AIRFLOW_CONN_PROD": '{"password": "secret"'}, "AIRFLOW_CONN_PROD: neither a connection in JSON"),
        ({"AIRFLOW_CONN_PROD": '{"password": "secret", "login": "me"}'}, "AIRFLOW_CONN_PROD: host: not given"),
        ({"AIRFLOW_CONN_PROD": "pinot://me:secret@host:port"}, "neither a connection in JSON nor one as a URI"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_shown(environment: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        controller_access("prod", environment)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("environment", "region"),
    [
        ({"AWS_REGION": "eu-central-1"}, "eu-central-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-west-1"}, "eu-central-1"),
    ],
    ids=["region", "default region", "both"],
)
def test_the_region_of_the_store(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], region: str) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with open_store(TableSync(table="t_OFFLINE", deep_store_prefixes=("s3://b/d",), workspace="s3://b/w")) as store:
        assert store._client.meta.region_name == region


def test_each_store_has_the_credentials_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    for key in ("first", "second"):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
        settings = TableSync(table="t_OFFLINE", deep_store_prefixes=("s3://b/d",), workspace="s3://b/w")
        with open_store(settings) as store:
            signer: Any = store._client._request_signer  # type: ignore[attr-defined]
            assert signer._credentials.access_key == key


def test_calls_to_the_store_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "7")
    settings = TableSync.model_validate(
        {"table": "t_OFFLINE", "deepStorePrefixes": ["s3://b/d"], "workspace": "s3://b/w", "storeTimeout": "5s"}
    )
    with open_services(settings, {"PINOT_CONTROLLER_URL": "http://pinot:9000"}) as services:
        config = services.store._client.meta.config
    assert (config.connect_timeout, config.read_timeout, config.tcp_keepalive) == (5, 5, True)
    assert config.retries["total_max_attempts"] == 7
