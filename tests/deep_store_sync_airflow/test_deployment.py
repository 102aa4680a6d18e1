"""What can be checked of the deployment without Docker, Astro and Kubernetes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk import Connection
from pydantic import ByteSize, TypeAdapter
from tests.markdown import REPOSITORY, Document

from deep_store_sync.settings import EngineSettings, TableSync
from deep_store_sync.table_files import TABLES_VARIABLE, LoadedTable, load_table
from deep_store_sync_airflow.dag_factory import build_dags
from deep_store_sync_airflow.hooks.pinot_controller import read_connection

ASTRO, KUBERNETES = REPOSITORY / "astro-config", REPOSITORY / "kubernetes"
DOCKERFILES = {"astro": ASTRO / "Dockerfile", "kubernetes": KUBERNETES / "Dockerfile"}
COMPOSE = ASTRO / "docker-compose.override.yml"
DEPLOYMENT = Document(REPOSITORY / "docs" / "deployment.md")
# What Compose knows of a service, as far as the file uses it (Compose specification).
SERVICE = {"image", "entrypoint", "command", "environment", "ports", "volumes", "networks", "depends_on", "restart"}

Instructions = list[tuple[str, list[str]]]


def instructions(dockerfile: Path) -> Instructions:
    """A Dockerfile's instructions with their words, in order."""
    text = "\n".join(line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#"))
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
    return [(words[0], words[1:]) for words in map(shlex.split, filter(None, lines))]


@pytest.fixture(params=sorted(DOCKERFILES))
def dockerfile(request: pytest.FixtureRequest) -> Instructions:
    return instructions(DOCKERFILES[request.param])


def test_the_dockerfiles_know_their_instructions(dockerfile: Instructions) -> None:
    assert {name for name, _ in dockerfile} == {"ARG", "FROM", "USER", "RUN", "COPY", "ENV"}
    arguments = {words[0].partition("=")[0] for name, words in dockerfile if name == "ARG"}
    bases = [words[0] for name, words in dockerfile if name == "FROM"]
    # Both can be another registry's: none is named here.
    assert set(bases) == {f"${{{argument}}}" for argument in arguments}
    defaults = [words[0].partition("=")[2] for name, words in dockerfile if name == "ARG"]
    assert all(re.fullmatch(r"|[a-z-]+/[a-z-]+:[\d.]+", default) for default in defaults)


def test_the_dockerfiles_copy_what_is_there(dockerfile: Instructions) -> None:
    copies = [words for name, words in dockerfile if name == "COPY"]
    paths = [path for words in copies if "--from=pinot" not in words for path in words[:-1] if path[0] != "-"]
    assert len(paths) > 5
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []
    ignored = {line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if not line.startswith("#")}
    assert not ignored & {Path(path).parts[0] for path in paths}


@pytest.mark.parametrize(
    ("image", "user", "home", "installs"), [("astro", "astro", "/usr/local/airflow", "root"),
                                            ("kubernetes", "airflow", "/opt/airflow", "airflow")],
)  # fmt: skip
def test_an_image_is_laid_out_as_its_base_is(image: str, user: str, home: str, installs: str) -> None:
    """User and home of the Astro runtime, and of Apache Airflow's image: in this one pip refuses to work for root."""
    current, pips, places, environment = "", [], [], {}
    for name, words in instructions(DOCKERFILES[image]):
        if name == "USER":
            (current,) = words
        elif name == "RUN" and words[:2] == ["pip", "install"]:
            pips.append(current)
        elif name == "COPY" and (chown := f"--chown={user}:0") in words:
            places.append((words[words.index(chown) + 1], words[-1]))
        elif name == "ENV":
            environment.update(word.split("=", 1) for word in words)
    assert current == user
    assert pips == [installs]
    assert places == [("dags", f"{home}/dags"), ("include/tables", f"{home}/include/tables")]
    assert environment == {TABLES_VARIABLE: f"{home}/include/tables", "PINOT_HOME": "/opt/pinot"}


def test_what_the_images_install_is_the_project(dockerfile: Instructions) -> None:
    (destination,) = {words[-1] for name, words in dockerfile if name == "COPY" and "pyproject.toml" in words}
    (pip,) = [words for name, words in dockerfile if name == "RUN" and "pip" in words]
    said = " ".join(pip) + ((ASTRO / "requirements.txt").read_text() if "-r" in pip else "")
    assert destination.rstrip("/") in said


def test_the_laptops_recipe_leaves_nothing_hidden(tmp_path: Path) -> None:
    """`astro dev start` lays these folders of a project over the image's: all that is needed has to be in them."""
    (recipe,) = [block for block in DEPLOYMENT.blocks if "astro dev start" in block.text]
    project, programs = tmp_path / "project", tmp_path / "bin"
    project.mkdir()
    programs.mkdir()
    (programs / "astro").write_text('#!/bin/sh\necho "$@" > called\n')
    (programs / "astro").chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "ASTRO_PROJECT": str(project),
        "MINIO_PASSWORD": "laptop",
    }
    subprocess.run(["sh", "-eu", "-c", recipe.text], cwd=REPOSITORY, check=True, env=environment)
    assert (project / "called").read_text() == "dev start --image-name pinot-deep-store-sync\n"
    assert {path.name for path in (project / "dags").iterdir()} == {p.name for p in (REPOSITORY / "dags").glob("*.py")}
    assert [dag.dag_id for dag in build_dags(project / "include" / "tables")] == ["deep_store_sync__flights_OFFLINE"]
    content = yaml.safe_load((project / COMPOSE.name).read_text())
    volumes = [volume for service in content["services"].values() for volume in service.get("volumes", ())]
    assert all((project / volume.partition(":")[0]).is_dir() for volume in volumes if volume.startswith("."))
    settings_file = yaml.safe_load((project / "airflow_settings.yaml").read_text())
    assert "laptop" in [connection["conn_password"] for connection in settings_file["airflow"]["connections"]]


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


