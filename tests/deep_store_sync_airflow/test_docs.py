"""What documents say of Airflow: its command lines, tasks, params and variables."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from airflow.cli.cli_parser import get_parser
from airflow.serialization.serialized_objects import DagSerialization
from airflow.triggers.callback import CallbackTrigger
from tests.deep_store_sync_airflow.conftest import FLIGHTS
from tests.deep_store_sync_airflow.run_reports import REPORT, report
from tests.markdown import BLOCKS, DOCUMENTS, REPOSITORY, Block, Document, code, rows

from deep_store_sync.find import batch_name
from deep_store_sync.model import Outcome
from deep_store_sync.planning.order import Batch
from deep_store_sync.settings import TableSync
from deep_store_sync.spoken import spoken_pace
from deep_store_sync_airflow.assets import deep_store_asset
from deep_store_sync_airflow.dag_factory import TAGS, build_dag
from deep_store_sync_airflow.run_facts import changes, summary, table_status
from deep_store_sync_airflow.run_request import run_params
from deep_store_sync_airflow.services import STOP_VARIABLE

COMMANDS = [(block, words) for block in BLOCKS if block.language == "sh" for words in block.commands()]
OPERATING = Document(REPOSITORY / "docs" / "operating.md")
IN_AIRFLOW = Document(REPOSITORY / "docs" / "airflow.md")


@pytest.mark.parametrize(
    ("block", "words"),
    [(block, words) for block, words in COMMANDS if words[0] == "airflow"],
    ids=lambda value: str(value) if isinstance(value, Block) else " ".join(value[1:3]),
)
def test_command_lines_are_airflows(block: Block, words: list[str]) -> None:
    options = get_parser().parse_args([word.replace("…", "2026-01-01") for word in words[1:]])
    if conf := getattr(options, "conf", None):
        assert json.loads(conf).keys() <= run_params().keys()
    if words[1:3] == ["variables", "set"]:
        assert options.key in (STOP_VARIABLE, f"{STOP_VARIABLE}__flights_OFFLINE")


def test_every_task_is_in_the_table_of_alerts(settings: TableSync) -> None:
    told = [code(cells[0])[0] for cells in rows(OPERATING.section("Alerts"))]
    tasks = {task_id.rpartition(".")[2] for task_id in build_dag(settings).task_ids}
    assert sorted(told) == sorted({*tasks, "table_file", "list_tables"})


def test_the_tag_to_be_alerted_by_is_on_every_dag(settings: TableSync) -> None:
    (tag,) = re.findall(r"DAGs with the tag `([^`]+)`", OPERATING.section("Alerts"))
    assert tag in TAGS
    assert tag in build_dag(settings).tags


# --- what docs/airflow.md shows ---------------------------------------------------------------------------------------


def blocks(language: str) -> list[Block]:
    return [block for block in IN_AIRFLOW.blocks if block.language == language]


def test_events_and_state_are_as_shown() -> None:
    event, state = (json.loads(block.text) for block in blocks("json"))
    assert {key: type(value) for key, value in changes(REPORT).items()} == {
        key: type(value) for key, value in event.items()
    }
    assert table_status(REPORT, state["run"]).keys() == state.keys()


def test_names_and_notes_are_as_shown(settings: TableSync) -> None:
    shown = IN_AIRFLOW.spans
    assert summary(report(counts={Outcome.SYNCED: 12, Outcome.SKIPPED: 3})) in shown
    assert batch_name(Batch("b0001", 4, 1_600_000), "flights_2013-12", "flights_2013-09") in shown
    assert spoken_pace(1_200_000_000, 4_000_000_000, 60) in shown
    asset = deep_store_asset(settings)
    assert asset.name in shown
    assert asset.uri in shown
    assert f'schedule=[Asset(name="{asset.name}", uri="{asset.uri}")]' in shown


class Webhook(BaseHTTPRequestHandler):
    """A chat, which keeps what is posted."""

    def do_POST(self) -> None:
        self.server.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, str]]]:
    """What was posted to the chat that the connection leads to; the notifier is the module `chat`."""
    with HTTPServer(("127.0.0.1", 0), Webhook) as server:
        server.posted = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        connection = {"conn_type": "http", "password": f"http://127.0.0.1:{server.server_port}/hook"}
        monkeypatch.setenv("AIRFLOW_CONN_CHAT", json.dumps(connection))
        module = ModuleType("chat")
        monkeypatch.setitem(sys.modules, "chat", module)
        notifier, _ = blocks("python")
        exec(compile(notifier.text, str(notifier), "exec"), module.__dict__)
        yield server.posted  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def test_the_alerts_that_are_shown_work(
    chat: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flights.yaml").write_text(yaml.safe_dump(FLIGHTS))
    monkeypatch.setenv("DEEP_STORE_SYNC_TABLES", str(tmp_path))
    _, dag_file = blocks("python")
    found: dict[str, Any] = {}
    exec(compile(dag_file.text, str(dag_file), "exec"), found)
    dag = found["deep_store_sync__flights_OFFLINE"]
    DagSerialization.to_dict(dag)

    dag.on_failure_callback({"dag": dag})
    (deadline,) = dag.deadline if isinstance(dag.deadline, list) else [dag.deadline]
    context = {"dag_run": {"dag_id": dag.dag_id}}
    trigger = CallbackTrigger(deadline.callback.path, {**deadline.callback.kwargs, "context": context})

    async def fire() -> list[Any]:
        return [event.payload["state"] async for event in trigger.run()]

    assert [str(state) for state in asyncio.run(fire())] == ["running", "success"]
    assert chat == [
        {"text": "deep_store_sync__flights_OFFLINE is red: see its report"},
        {"text": "deep_store_sync__flights_OFFLINE has been at it for six hours"},
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_variables_are_those_that_are_read(document: Document) -> None:
    for span in document.spans:
        if span.startswith("deep_store_sync_stop"):
            assert span in (STOP_VARIABLE, f"{STOP_VARIABLE}__flights_OFFLINE")
