"""What can be checked of the deployment without Docker and Astro."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from airflow.sdk import Connection
from pydantic import ByteSize, TypeAdapter
from tests.markdown import REPOSITORY, Document

from deep_store_sync.settings import EngineSettings, LoadedTable, TableSync, load_table
from deep_store_sync_airflow.dag_factory import TABLES_VARIABLE
from deep_store_sync_airflow.hooks.pinot_controller import read_connection
from deep_store_sync_airflow.services import STOP_VARIABLE

ASTRO = REPOSITORY / "astro-config"
COMPOSE = ASTRO / "docker-compose.override.yml"
DEPLOYMENT = Document(REPOSITORY / "docs" / "deployment.md")
# What Compose knows of a service, as far as the file uses it (Compose specification).
SERVICE = {"image", "entrypoint", "command", "environment", "ports", "volumes", "networks", "depends_on", "restart"}


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


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


def test_the_compose_file_has_the_shape_of_one() -> None:
    content = compose()
    services = content["services"]
    assert {key for key in content if not key.startswith("x-")} == {"services", "volumes", "networks"}
    for name, service in services.items():
        assert service.keys() <= SERVICE, name
        assert service["networks"] == ["airflow"]
        assert set(service.get("depends_on", ())) <= services.keys()
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (ASTRO / source).is_dir() if source.startswith(".") else source in content["volumes"]
        # A short name of Docker Hub, and never "latest"; another registry can be set from outside.
        image = re.fullmatch(r"\$\{[A-Z_]+:-((?:[a-z-]+/)?[a-z-]+):([\w.-]+)\}", service["image"])
        assert image, name
        assert image[2] != "latest"


def test_the_compose_files_pinot_is_that_of_the_image() -> None:
    (of_image,) = re.findall(r"^ARG PINOT=(.+)$", (ASTRO / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert {s["image"] for n, s in compose()["services"].items() if n.startswith("pinot-")} == {
        f"${{PINOT_IMAGE:-{of_image}}}"
    }


def test_pinot_is_set_up_as_the_sandboxs_controller_is() -> None:
    """The names of the settings are those that a real controller is started with."""
    java = (REPOSITORY / "include" / "pinot_sandbox" / "java" / "sandbox" / "Cluster.java").read_text()
    known = set(re.findall(r'config\.put\("([\w.]+)"', java)) | {"controller.port"}
    controller, server = (settings(ASTRO / "pinot" / f"{name}.conf") for name in ("controller", "server"))
    assert controller.keys() <= known
    of_store = {key.removeprefix("pinot.controller."): value for key, value in controller.items() if ".s3" in key}
    assert of_store.items() <= {key.removeprefix("pinot.server."): value for key, value in server.items()}.items()
    services = compose()["services"]
    assert controller["controller.zk.str"] == "zookeeper:2181"
    assert {"zookeeper", "minio"} <= services.keys()
    for name in ("pinot-broker", "pinot-server"):
        words = services[name]["command"].split()
        assert words[words.index("-clusterName") + 1] == controller["controller.helix.cluster.name"]
        assert words[words.index("-zkAddress") + 1] == controller["controller.zk.str"]


def settings(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if line and not line.startswith("#"))


def test_table_file_connections_and_cluster_of_the_laptop_fit_together() -> None:
    controller, services = settings(ASTRO / "pinot" / "controller.conf"), compose()["services"]
    table = load_table(REPOSITORY / "include" / "tables" / "flights_OFFLINE.yaml")
    assert isinstance(table, LoadedTable)
    assert table.settings.deep_store_prefixes == (controller["controller.data.dir"],)
    bucket = table.settings.workspace.partition("://")[2].partition("/")[0]
    assert f"mkdir -p /data/{bucket} " in services["minio"]["command"]
    airflow = yaml.safe_load((ASTRO / "airflow_settings.yaml").read_text())["airflow"]
    aws = next(connection for connection in airflow["connections"] if connection["conn_id"] == "aws_default")
    assert aws["conn_login"] == services["minio"]["environment"]["MINIO_ROOT_USER"]
    assert aws["conn_login"] == services["pinot-controller"]["environment"]["AWS_ACCESS_KEY_ID"]
    endpoint = "pinot.controller.storage.factory.s3.endpoint"
    assert aws["conn_extra"]["endpoint_url"] == controller[endpoint] == "http://minio:9000"
    passwords = [services["minio"]["environment"]["MINIO_ROOT_PASSWORD"]]
    passwords += [
        services[name]["environment"]["AWS_SECRET_ACCESS_KEY"] for name in ("pinot-controller", "pinot-server")
    ]
    assert all(password.startswith("${MINIO_PASSWORD:?") for password in passwords)
    (variable,) = airflow["variables"]
    assert variable == {"variable_name": STOP_VARIABLE, "variable_value": ""}


def test_the_charts_values_are_those_of_a_worker_and_the_table_file_of_one_task() -> None:
    (values, table) = (yaml.safe_load(block.text) for block in DEPLOYMENT.blocks if block.language == "yaml")
    assert values["executor"] == "KubernetesExecutor"
    connections = {secret["envName"] for secret in values["secret"]}
    fields = TableSync.model_fields
    defaults = (fields["controller_connection"].default, fields["aws_connection"].default)
    assert connections == {f"AIRFLOW_CONN_{name.upper()}" for name in defaults}
    assert {variable["name"] for variable in values["env"]} == {TABLES_VARIABLE, "PINOT_HOME"}
    (mount,) = values["workers"]["extraVolumeMounts"]
    (volume,) = values["workers"]["extraVolumes"]
    assert mount["name"] == volume["name"]
    engine = EngineSettings.model_validate(table["engine"])
    assert str(engine.workdir) == mount["mountPath"]
    size = TypeAdapter(ByteSize).validate_python
    assert engine.disk is not None
    assert engine.disk < size(volume["emptyDir"]["sizeLimit"] + "B")
    limits = values["workers"]["resources"]["limits"]
    assert size(volume["emptyDir"]["sizeLimit"] + "B") <= size(limits["ephemeral-storage"] + "B")
    assert engine.heap is not None
    assert 2 * engine.heap * (engine.parallel_segments or 0) + 512 * 1024**2 < size(limits["memory"] + "B")
