"""The parts of the demo that need neither cluster nor Airflow."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deep_store_sync.table_files import LoadedTable, load_table
from pinot_sandbox import S3Gateway, SandboxError, demo_run, demo_stage
from pinot_sandbox.__main__ import main
from pinot_sandbox.shell import without_proxy

FAKE_SANDBOX: Any = SimpleNamespace(
    deep_store_url="s3://pinot/deepstore",
    jars_dir=Path("/jars"),
    controller_url="http://127.0.0.1:4711",
    s3=S3Gateway("moto", "http://127.0.0.1:4712", "key", "secret"),
)


def test_the_table_file_is_a_right_one(tmp_path: Path) -> None:
    path = tmp_path / "flights_OFFLINE.yaml"
    path.write_text(demo_stage.table_file(FAKE_SANDBOX, "s3://pinot/deep-store-sync"))
    table = load_table(path)
    assert isinstance(table, LoadedTable)
    assert table.settings.table == demo_stage.TABLE
    assert table.settings.schedule is None
    assert table.settings.engine.jars == Path("/jars")


def test_the_connections_lead_to_the_sandbox() -> None:
    connections = {name: json.loads(value) for name, value in demo_stage.connections(FAKE_SANDBOX).items()}
    assert connections["pinot_controller_default"] == {
        "conn_type": "pinot_controller",
        "host": "127.0.0.1",
        "port": 4711,
    }
    assert connections["aws_default"]["extra"]["endpoint_url"] == "http://127.0.0.1:4712"
    assert (connections["aws_default"]["login"], connections["aws_default"]["password"]) == ("key", "secret")


def test_this_machine_is_reached_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.com")
    assert without_proxy()["NO_PROXY"] == "example.com,127.0.0.1,localhost"


def test_what_did_not_come_out_as_told_fails_the_demo() -> None:
    demo_stage.check(True, "all is well")
    with pytest.raises(SandboxError, match="did not come out as told: 3 downloads"):
        demo_stage.check(False, "3 downloads")


def test_of_a_failed_task_its_error_is_told() -> None:
    log = "::group::Pre\n::endgroup::\nTask failed with exception\nConfigError: no jars\n::group::Post\n::endgroup::"
    assert demo_run.last_words(log) == "ConfigError: no jars"
    assert demo_run.last_words("killed") == "killed"


def test_only_logs_are_kept(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    for path in ("pinot/logs/pinot.log", "pinot/s3/object", "airflow/logs/scheduler.log", "airflow/passwords.json"):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).touch()
    assert demo_stage.keep_logs(home) == [home / "airflow" / "logs", home / "pinot" / "logs"]
    assert {path.name for path in home.rglob("*") if path.is_file()} == {"pinot.log", "scheduler.log"}


def test_where_there_are_no_logs_nothing_is_kept(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    (home / "tables").mkdir(parents=True)
    assert demo_stage.keep_logs(home) == []
    assert not home.exists()


def test_a_missing_tool_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("signal.signal", lambda *_: None)  # the handler would stay for the tests that follow
    assert main(["demo"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("No java in PATH: the sandbox needs a JDK, 17 or later.")
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("deep-store-sync-demo-*"))
