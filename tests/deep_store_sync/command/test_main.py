"""What the command line makes of its arguments, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from deep_store_sync.command.exit_codes import UNAVAILABLE, WRONG
from deep_store_sync.command.main import main
from deep_store_sync.command.tables import TABLES_VARIABLE

TABLE = """\
table: flights_OFFLINE
deepStorePrefixes: [s3://b/d]
workspace: s3://b/w
"""
NOWHERE = {"PINOT_CONTROLLER_URL": "http://127.0.0.1:9"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    (tmp_path / "flights.yaml").write_text(TABLE)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["verify", "--table", "orders_OFFLINE"], "no file for the table orders_OFFLINE; there are flights_OFFLINE"),
        (["verify", "--tables", "/no/such"], "/no/such: no such folder"),
        (["verify"], "set PINOT_CONTROLLER_URL"),
        (["unstamp"], "give --segment or --run"),
    ],
)
def test_what_is_wrong_with_the_call(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(arguments, {TABLES_VARIABLE: str(folder)}) == WRONG
    printed = capsys.readouterr()
    assert says in printed.err
    assert printed.out == ""


def test_the_folder_of_the_table_files_has_to_be_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"], {}) == WRONG
    assert "give their folder with --tables, or in DEEP_STORE_SYNC_TABLES" in capsys.readouterr().err


def test_a_wrong_table_file_stops_only_who_means_all_tables(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "orders.yaml").write_text("table: orders_OFFLINE\n")
    assert main(["verify"], {TABLES_VARIABLE: str(folder), **NOWHERE}) == WRONG
    assert "orders.yaml: workspace: required" in capsys.readouterr().err
    assert main(["verify", "--table", "orders_OFFLINE"], {TABLES_VARIABLE: str(folder), **NOWHERE}) == WRONG
    assert "orders.yaml: workspace: required" in capsys.readouterr().err
    right = ["--table", "flights_OFFLINE"]
    assert main(["verify", *right], {TABLES_VARIABLE: str(folder), **NOWHERE}) == UNAVAILABLE


def test_a_table_of_a_discovery_is_found_by_its_name_and_all_of_them_by_asking(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "all.yaml").write_text(
        "discover: true\nexclude: [tmp_*]\ndeepStorePrefixes: [s3://b/d]\nworkspace: s3://b/w\n"
    )
    environment = {TABLES_VARIABLE: str(folder), **NOWHERE}
    for arguments in (["verify"], ["verify", "--table", "orders_OFFLINE"], ["verify", "--table", "flights_OFFLINE"]):
        assert main(arguments, environment) == UNAVAILABLE
        asked = "/tables?" if arguments == ["verify"] else arguments[-1].removesuffix("_OFFLINE")
        assert asked.removesuffix("?") in capsys.readouterr().err
    assert main(["verify", "--table", "tmp_OFFLINE"], environment) == WRONG
    assert "no file for the table tmp_OFFLINE" in capsys.readouterr().err
    assert main(["verify", "--table", "orders"], environment) == WRONG


def test_a_controller_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--tables", str(folder)], NOWHERE) == UNAVAILABLE
    assert "Is the controller running" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["rollback"], ["verify", "--sample", "0"], ["verify", "--password", "x"]])
def test_what_argparse_refuses(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments, {})
    assert end.value.code == WRONG
