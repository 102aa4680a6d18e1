"""The command line on a table of the sandbox, run in a process of its own as an operator does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.e2e.kit import Sync
from tests.terminal import on_terminal

# Runs a command as in three hours of four. In the fourth, a plan begins elsewhere in its table.
_NEWEST_DATA_FIRST = """
import sys
from deep_store_sync import plan
from deep_store_sync.command.main import main

plan.turn = lambda created_ms: None
sys.exit(main(sys.argv[1:]))
"""

# Runs a command, and kills its process where a given method is called for the nth time: before the call, or after it.
_KILLED = """
import os, signal, sys
from deep_store_sync.command.main import main
from deep_store_sync.publishing.segment_writes import SegmentWrites

name, nth, when = sys.argv[1], int(sys.argv[2]), sys.argv[3]
original, calls = getattr(SegmentWrites, name), 0

def deadly(self, *args, **kwargs):
    global calls
    calls += 1
    if calls == nth and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(self, *args, **kwargs)
    if calls == nth and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(SegmentWrites, name, deadly)
sys.exit(main(sys.argv[4:]))
"""


@dataclass(frozen=True)
class CommandLine:
    """`deep-store-sync` with the environment that it needs for one table."""

    sync: Sync
    environment: dict[str, str]

    @classmethod
    def of(cls, sync: Sync, folder: Path, **settings: Any) -> CommandLine:
        """Writes the table's file into the folder."""
        content = {
            "table": sync.table,
            "deepStorePrefixes": list(sync.settings.deep_store_prefixes),
            "workspace": sync.workspace,
            **settings,
        }
        (folder / f"{sync.table}.yaml").write_text(yaml.safe_dump(content))
        s3 = sync.sandbox.s3
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PINOT_", "AIRFLOW_"))
        }
        environment = kept | {
            "DEEP_STORE_SYNC_TABLES": str(folder),
            "PINOT_CONTROLLER_URL": sync.sandbox.controller_url,
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_REGION": s3.region,
            "AWS_ENDPOINT_URL_S3": s3.endpoint_url,
            "PYTHONWARNINGS": "ignore::ResourceWarning",
        }
        return cls(sync, environment)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        return self._run([sys.executable, "-c", _NEWEST_DATA_FIRST, *arguments])

    def on_terminal(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Exit code, and what a terminal is sent. `environment` is added."""
        command = [sys.executable, "-m", "deep_store_sync.command", *arguments]
        plain = {name: value for name, value in self.environment.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
        return on_terminal(command, plain | {"TERM": "xterm"} | environment)

    def killed(self, method: str, nth: int, when: str, *arguments: str) -> int:
        """The same, killed before or after the nth call of a method of `SegmentWrites`; returns the exit code."""
        return self._run([sys.executable, "-c", _KILLED, method, str(nth), when, *arguments])[0]

    def _run(self, command: Sequence[str]) -> tuple[int, str, str]:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=300, check=False)
        secret = self.environment["AWS_SECRET_ACCESS_KEY"]
        assert secret not in done.stdout + done.stderr
        return done.returncode, done.stdout, done.stderr
