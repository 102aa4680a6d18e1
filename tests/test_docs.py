"""Documents are true as far as a program can tell: links lead somewhere, code parses, what they name is there."""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel
from tests.deep_store_sync.config_fields import DOES_NOT_MATTER, MATTERING
from tests.markdown import BLOCKS, DOCUMENTS, REPOSITORY, Block, Document, code, rows

from deep_store_sync import errors
from deep_store_sync.command import exit_codes
from deep_store_sync.command import main as command_line
from deep_store_sync.model import Action, DeferredBy, Outcome, SegmentOutcome
from deep_store_sync.rows import to_parquet
from deep_store_sync.settings import Discovery, EngineSettings, TableSync
from deep_store_sync.table_files import BrokenTable, load_table

DOCS = {str(document): document for document in DOCUMENTS}
OPERATING, HOW_IT_WORKS = DOCS["docs/operating.md"], DOCS["docs/how-it-works.md"]
COMMAND_LINE = DOCS["docs/command-line.md"]
LANGUAGES = {"", "dockerfile", "json", "mermaid", "python", "sh", "yaml"}


def aliases(model: type[BaseModel]) -> set[str]:
    return {to_camel(name) for name in model.model_fields}


SETTINGS = aliases(TableSync) | aliases(Discovery) | {f"engine.{name}" for name in aliases(EngineSettings)}
PARAMS = {"forceReload", "dryRun", "segments", "maxSegments"}
OF_PINOTS_CONFIG = {name for path in {*MATTERING, *DOES_NOT_MATTER} for name in re.split(r"[.\[\]{}]+", path)}
# Not in the classes of table config and schema: values of free properties, instance settings, calls, other tools'.
OF_PINOT = {
    "deriveNumDocsPerChunk",
    "fstType",
    "isStale",
    "metadataTTL",
    "deletedKeysTTL",
    "needReload",
    "noRawDataForTextIndex",
    "rawValueForTextIndex",
    "reloadOnly",
    "targetDocsPerChunk",
    "targetMaxChunkSize",
    "useDataCrc",
}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document: Document) -> None:
    for link in document.links:
        if re.match(r"https?://", link):
            continue
        target, _, anchor = link.partition("#")
        path = (document.path.parent / target).resolve() if target else document.path
        assert path.exists(), f"{document}: {link}"
        assert path.is_relative_to(REPOSITORY), f"{document}: {link}"
        if anchor:
            assert anchor in Document(path).anchors, f"{document}: {link}"


def test_the_readme_leads_to_every_document() -> None:
    linked = {link.partition("#")[0] for link in DOCS["README.md"].links}
    assert {name for name in DOCS if name.startswith("docs/")} <= linked
    assert {"CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"} <= linked


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_code_parses(block: Block, tmp_path: Path) -> None:
    assert block.language in LANGUAGES
    if block.language == "python":
        compile(block.text, str(block), "exec")
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "yaml":
        content = yaml.safe_load(block.text)
        if isinstance(content, dict) and content.keys() & aliases(TableSync):
            table_file(content, tmp_path)
    elif block.language == "sh":
        for words in block.commands():
            if words[0] == "deep-store-sync":
                assert command_line._parser().parse_args(words[1:])


def table_file(content: dict[str, Any], folder: Path) -> None:
    """A table file with these settings, and what is required besides, has to be right."""
    required: dict[str, Any] = {"deepStorePrefixes": ["s3://b/d"], "workspace": "s3://b/w"}
    if not content.get("discover"):
        required["table"] = "t_OFFLINE"
    path = folder / "table.yaml"
    path.write_text(yaml.safe_dump({**required, **content}))
    loaded = load_table(path)
    assert not isinstance(loaded, BrokenTable), loaded.message


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_settings_that_are_named_are_there(document: Document, tmp_path: Path) -> None:
    for span in document.spans:
        name, colon, value = span.partition(": ")
        if colon and name in aliases(TableSync) and "…" not in value:
            table_file(yaml.safe_load(span), tmp_path)
        elif re.fullmatch(r"(engine\.)?[a-z][a-z0-9]*([A-Z][a-zA-Z0-9]*)+", span):
            assert span in SETTINGS | PARAMS | OF_PINOTS_CONFIG | OF_PINOT, f"{document}: {span}"
        elif span.startswith("engine."):
            assert span in SETTINGS, f"{document}: {span}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_commands_that_are_named_are_there(document: Document) -> None:
    for span in document.spans:
        if span.startswith("deep-store-sync ") and len(words := span.split()) > 2:
            assert command_line._parser().parse_args(words[1:])
        elif span.startswith("deep-store-sync "):
            assert words[1] in command_line._parser().format_help(), f"{document}: {span}"


