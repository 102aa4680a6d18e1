"""What documents say of Airflow: its command lines, tasks, params and variables."""

from __future__ import annotations

import json
import re

import pytest
from airflow.cli.cli_parser import get_parser
from tests.markdown import BLOCKS, DOCUMENTS, REPOSITORY, Block, Document, code, rows

from deep_store_sync.settings import TableSync
from deep_store_sync_airflow.dag_factory import TAGS, build_dag
from deep_store_sync_airflow.run_request import run_params
from deep_store_sync_airflow.services import STOP_VARIABLE

COMMANDS = [(block, words) for block in BLOCKS if block.language == "sh" for words in block.commands()]
OPERATING = Document(REPOSITORY / "docs" / "operating.md")


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
    assert sorted(told) == sorted({*tasks, "table_file"})


def test_the_tag_to_be_alerted_by_is_on_every_dag(settings: TableSync) -> None:
    (tag,) = re.findall(r"DAGs with the tag `([^`]+)`", OPERATING.section("Alerts"))
    assert tag in TAGS
    assert tag in build_dag(settings).tags


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_variables_are_those_that_are_read(document: Document) -> None:
    for span in document.spans:
        if span.startswith("deep_store_sync_stop"):
            assert span in (STOP_VARIABLE, f"{STOP_VARIABLE}__flights_OFFLINE")
