"""Tables by discovery: which are meant, whose settings they have, and what an answer of the controller may not do."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from deep_store_sync.discovery import find_tables, list_text, listed_tables
from deep_store_sync.errors import ConfigError, PinotAnswerError, PinotUnavailableError
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.settings import Discovery
from deep_store_sync.table_files import BrokenTable, LoadedDiscovery, LoadedTable, load_files, load_tables

LOG = logging.getLogger("test")
SHARED = "deepStorePrefixes: [s3://pinot/deepstore]\nworkspace: s3://pinot/deep-store-sync\n"


def controller(answer: Callable[[httpx.Request], httpx.Response]) -> ControllerClient:
    return ControllerClient("http://pinot:9000", transport=httpx.MockTransport(answer), retries=0)


def listing(*tables: str) -> ControllerClient:
    """A controller with these tables, as Pinot answers GET /tables."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/tables"
        kind = request.url.params["type"].upper()
        return httpx.Response(200, json={"tables": [table for table in tables if table.endswith(f"_{kind}")]})

    return controller(answer)


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(content)
    return folder


def discoveries(folder: Path) -> list[LoadedDiscovery]:
    return [file for file in load_files(folder) if isinstance(file, LoadedDiscovery)]


def means(**settings: Any) -> Discovery:
    return Discovery.model_validate({"discover": True, **settings})


# --- which tables are meant ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "meant"),
    [
        ({}, ["a_OFFLINE", "a_REALTIME", "sales.b_OFFLINE", "tmp_c_OFFLINE"]),
        ({"include": ["*_OFFLINE"]}, ["a_OFFLINE", "sales.b_OFFLINE", "tmp_c_OFFLINE"]),
        ({"include": ["*_OFFLINE"], "exclude": ["tmp_*", "sales.*"]}, ["a_OFFLINE"]),
        ({"include": ["a_*", "sales.?_OFFLINE"]}, ["a_OFFLINE", "a_REALTIME", "sales.b_OFFLINE"]),
        ({"include": ["A_*"]}, []),
    ],
)
def test_include_and_exclude(settings: dict[str, Any], meant: list[str]) -> None:
    tables = listing("tmp_c_OFFLINE", "a_REALTIME", "sales.b_OFFLINE", "a_OFFLINE")
    assert find_tables(tables, means(**settings), [], log=LOG) == meant


def test_too_many_leave_what_is_known() -> None:
    tables = listing(*(f"t{number}_OFFLINE" for number in range(4)))
    assert len(find_tables(tables, means(max_tables=4), [], log=LOG)) == 4
    with pytest.raises(ConfigError, match=r"4 tables are meant, more than maxTables \(3\).*narrow include"):
        find_tables(tables, means(max_tables=3), ["t0_OFFLINE"], log=LOG)


def test_none_any_more_leave_what_is_known() -> None:
    assert find_tables(listing(), means(), [], log=LOG) == []
    with pytest.raises(ConfigError, match="lists 0 tables, and none that is meant, so that the 1 known ones stay"):
        find_tables(listing(), means(), ["a_OFFLINE"], log=LOG)
    with pytest.raises(ConfigError, match="lists 1 tables, and none"):
        find_tables(listing("b_OFFLINE"), means(include=["a*"]), ["a_OFFLINE"], log=LOG)


@pytest.mark.parametrize(
    "body",
    [
        "<html>login</html>",
        "[]",
        "{}",
        '{"tables": null}',
        '{"tables": "a_OFFLINE"}',
        '{"tables": [1]}',
        '{"tables": ["a"]}',
        '{"tables": ["a_OFFLINE", "b"',
    ],
)
def test_an_answer_that_is_none(body: str) -> None:
    with pytest.raises(PinotAnswerError):
        find_tables(controller(lambda _: httpx.Response(200, text=body)), means(), [], log=LOG)


def test_half_an_answer_is_none() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.params["type"] == "realtime":
            return httpx.Response(503, json={"code": 503, "error": "ZooKeeper is away"})
        return httpx.Response(200, json={"tables": ["a_OFFLINE"]})

    with pytest.raises(PinotUnavailableError, match="ZooKeeper is away"):
        find_tables(controller(answer), means(), [], log=LOG)


def test_a_name_that_makes_no_dag_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    assert find_tables(listing("my table_OFFLINE", "a_OFFLINE"), means(), [], log=LOG) == ["a_OFFLINE"]
    assert "left out, since a DAG cannot have such a name: 'my table_OFFLINE'" in caplog.text


# --- the list --------------------------------------------------------------------------------------------------------


def test_a_list_is_kept_as_people_can_read_it() -> None:
    assert json.loads(list_text(["b_OFFLINE", "a_OFFLINE"])) == ["a_OFFLINE", "b_OFFLINE"]
    assert listed_tables(list_text(["b_OFFLINE", "a_OFFLINE"])) == ["a_OFFLINE", "b_OFFLINE"]


@pytest.mark.parametrize("text", ["", "a_OFFLINE", "{}", "[1]", '["a"]', '["../a_OFFLINE"]', "[", '["a b_OFFLINE"]'])
def test_what_is_no_list(text: str) -> None:
    with pytest.raises(ConfigError, match="it is not a JSON array of table names"):
        listed_tables(text)