def test_every_command_and_every_option_is_described() -> None:
    (commands,) = [of for of in command_line._parser()._actions if isinstance(of, argparse._SubParsersAction)]
    listed = [code(cells[0])[0] for cells in rows(COMMAND_LINE.section("The command line")) if code(cells[0])]
    assert sorted(listed) == sorted(commands.choices)
    shared = COMMAND_LINE.section("What all commands share")
    for name, parser in commands.choices.items():
        told = " ".join([shared, COMMAND_LINE.section(name), *(" ".join(words) for words in examples(name))])
        for option in [option for action in parser._actions for option in action.option_strings if option != "-h"]:
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", told), f"{name} {option}"
        assert examples(name), f"{name}: no example"


def examples(command: str) -> list[list[str]]:
    blocks = [block for block in COMMAND_LINE.blocks if block.language == "sh"]
    return [words for block in blocks for words in block.commands() if words[:2] == ["deep-store-sync", command]]


def test_every_exit_code_is_described() -> None:
    told = [cells[0] for cells in rows(COMMAND_LINE.section("What all commands share")) if cells[0].isdigit()]
    codes = [value for name, value in vars(exit_codes).items() if name.isupper()]
    assert sorted(told) == sorted(map(str, codes))


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_make_targets_that_are_named_are_there(document: Document) -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE))
    named = {span.split()[1] for span in document.spans if re.match(r"make [a-z]+\b", span)}
    named |= {words[1] for block in document.blocks if block.language == "sh" for words in block.commands()
              if words[0] == "make" and len(words) > 1}  # fmt: skip
    assert named <= targets


def test_every_outcome_is_explained() -> None:
    explained = [code(cells[0])[0] for cells in rows(OPERATING.section("Outcomes, and what to do"))]
    assert sorted(explained) == sorted(Outcome)


def test_every_reason_to_wait_is_explained() -> None:
    explained = [code(cells[0])[0] for cells in rows(OPERATING.section("Deferred"))]
    assert sorted(explained) == sorted(DeferredBy)


def test_every_error_is_explained() -> None:
    explained = [name for cells in rows(OPERATING.section("Errors of tasks")) for name in code(cells[0])]
    tree = {
        name: error
        for name, error in vars(errors).items()
        if isinstance(error, type) and issubclass(error, errors.DeepStoreSyncError)
    }
    assert sorted(explained) == sorted(tree.keys() - {"DeepStoreSyncError"})
    retried = {name for cells in rows(OPERATING.section("Errors of tasks")) for name in code(cells[0])
               if "*retried*" in cells[1]}  # fmt: skip
    assert retried == {name for name, error in tree.items() if error.transient}


def test_every_action_of_the_decision_table_is_named() -> None:
    table = HOW_IT_WORKS.section("Find: what is out of sync")
    for action in set(Action) - {Action.NOT_ELIGIBLE}:
        assert {Action.DEFER: "deferred"}.get(action, action) in table


def test_the_columns_of_the_report_are_those_that_it_has() -> None:
    told = [name for cells in rows(OPERATING.section("The report")) for name in code(cells[0])]
    assert sorted(told) == sorted(field.name for field in fields(SegmentOutcome))


def test_the_report_can_be_read_as_the_guide_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [SegmentOutcome("a", Outcome.SYNCED, uploaded_bytes=5), SegmentOutcome("b", Outcome.FAILED, "no disk")]
    (tmp_path / "report.parquet").write_bytes(to_parquet(rows, SegmentOutcome))
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in OPERATING.blocks if block.language == "python"]
    exec(compile(block.text, str(block), "exec"), {})
    assert "no disk" in capsys.readouterr().out


@pytest.mark.parametrize("section", ["Not eligible", "Incurable", "Failed"])
def test_messages_are_those_of_the_code(section: str) -> None:
    said = list(texts())
    for cells in rows(OPERATING.section(section)):
        for message in code(cells[0]):
            for part in filter(None, (part.strip() for part in message.split("…"))):
                assert any(part in text for text in said), f"{section}: {message}: nothing says {part!r}"


def texts() -> Iterator[str]:
    """Every text in the core's code but docstrings; of one with values in it, each part between them."""
    for path in (REPOSITORY / "include" / "deep_store_sync").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                yield node.value


def test_every_room_of_the_house_is_described() -> None:
    described = [name for cells in rows(DOCS["CONTRIBUTING.md"].section("The house")) for name in code(cells[0])]
    core = REPOSITORY / "include" / "deep_store_sync"
    for name in described:
        assert (core / name).is_dir() or (core / f"{name}.py").is_file(), name
    folders = {path.name for path in core.iterdir() if (path / "__init__.py").is_file()}
    assert folders <= set(described)


def test_the_changelog_has_this_version() -> None:
    version = re.search(r'^version = "(.+)"', (REPOSITORY / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert version
    assert f"## [{version[1]}]" in DOCS["CHANGELOG.md"].text


def test_a_setting_with_a_typo_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        table_file({"auditBugdet": 0}, tmp_path)
    with pytest.raises(ValidationError):
        TableSync.model_validate({"table": "t"})
