"""One table's error hides no other's result, in lines, in JSON, and in the exit code."""

from __future__ import annotations

import argparse
import errno
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from deep_store_sync.command.every_table import for_every_table
from deep_store_sync.command.exit_codes import DONE, UNAVAILABLE, UNDONE, WRONG
from deep_store_sync.command.main import main
from deep_store_sync.command.output import say
from deep_store_sync.command.progress import shown
from deep_store_sync.command.tables import Failure
from deep_store_sync.errors import (
    ConfigError,
    DeepStoreSyncError,
    NotInTableError,
    PinotUnavailableError,
    VerificationError,
)
from deep_store_sync.settings import TableSync
from deep_store_sync.table_files import TABLES_VARIABLE

FULL = OSError(errno.ENOSPC, "No space left on device", "/work")
SETTINGS = "deepStorePrefixes: [s3://b/d]\nworkspace: s3://b/w\n"


def table(name: str) -> TableSync:
    return TableSync(table=f"{name}_OFFLINE", deep_store_prefixes=("s3://b/d",), workspace="s3://b/w")


def told(
    capsys: pytest.CaptureFixture[str], as_json: bool, *tables: TableSync | Failure, **errors: Exception
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error, where looking at some tables ends in errors."""

    def look(settings: TableSync) -> dict[str, Any]:
        name = settings.table.removesuffix("_OFFLINE")
        if name in errors:
            raise errors[name]
        return {"table": settings.table, "undone": name == "undone"}

    code = for_every_table(
        argparse.Namespace(json=as_json),
        list(tables),
        look,
        tell=lambda found: say(f"{found['table']} is looked at"),
        code=lambda found: UNDONE if found["undone"] else DONE,
        run_id="r",
    )
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_a_result_is_out_before_the_next_table_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written))  # kept back until it is full, as in a pipe
    before: list[str] = []

    def look(settings: TableSync) -> str:
        before.append(written.getvalue().decode())
        return settings.table

    for_every_table(argparse.Namespace(json=False), [table("a"), table("b")], look, tell=say)
    assert before == ["", "a_OFFLINE\n"]


class FakeGoneReader(io.StringIO):
    """A pipe that nobody reads any more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_nobody_who_listens_to_complaints_ends_no_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    with monkeypatch.context() as gone:
        gone.setattr(sys, "stderr", FakeGoneReader())
        with shown("looking", clock=lambda: now[0]) as show:
            now[0] = 60.0
            show(1, 2)
        code = told(capsys, False, table("a"), table("b"), a=FULL)
    assert code == (UNAVAILABLE, "b_OFFLINE is looked at\n", "")


def test_every_table_gets_its_result_or_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    tables = [table("a"), table("b"), Failure("c.yaml", ConfigError("c.yaml: wrong")), table("undone"), table("d")]
    errors = {"a": PinotUnavailableError("no answer"), "d": FULL}
    code, out, err = told(capsys, False, *tables, **errors)
    assert code == UNAVAILABLE
    assert out == "b_OFFLINE is looked at\nundone_OFFLINE is looked at\n"
    assert "a_OFFLINE: PinotUnavailableError: no answer" in err
    assert "c.yaml: c.yaml: wrong" in err
    assert "d_OFFLINE: OSError: /work: No space left on device; free some space there" in err
    assert "3 of 5 without a result: a_OFFLINE, c.yaml, d_OFFLINE" in err

    code, out, err_with_json = told(capsys, True, *tables, **errors)
    assert (code, err_with_json) == (UNAVAILABLE, err)
    document = json.loads(out)
    assert document["runId"] == "r"
    assert [(of["table"], of.get("error")) for of in document["tables"]] == [
        ("b_OFFLINE", None),
        ("undone_OFFLINE", None),
        ("a_OFFLINE", "PinotUnavailableError"),
        ("c.yaml", "ConfigError"),
        ("d_OFFLINE", "OSError"),
    ]
    assert document["tables"][2]["message"] == "no answer"


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ({}, UNDONE),
        ({"a": VerificationError("other rows")}, UNDONE),
        ({"a": ConfigError("wrong")}, WRONG),
        ({"a": PermissionError(errno.EACCES, "Permission denied", "/work")}, WRONG),
        ({"a": ConfigError("wrong"), "b": PinotUnavailableError("no answer")}, UNAVAILABLE),
        ({"a": FULL}, UNAVAILABLE),
    ],
    ids=["none", "segment", "config", "path", "both", "disk"],
)
def test_the_exit_code_says_the_worst(
    errors: dict[str, Exception], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, False, table("a"), table("b"), table("undone"), **errors)[0] == code


def test_what_one_table_has_no_other_has_to_have(capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = {"a": NotInTableError("a has no run r"), "b": NotInTableError("b has no run r")}
    code, out, err = told(capsys, True, table("a"), table("b"), table("c"), **nowhere)
    assert (code, err, [of["table"] for of in json.loads(out)["tables"]]) == (DONE, "", ["c_OFFLINE"])
    code, out, err = told(capsys, True, table("a"), table("b"), **nowhere)
    assert code == WRONG
    assert "a has no run r" in err
    assert "b has no run r" in err
    assert [of["error"] for of in json.loads(out)["tables"]] == ["NotInTableError", "NotInTableError"]
    code, _, err = told(capsys, False, table("a"), table("c"), c=PinotUnavailableError("no answer"), a=nowhere["a"])
    assert code == UNAVAILABLE
    assert "a has no run r" in err


def test_an_interrupt_leaves_the_document_of_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    def look(settings: TableSync) -> str:
        if settings.table == "b_OFFLINE":
            raise KeyboardInterrupt
        return settings.table

    with pytest.raises(KeyboardInterrupt):
        for_every_table(argparse.Namespace(json=True), [table("a"), table("b")], look, tell=say)
    assert json.loads(capsys.readouterr().out) == {"tables": ["a_OFFLINE"]}


COMMANDS = [
    ["plan"],
    ["explain", "s"],
    ["run"],
    ["verify"],
    ["rollback", "--run", "r"],
    ["unstamp", "--segment", "*"],
    ["doctor"],
    ["status"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_all_commands_do_it(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with one file is told beside what is found, or wrong, of another table."""
    (tmp_path / "flights.yaml").write_text(f"table: flights_OFFLINE\n{SETTINGS}")
    (tmp_path / "orders.yaml").write_text("table: orders_OFFLINE\n")
    environment = {TABLES_VARIABLE: str(tmp_path)}
    if command == ["status"]:
        monkeypatch.setenv("AWS_PROFILE", "no such profile")
    assert main([*command, "--json"], environment) == WRONG
    flights, orders = json.loads(capsys.readouterr().out)["tables"]
    assert (flights["table"], flights["error"]) == ("flights_OFFLINE", "ConfigError")
    assert "no such profile" in flights["message"] or "set PINOT_CONTROLLER_URL" in flights["message"]
    assert (orders["table"], orders["error"]) == ("orders_OFFLINE", "ConfigError")
    assert "orders.yaml: workspace: required" in orders["message"]


def test_errors_of_other_kinds_are_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        told(capsys, False, table("a"), a=ZeroDivisionError())
    assert issubclass(NotInTableError, ConfigError)
    assert issubclass(ConfigError, DeepStoreSyncError)
