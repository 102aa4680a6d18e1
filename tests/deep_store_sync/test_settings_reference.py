"""The page and the JSON schema of the settings: written from them, and agreeing with what is accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from deep_store_sync.settings_reference import PAGE, SCHEMA, reference, table_schema, write_reference
from deep_store_sync.table_files import BrokenTable, load_table

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
SHARED = {"deepStorePrefixes": ["s3://b/d"], "workspace": "s3://b/w"}
REQUIRED = {"table": "flights_OFFLINE", **SHARED}
DISCOVERY = {"discover": True, **SHARED}

RIGHT: list[dict[str, Any]] = [
    {},
    {"table": "sales.flights_REALTIME"},
    {"schedule": None},
    {"schedule": "*/15 1-5 * * mon"},
    {"deepStorePrefixes": ["s3a://c", "s3://b/a/b/"]},
    {"auditBudget": 0},
    {"auditBudget": "1.5 TB"},
    {"batchBytes": "512MiB"},
    {"batchBytes": "1g"},
    {"proofTimeout": 90},
    {"proofTimeout": "1.5h"},
    {"keepStaged": "500 ms", "keepBackups": "14d"},
    {"engine": {}},
    {"engine": {"heap": "2GiB", "disk": None, "segmentTimeout": "90m", "maxGrowth": 2.5}},
    {"discover": False},
]
RIGHT_DISCOVERIES: list[dict[str, Any]] = [
    {},
    {"include": ["*_OFFLINE", "sales.*"], "exclude": ["tmp_*"], "discoverSchedule": "*/5 * * * *"},
    {"discoverSchedule": None, "maxTables": 5000, "startPaused": True, "retries": 0, "engine": {"heap": "1GiB"}},
]
WRONG: list[dict[str, Any]] = [
    {"table": "flights"},
    {"table": None},
    {"schedule": "daily"},
    {"deepStorePrefixes": []},
    {"deepStorePrefixes": ["gs://b/d"]},
    {"workspace": "s3://b/w?x"},
    {"auditBudget": "50 GiBs"},
    {"auditBudget": -1},
    {"batchBytes": "much"},
    {"batchSegments": 0},
    {"backup": "always"},
    {"maxDeferredShare": 1.5},
    {"proofTimeout": 0},
    {"proofTimeout": "5 minutes"},
    {"keepStaged": True},
    {"auditBugdet": 0},
    {"engine": {"heapp": "1GiB"}},
    {"engine": {"maxGrowth": 1}},
    {"engine": {"segmentTimeout": "1w"}},
    {"include": ["*"]},
    {"discover": False, "startPaused": True},
]
WRONG_DISCOVERIES: list[dict[str, Any]] = [
    {"table": "flights_OFFLINE"},
    {"discover": "yes"},
    {"discover": 0},
    {"include": []},
    {"include": "*"},
    {"exclude": [""]},
    {"maxTables": 0},
    {"discoverSchedule": "hourly"},
    {"auditBugdet": 0},
]


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    Draft7Validator.check_schema(table_schema())
    return Draft7Validator(table_schema())


def accepted(content: dict[str, Any], folder: Path) -> bool:
    path = folder / "table.yaml"
    path.write_text(yaml.safe_dump(content))
    return not isinstance(load_table(path), BrokenTable)


def test_the_published_ones_are_those_of_the_settings() -> None:
    advice = "run `make docs`, or python -m deep_store_sync.settings_reference docs"
    assert (DOCS / PAGE).read_text(encoding="utf-8") == reference(), advice
    assert json.loads((DOCS / SCHEMA).read_text(encoding="utf-8")) == table_schema(), advice


def test_they_are_written_into_a_folder(tmp_path: Path) -> None:
    write_reference(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {PAGE, SCHEMA}


@pytest.mark.parametrize("content", RIGHT, ids=str)
def test_what_is_right_is_right_to_both(schema: Draft7Validator, content: dict[str, Any], tmp_path: Path) -> None:
    assert accepted(REQUIRED | content, tmp_path)
    assert schema.is_valid(REQUIRED | content)


@pytest.mark.parametrize("content", WRONG, ids=str)
def test_what_is_wrong_is_wrong_to_both(schema: Draft7Validator, content: dict[str, Any], tmp_path: Path) -> None:
    assert not schema.is_valid(REQUIRED | content)
    if "GiBs" not in str(content):  # pydantic looks no further than it has to
        assert not accepted(REQUIRED | content, tmp_path)


@pytest.mark.parametrize("content", RIGHT_DISCOVERIES, ids=str)
def test_a_right_discovery_is_right_to_both(schema: Draft7Validator, content: dict[str, Any], tmp_path: Path) -> None:
    assert accepted(DISCOVERY | content, tmp_path)
    assert schema.is_valid(DISCOVERY | content)


@pytest.mark.parametrize("content", WRONG_DISCOVERIES, ids=str)
def test_a_wrong_discovery_is_wrong_to_both(schema: Draft7Validator, content: dict[str, Any], tmp_path: Path) -> None:
    assert not accepted(DISCOVERY | content, tmp_path)
    assert not schema.is_valid(DISCOVERY | content)


def test_required_settings_are_required(schema: Draft7Validator) -> None:
    for right in (REQUIRED, DISCOVERY):
        for name in right:
            assert not schema.is_valid({key: value for key, value in right.items() if key != name})


def test_defaults_are_right_as_they_are_written(schema: Draft7Validator, tmp_path: Path) -> None:
    properties = table_schema()["properties"]
    engine = {name: value["default"] for name, value in properties.pop("engine")["properties"].items()}
    defaults = {name: value["default"] for name, value in properties.items() if "default" in value}
    assert defaults["auditBudget"] == "50GiB"
    assert defaults["keepBackups"] == "14d"
    of_discovery = {name: defaults.pop(name) for name in table_schema()["else"]["properties"]}
    for content in (REQUIRED | defaults, DISCOVERY | defaults | of_discovery | {"discover": True}):
        assert schema.is_valid(content | {"engine": engine})
        assert accepted(content | {"engine": engine}, tmp_path)


def test_every_setting_says_what_it_is_for() -> None:
    properties = table_schema()["properties"]
    for name, setting in {**properties, **properties["engine"]["properties"]}.items():
        assert len(setting["description"]) > 20, name


@pytest.mark.parametrize("path", sorted((REPOSITORY / "include" / "tables").glob("*.y*ml")), ids=lambda path: path.name)
def test_table_files_of_the_repository_point_to_the_schema_and_fit_it(schema: Draft7Validator, path: Path) -> None:
    first, _, _ = path.read_text(encoding="utf-8").partition("\n")
    prefix = "# yaml-language-server: $schema="
    assert first.startswith(prefix)
    assert (path.parent / first.removeprefix(prefix)).resolve() == DOCS / SCHEMA
    # As an editor reads it: dates are text.
    content = json.loads(json.dumps(yaml.safe_load(path.read_text(encoding="utf-8")), default=str))
    assert [error.message for error in schema.iter_errors(content)] == []
