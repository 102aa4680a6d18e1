from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from deep_store_sync.errors import ConfigError, PinotUnavailableError
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync_airflow.services import airflow_errors, open_services


def test_services_come_from_the_connections(
    settings: TableSync, controller: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = {
        "conn_type": "aws",
        "login": "an-access-key",
        "password": "a-secret-key",
        "extra": {"endpoint_url": "http://127.0.0.1:1", "region_name": "us-east-1"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws))
    with open_services(settings) as services:
        assert services.settings is settings
        assert services.controller.version() == "1.5.1"
        assert services.servers.segment_crcs(f"http://127.0.0.1:{controller.port}", "flights_OFFLINE") == {}
        assert isinstance(services.store, DeepStore)
        assert services.store._client.meta.endpoint_url == "http://127.0.0.1:1"


def test_errors_become_airflows() -> None:
    with pytest.raises(PinotUnavailableError), airflow_errors():
        raise PinotUnavailableError("away")
    with pytest.raises(AirflowFailException, match=r"^ConfigError: wrong$"), airflow_errors():
        raise ConfigError("wrong")
    with pytest.raises(KeyError), airflow_errors():
        raise KeyError("a fault of ours")


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (
            {"profile_name": "nobody"},
            r"DeepStoreError: .*aws_default.*The config profile \(nobody\) could not be found",
        ),
        (
            {"endpoint_url": "minio:9000", "region_name": "us-east-1"},
            "ConfigError: connection aws_default: Invalid end",
        ),
    ],
    ids=["no such profile", "no URL"],
)
def test_a_wrong_aws_connection_is_not_tried_again(
    settings: TableSync, controller: Any, monkeypatch: pytest.MonkeyPatch, extra: dict[str, str], says: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws", "extra": extra}))
    with pytest.raises(AirflowFailException, match=says), airflow_errors(), open_services(settings):
        pass


def test_calls_to_the_store_end_in_time(settings: TableSync, controller: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "7")
    aws: dict[str, Any] = {"conn_type": "aws", "login": "key", "password": "secret"}
    aws["extra"] = {"region_name": "us-east-1"}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws))
    with open_services(settings) as services:
        config = services.store._client.meta.config
        assert (config.connect_timeout, config.read_timeout, config.tcp_keepalive) == (10, 60, True)
        assert config.retries["total_max_attempts"] == 7
    # The connection's own word counts for more than the table's.
    aws["extra"] = {
        "region_name": "us-east-1",
        "config_kwargs": {"read_timeout": 5, "s3": {"addressing_style": "path"}},
    }
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws))
    with open_services(settings.model_copy(update={"store_timeout": timedelta(minutes=5)})) as services:
        config = services.store._client.meta.config
        assert (config.connect_timeout, config.read_timeout) == (10, 5)
        assert config.s3["addressing_style"] == "path"