@pytest.mark.parametrize("image", sorted(DOCKERFILES))
def test_the_compose_files_pinot_is_that_of_the_images(image: str) -> None:
    (of_image,) = re.findall(r"^ARG PINOT=(.+)$", DOCKERFILES[image].read_text(), flags=re.MULTILINE)
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
    assert airflow["variables"] == []


def test_the_charts_values_are_those_of_a_worker_and_the_table_file_of_one_task() -> None:
    values = yaml.safe_load((KUBERNETES / "values.yaml").read_text())
    (table,) = (yaml.safe_load(block.text) for block in DEPLOYMENT.blocks if block.language == "yaml")
    assert values["executor"] == "KubernetesExecutor"
    connections = {secret["envName"] for secret in values["secret"]}
    fields = TableSync.model_fields
    defaults = (fields["controller_connection"].default, fields["aws_connection"].default)
    assert connections == {f"AIRFLOW_CONN_{name.upper()}" for name in defaults}
    # The keys that the chart documents, from 1.21 on.
    assert values.keys() == {"executor", "airflowVersion", "images", "secret", "workers"}
    assert values["workers"].keys() == {"kubernetes"}
    workers = values["workers"]["kubernetes"]
    assert workers.keys() == {"resources", "terminationGracePeriodSeconds", "extraVolumes", "extraVolumeMounts"}
    (mount,) = workers["extraVolumeMounts"]
    (volume,) = workers["extraVolumes"]
    assert mount["name"] == volume["name"]
    engine = EngineSettings.model_validate(table["engine"])
    assert str(engine.workdir) == mount["mountPath"]
    size = TypeAdapter(ByteSize).validate_python
    assert engine.disk is not None
    assert engine.disk < size(volume["emptyDir"]["sizeLimit"] + "B")
    limits = workers["resources"]["limits"]
    assert size(volume["emptyDir"]["sizeLimit"] + "B") <= size(limits["ephemeral-storage"] + "B")
    assert engine.heap is not None
    assert 2 * engine.heap * (engine.parallel_segments or 0) + 512 * 1024**2 < size(limits["memory"] + "B")


def test_the_chart_runs_the_image_that_is_built() -> None:
    values = yaml.safe_load((KUBERNETES / "values.yaml").read_text())
    image = values["images"]["airflow"]
    (recipe,) = [block for block in DEPLOYMENT.blocks if "kubernetes/Dockerfile" in block.text]
    (build,) = [words for words in recipe.commands() if "kubernetes/Dockerfile" in words]
    assert f'IMAGE="$REGISTRY/{image["repository"]}"\n' in recipe.text
    assert build[build.index("-t") + 1] == f"$IMAGE:{image['tag']}"
    assert f"AIRFLOW=apache/airflow:{values['airflowVersion']}" in build
    pinned = (REPOSITORY / "constraints.txt").read_text().splitlines()
    assert f"apache-airflow=={values['airflowVersion']}" in pinned
    version = re.search(r'^version = "(.+)"', (REPOSITORY / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert version
    assert image["tag"] == version[1]
