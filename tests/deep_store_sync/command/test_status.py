"""`deep-store-sync status`: what it tells of a workspace, and its exit codes. It asks no controller."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.deep_store_sync.overview.workspace_of_runs import TABLE, Runs, segment, skipped, synced

from deep_store_sync.command.exit_codes import DONE, UNAVAILABLE, UNDONE, WRONG
from deep_store_sync.command.main import main
from deep_store_sync.model import Outcome, SegmentOutcome
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.table_files import TABLES_VARIABLE
from pinot_sandbox.gateway import S3Gateway

Status = Callable[..., int]


@pytest.fixture
def runs(store: DeepStore, prefix: str) -> Runs:
    return Runs(store, prefix)


@pytest.fixture
def status(runs: Runs, gateway: S3Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Status:
    content = f"table: {TABLE}\ndeepStorePrefixes: [s3://b/d]\nworkspace: {runs.root}\n"
    (tmp_path / "flights.yaml").write_text(content)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", gateway.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", gateway.secret_key)
    monkeypatch.setenv("AWS_REGION", gateway.region)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", gateway.endpoint_url)
    return lambda *arguments: main(["status", *arguments], {TABLES_VARIABLE: str(tmp_path)})


def test_of_a_table_without_runs_nothing_is_known(status: Status, capsys: pytest.CaptureFixture[str]) -> None:
    assert status() == UNDONE
    assert "Nothing is known: no run has left a plan." in capsys.readouterr().out


def test_a_table_that_is_in_sync(runs: Runs, status: Status, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs.plan("first", skipped("a"), segment("b", batch="b0000"))
    run.batch("b0000", synced("b"))
    run.report()
    assert status("--table", TABLE) == DONE
    printed = capsys.readouterr().out
    assert "in sync" in printed
    assert "2 segments, 200 B" in printed
    assert "1 skipped, 1 synced; 150 B uploaded, 0 server downloads" in printed
    assert "Saved by 1 runs: 2 server downloads, 300 B" in printed


def test_what_is_left_is_told_with_its_reasons(runs: Runs, status: Status, capsys: pytest.CaptureFixture[str]) -> None:
    runs.plan("dry", skipped("a"), dry_run=True)
    run = runs.plan("real", skipped("a"), *(segment(name, batch="b0000") for name in "bc"), segment("d", batch="b0001"))
    run.batch("b0000", synced("b"), SegmentOutcome("c", Outcome.FAILED, "no such column: x"))
    assert status() == UNDONE
    printed = capsys.readouterr().out
    assert "1 out of sync: no such column: x" in printed
    assert "Not reported yet: real: 1 of 2 batches done, 2 of 3 segments" in printed
    assert "no report yet" in printed
    assert "dry run" in printed


def test_a_part_of_a_table_is_not_the_table(runs: Runs, status: Status, capsys: pytest.CaptureFixture[str]) -> None:
    runs.plan("slice", skipped("a"), segments=("a",)).report()
    assert status() == UNDONE
    assert "no run has looked at all segments yet" in capsys.readouterr().out


def test_a_broken_file_is_told(runs: Runs, status: Status, capsys: pytest.CaptureFixture[str]) -> None:
    runs.store.write_workspace(runs.plan("bad", skipped("a")).place.plan_url, b"<html>")
    assert status() == UNDONE
    assert "cannot be read" in capsys.readouterr().out


def test_json(runs: Runs, status: Status, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs.plan("real", skipped("a"))
    run.report()
    assert status("--json") == DONE
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    assert table["states"]["in sync"] == {"segments": 1, "bytes": 100}
    assert table["asOf"].endswith("+00:00")
    assert table["runs"][0]["runId"] == "real"
    assert table["runs"][0]["totals"]["counts"] == {"skipped": 1}
    assert table["saved"] == {"runs": 1, "downloads": 0, "bytes": 0}


def test_the_tables_of_a_discovery_are_those_with_a_folder_and_no_controller_is_asked(
    runs: Runs, status: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.plan("real", skipped("a")).report()
    for name in ("seen_REALTIME", "tmp_OFFLINE", "no table"):
        runs.store.write_workspace(f"{runs.root}/{quote(name)}/runs/r/1/note", b"")
    shared = f"deepStorePrefixes: [s3://b/d]\nworkspace: {runs.root}\n"
    for name in ("one", "two"):  # which of the two discovers it, the workspace does not say, and it is told once
        (tmp_path / f"{name}.yaml").write_text(f"discover: true\nexclude: [tmp_*]\n{shared}")
    status("--json")
    told = json.loads(capsys.readouterr().out)["tables"]
    assert [of["table"] for of in told] == [TABLE, "seen_REALTIME"]
    (tmp_path / "flights.yaml").unlink()
    assert status("--json", "--table", "tmp_OFFLINE") == WRONG


def test_a_workspace_that_cannot_be_listed_hides_no_table_with_a_file(
    runs: Runs, status: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.plan("real", skipped("a")).report()
    (tmp_path / "all.yaml").write_text(
        "discover: true\ndeepStorePrefixes: [s3://b/d]\nworkspace: s3://no-such-bucket/work\n"
    )
    assert status("--json") == UNAVAILABLE
    of_file, of_discovery = json.loads(capsys.readouterr().out)["tables"]
    assert (of_file["table"], of_file["states"]["in sync"]["segments"]) == (TABLE, 1)
    assert (of_discovery["table"], of_discovery["error"]) == ("all.yaml", "ObjectNotFoundError")


def test_a_workspace_that_cannot_be_read(
    status: Status, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert status() == UNAVAILABLE
    assert "DeepStoreUnavailableError" in capsys.readouterr().err
