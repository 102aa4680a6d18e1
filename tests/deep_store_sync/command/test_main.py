"""What the command line makes of its arguments, and its exit codes."""

from __future__ import annotations

import argparse
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from deep_store_sync.command.exit_codes import NO_READER, UNAVAILABLE, WRONG
from deep_store_sync.command.main import _run, main
from deep_store_sync.table_files import TABLES_VARIABLE

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


def test_a_wrong_table_file_is_told_and_stops_no_other_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "orders.yaml").write_text("table: orders_OFFLINE\n")
    assert main(["verify"], {TABLES_VARIABLE: str(folder), **NOWHERE}) == UNAVAILABLE
    printed = capsys.readouterr().err
    assert "orders.yaml: workspace: required" in printed
    assert "flights_OFFLINE: PinotUnavailableError" in printed
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
        printed = capsys.readouterr().err
        if arguments == ["verify"]:  # the discovery fails, and hides no table that has a file of its own
            assert "all.yaml: PinotUnavailableError: GET http://127.0.0.1:9/tables:" in printed
            assert "flights_OFFLINE: PinotUnavailableError: GET http://127.0.0.1:9/tables/flights:" in printed
        else:
            assert f"/tables/{arguments[-1].removesuffix('_OFFLINE')}:" in printed
    assert main(["verify", "--table", "tmp_OFFLINE"], environment) == WRONG
    assert "no file for the table tmp_OFFLINE; there are flights_OFFLINE, and what all.yaml would discover" in (
        capsys.readouterr().err
    )
    assert main(["verify", "--table", "orders"], environment) == WRONG


def test_a_controller_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--tables", str(folder)], NOWHERE) == UNAVAILABLE
    assert "Is the controller running" in capsys.readouterr().err


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--table-config", str(tmp_path / "c.json"), "--schema", "s", "--output", "o"]
    assert main(["rebuild", "segment", *files, "--json"], {}) == WRONG
    printed = capsys.readouterr()
    assert f"{tmp_path / 'c.json'}: No such file or directory; check the path" in printed.err
    assert json.loads(printed.out)["error"] == "ConfigError"


@pytest.mark.parametrize("as_json", [False, True])
def test_a_full_disk_ends_in_words_and_a_code(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    def full(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert _run(argparse.Namespace(command=full, json=as_json), {}) == UNAVAILABLE
    printed = capsys.readouterr()
    words = "this machine: No space left on device; free some space there"
    assert f"deep-store-sync: OSError: {words}" in printed.err
    assert (json.loads(printed.out)["message"].startswith(words) if as_json else printed.out == "") is True


@pytest.fixture
def nobody_reads() -> Iterator[int]:
    """A pipe that nobody reads from, as after `| head`."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


def verify_into(output: int) -> tuple[int, str]:
    """Exit code and standard error of a command whose output goes there."""
    code = "import sys; from deep_store_sync.command.main import main; sys.exit(main(['verify', '--json'], {}))"
    done = subprocess.run([sys.executable, "-c", code], stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr


def test_an_output_that_nobody_reads_is_no_error(nobody_reads: int) -> None:
    code, err = verify_into(nobody_reads)
    assert code == NO_READER
    assert err.splitlines() == [err.strip()]
    assert "no table files" in err


def test_an_output_that_takes_nothing_is_one() -> None:
    with Path("/dev/full").open("w") as full:
        code, err = verify_into(full.fileno())
    assert code == UNAVAILABLE
    assert err.splitlines()[1].startswith(
        "deep-store-sync: the output could not be written: this machine: No space left on device; free some space"
    )
    assert len(err.splitlines()) == 2


@pytest.mark.parametrize("arguments", [[], ["rollback"], ["verify", "--sample", "0"], ["verify", "--password", "x"]])
def test_what_argparse_refuses(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments, {})
    assert end.value.code == WRONG
