"""What the demo is played on: cluster, sample table and Airflow, and what is checked of all three."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import yaml

from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.store.deep_store import DeepStore
from pinot_sandbox import flights
from pinot_sandbox.demo_tables import Screen
from pinot_sandbox.errors import SandboxError
from pinot_sandbox.gateway import GatewayKind
from pinot_sandbox.live_airflow import LiveAirflow
from pinot_sandbox.sandbox import Sandbox
from pinot_sandbox.segment_facts import TableFacts
from pinot_sandbox.shell import without_proxy
from pinot_sandbox.toolchain import pinot_version

TABLE: Final = f"{flights.TABLE}_OFFLINE"
DAG: Final = f"deep_store_sync__{TABLE}"
SEGMENTS: Final = 12


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that is up. `workspace` is the URL of the DAG's workspace, `tables` the folder with its table file.

    `facts` looks at the table.
    """

    screen: Screen
    sandbox: Sandbox
    airflow: LiveAirflow
    store: DeepStore
    facts: TableFacts
    workspace: str
    tables: Path


@contextlib.contextmanager
def set_up(screen: Screen, home: Path, s3: Literal["auto"] | GatewayKind) -> Iterator[Stage]:
    """Starts cluster and Airflow and loads the sample table; all ends with the context.

    Args:
        screen: Told what is being done.
        home: A folder for their files.
        s3: The S3 gateway, as for `Sandbox.start`.

    Raises:
        SandboxError: A tool is missing, or something did not start.
    """
    screen.chapter("A Pinot cluster, a table, an Airflow")
    with contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox.start(home / "pinot", s3=s3, progress=screen.line))
        workspace = workspace_of(sandbox)
        with screen.working(f"loading the sample table {TABLE}"):
            segments = sandbox.load_flights()
        [[rows]] = sandbox.query("select count(*) from flights")
        check((rows, len(segments)) == (flights.ROWS, SEGMENTS), f"{rows} rows, {len(segments)} segments were loaded")
        tables = home / "tables"
        write_table_file(sandbox, tables)
        with screen.working("starting Airflow (API server, scheduler, DAG processor, triggerer), half a minute"):
            airflow = stack.enter_context(
                LiveAirflow(
                    tables=tables,
                    connections=connections(sandbox),
                    home=home / "airflow",
                    environment=without_proxy(),
                )
            )
            airflow.unpause(DAG)
        check(not airflow.import_errors(), f"DAGs could not be imported: {airflow.import_errors()}")
        client = sandbox.s3.client()
        stack.callback(client.close)
        controller = stack.enter_context(ControllerClient(sandbox.controller_url))
        store = DeepStore(client)
        facts = TableFacts(sandbox, controller, store, TABLE)
        screen.table("What runs", ("Part", "Which", "Where"), _parts(sandbox, airflow))
        yield Stage(screen, sandbox, airflow, store, facts, workspace, tables)


def check(true: bool, otherwise: str) -> None:
    """Fails the demo with what is the case, unless the story holds."""
    if not true:
        raise SandboxError(f"The demo did not come out as told: {otherwise}")


def workspace_of(sandbox: Sandbox) -> str:
    """The URL of the sample table's workspace."""
    return f"s3://{sandbox.s3.bucket}/deep-store-sync"


def write_table_file(sandbox: Sandbox, folder: Path) -> None:
    """Writes the table file of the sample table into a folder, which is made."""
    folder.mkdir()
    (folder / f"{TABLE}.yaml").write_text(table_file(sandbox, workspace_of(sandbox)))


def table_file(sandbox: Sandbox, workspace: str) -> str:
    """The settings of the sample table, as YAML. Two batches, so that one sees them work side by side."""
    return yaml.safe_dump(
        {
            "table": TABLE,
            "schedule": None,
            "deepStorePrefixes": [sandbox.deep_store_url],
            "workspace": workspace,
            "batchSegments": 6,
            "engine": {"jars": str(sandbox.jars_dir)},
        },
        sort_keys=False,
    )


def connections(sandbox: Sandbox) -> dict[str, str]:
    """The two connections that the DAG needs, by id, as JSON."""
    controller = urlsplit(sandbox.controller_url)
    s3 = sandbox.s3
    return {
        "pinot_controller_default": json.dumps(
            {"conn_type": "pinot_controller", "host": controller.hostname, "port": controller.port}
        ),
        "aws_default": json.dumps(
            {
                "conn_type": "aws",
                "login": s3.access_key,
                "password": s3.secret_key,
                "extra": {"endpoint_url": s3.endpoint_url, "region_name": s3.region},
            }
        ),
    }


def keep_logs(home: Path) -> list[Path]:
    """Removes all but the folders of logs, and returns those."""
    parts = [path for path in home.iterdir() if path.is_dir()]
    for path in [path for part in parts for path in part.iterdir() if path.name != "logs"]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    logs = sorted(part / "logs" for part in parts if (part / "logs").is_dir())
    if not logs:
        shutil.rmtree(home, ignore_errors=True)
    return logs


def _parts(sandbox: Sandbox, airflow: LiveAirflow) -> list[tuple[str, str, str]]:
    return [
        ("Pinot controller", f"{pinot_version()}, with ZooKeeper", sandbox.controller_url),
        *(
            (f"Pinot server {number}", pinot_version(), sandbox.server_admin_url(server))
            for number, server in enumerate(sandbox.servers, 1)
        ),
        ("deep store", f"S3, by {sandbox.s3.kind}", f"{sandbox.s3.endpoint_url}, {sandbox.deep_store_url}"),
        ("table", f"{flights.ROWS:,} flights of 2013", f"{TABLE}, {SEGMENTS} segments on both servers"),
        ("Airflow", f"on {airflow.database}", airflow.url),
    ]