# --- table files -----------------------------------------------------------------------------------------------------


def test_discovered_tables_share_the_settings_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, all=f"discover: true\nexclude: [tmp_*]\nauditBudget: 1GiB\nstartPaused: true\n{SHARED}")
    (discovery,) = discoveries(tmp_path)
    assert discovery.name == "all"
    tables = load_tables(tmp_path, lambda of: ["b_REALTIME", "a_OFFLINE", "tmp_c_OFFLINE"] if of == discovery else [])
    assert all(isinstance(table, LoadedTable) for table in tables)
    found = {table.settings.table: table for table in tables if isinstance(table, LoadedTable)}
    assert list(found) == ["a_OFFLINE", "b_REALTIME"]  # excluded ones not, though the list is older than the file
    assert {table.settings.audit_budget for table in found.values()} == {1024**3}
    assert found["a_OFFLINE"].discovery is not None
    assert found["a_OFFLINE"].discovery.start_paused


def test_nothing_is_asked_while_files_are_read(tmp_path: Path) -> None:
    write(tmp_path, all=f"discover: true\n{SHARED}", a=f"table: a_OFFLINE\n{SHARED}")
    (table,) = load_tables(tmp_path)
    assert isinstance(table, LoadedTable)
    assert table.settings.table == "a_OFFLINE"
    assert table.discovery is None


@pytest.mark.parametrize("own", [f"table: b_OFFLINE\nretries: 7\n{SHARED}", "table: b_OFFLINE\n"])
def test_a_tables_own_file_goes_first_even_if_it_is_wrong(tmp_path: Path, own: str) -> None:
    write(tmp_path, all=f"discover: true\n{SHARED}", b=own)
    tables = load_tables(tmp_path, lambda _: ["a_OFFLINE", "b_OFFLINE"])
    named = [table.settings.table if isinstance(table, LoadedTable) else table.table for table in tables]
    assert sorted(str(name) for name in named) == ["a_OFFLINE", "b_OFFLINE"]
    (of_b,) = [table for table, name in zip(tables, named, strict=True) if name == "b_OFFLINE"]
    assert of_b.path.name == "b.yaml"


def test_two_that_find_the_same_table(tmp_path: Path) -> None:
    write(tmp_path, one=f"discover: true\nretries: 1\n{SHARED}", two=f"discover: true\nretries: 2\n{SHARED}")
    lists = {"one": ["a_OFFLINE"], "two": ["a_OFFLINE", "b_OFFLINE"]}
    tables = load_tables(tmp_path, lambda of: lists[of.name])
    right = {table.settings.table: table.settings.retries for table in tables if isinstance(table, LoadedTable)}
    assert right == {"a_OFFLINE": 1, "b_OFFLINE": 2}
    (wrong,) = [table for table in tables if isinstance(table, BrokenTable)]
    assert "two.yaml: one.yaml has found the same tables (a_OFFLINE); exclude them in one of the files" in wrong.message


def test_a_list_that_is_not_to_be_had_breaks_its_own_file_alone(tmp_path: Path) -> None:
    def none(_: object) -> list[str]:
        raise ConfigError("the list is gone")

    write(tmp_path, all=f"discover: true\n{SHARED}", a=f"table: a_OFFLINE\n{SHARED}")
    right, wrong = load_tables(tmp_path, none)
    assert isinstance(right, LoadedTable)
    assert isinstance(wrong, BrokenTable)
    assert wrong.message == f"{tmp_path / 'all.yaml'}: the list is gone"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("discover: true\n", "workspace: required, and not given"),
        (f"discover: true\ntable: a_OFFLINE\n{SHARED}", "stands for many tables; take one of the two away"),
        (f"discover: true\ninclud: [a]\n{SHARED}", "includ: unknown setting; did you mean include?"),
        (f"discover: true\ninclude: []\n{SHARED}", "include: tuple should have at least 1 item"),
        (f"discover: true\ndiscoverSchedule: hourly\n{SHARED}", "'hourly' is not a cron expression"),
        (f"discover: true\nauditBudget: much\n{SHARED}", "auditBudget:"),
        (
            f"table: a_OFFLINE\nexclude: [a]\n{SHARED}",
            "exclude: unknown setting; only a file with discover: true has it",
        ),
    ],
)
def test_a_wrong_file(tmp_path: Path, content: str, says: str) -> None:
    write(tmp_path, all=content)
    (table,) = load_tables(tmp_path, lambda _: ["x_OFFLINE"])
    assert isinstance(table, BrokenTable)
    assert says in table.message
    assert discoveries(tmp_path) == []


def test_names_of_files_make_names_of_dags(tmp_path: Path) -> None:
    (tmp_path / "my tables.yml").write_text(f"discover: true\n{SHARED}")
    (tmp_path / "my-tables.yaml").write_text(f"discover: true\n{SHARED}")
    assert [discovery.name for discovery in discoveries(tmp_path)] == ["my-tables"]
    (wrong,) = load_tables(tmp_path)
    assert isinstance(wrong, BrokenTable)
    assert "has the same name; a discovery needs one of its own" in wrong.message
