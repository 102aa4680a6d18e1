"""What can be checked of the deployment without Docker and Astro."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml
from airflow.sdk import Connection

from deep_store_sync.settings import TableSync
from deep_store_sync_airflow.hooks.pinot_controller import read_connection

REPOSITORY = Path(__file__).resolve().parents[2]
ASTRO = REPOSITORY / "astro-config"


def test_the_dockerfile_copies_what_is_there() -> None:
    copies = re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", (ASTRO / "Dockerfile").read_text(), flags=re.MULTILINE)
    paths = [path for sources in copies for path in sources.split()]
    assert len(paths) > 5
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []


def test_the_connections_are_those_of_the_defaults() -> None:
    airflow = yaml.safe_load((ASTRO / "airflow_settings.yaml").read_text())["airflow"]
    connections = {connection["conn_id"]: connection for connection in airflow["connections"]}
    fields = TableSync.model_fields
    assert set(connections) == {fields["controller_connection"].default, fields["aws_connection"].default}
    pinot = connections["pinot_controller_default"]
    access = read_connection(
        Connection(
            conn_id=pinot["conn_id"],
            conn_type=pinot["conn_type"],
            host=pinot["conn_host"],
            schema=pinot["conn_schema"],
            login=pinot["conn_login"],
            password=pinot["conn_password"],
            port=pinot["conn_port"],
            extra=json.dumps(pinot["conn_extra"]),
        )
    )
    assert access.base_url == "http://pinot-controller:9000"
    assert access.auth is None
    assert airflow["pools"][0]["pool_name"] == fields["pool"].examples[0]  # type: ignore[index]
