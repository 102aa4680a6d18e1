"""Every command over several tables on a real cluster: one that is wrong hides nothing of the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.command_line import CommandLine
from tests.e2e.kit import TABLE, Sync

from deep_store_sync.command.exit_codes import UNAVAILABLE, WRONG
from deep_store_sync.command.main import main

SEGMENT = "flights_2013-01"
GONE = "PinotNotFoundError"


@pytest.fixture
def shell(sync: Sync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """A table that was synced once, one that the controller does not have, and one whose file is wrong."""
    sync.sandbox.load_flights(months=[1])
    sync.run(force=True, run_id="first")
    shell = CommandLine.of(sync, tmp_path, engine={"jars": str(sync.sandbox.jars_dir)})
    content = (tmp_path / f"{TABLE}.yaml").read_text()
    (tmp_path / "gone.yaml").write_text(content.replace(TABLE, "gone_OFFLINE"))
    (tmp_path / "wrong.yaml").write_text("table: wrong_OFFLINE\n")
    for name, value in shell.environment.items():
        monkeypatch.setenv(name, value)
    return shell


def test_every_table_gets_its_result_or_its_error(shell: CommandLine, capsys: pytest.CaptureFixture[str]) -> None:
    def tell(*command: str) -> tuple[int, dict[str, dict[str, Any]]]:
        code = main([*command, "--json"], shell.environment)
        told = {of["table"]: of for of in json.loads(capsys.readouterr().out)["tables"]}
        assert "error" not in told[TABLE], told
        assert told["wrong_OFFLINE"]["error"] == "ConfigError"
        return code, told

    for command in (
        ["plan"],
        ["explain", SEGMENT],
        ["run"],
        ["verify"],
        ["unstamp", "--segment", "*", "--dry-run"],
    ):
        code, told = tell(*command)
        assert (code, told["gone_OFFLINE"]["error"]) == (UNAVAILABLE, GONE), command
    code, told = tell("rollback", "--run", "first", "--dry-run")
    assert (code, set(told)) == (WRONG, {TABLE, "wrong_OFFLINE"})  # the run is not the other table's
    for command in (["doctor"], ["status"]):
        code, told = tell(*command)
        assert (code, "error" in told["gone_OFFLINE"]) == (WRONG, False), command

    assert main(["verify"], shell.environment) == UNAVAILABLE
    printed = capsys.readouterr()
    assert f"{TABLE}: " in printed.out
    assert "1 true" in printed.out
    assert "gone_OFFLINE: PinotNotFoundError: " in printed.err
    assert "2 of 3 without a result: gone_OFFLINE, wrong_OFFLINE" in printed.err
