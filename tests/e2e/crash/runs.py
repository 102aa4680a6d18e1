"""Runs in processes of their own, from where they are started and killed."""

from __future__ import annotations

import base64
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.e2e.crash import runtime as crash
from tests.e2e.crash.points import Kind, Site
from tests.e2e.kit import Sync

STEPS = ("find", "rebuild", "publish", "stamp", "report")
_ROOT = Path(__file__).parents[3]
_TIMEOUT_S = 180.0
_SOON = timedelta(milliseconds=1)
# A JVM that lives for seconds has no use for what is compiled well.
_QUICK_JAVA = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1"}


@dataclass(frozen=True)
class Kill:
    """Where a process is killed: `before` or `after` a point."""

    point: str
    when: str

    def __str__(self) -> str:
        return f"killed {self.when} {spoken(self.point)}"


def spoken(point: str) -> str:
    """A point as people read it: what led there, and what was asked."""
    operation, *frames = point.split(" < ")
    return " > ".join([*(frame.rsplit("/", 1)[-1] for frame in reversed(frames)), operation])


def passed_sites(point: str, sites: Sequence[Site]) -> set[Site]:
    """The sites of a point: where it leaves the process, and, for HTTP, the calls that lead there.

    S3 operations are known by what is sent: the method may be called on another line than it is named on.
    """
    operation, *frames = point.split(" < ")
    found = set()
    for depth, frame in enumerate(frames):
        module, qualname, line = frame.split(":")
        function = ".".join(name for name in qualname.split(".") if not name.startswith("<"))
        for site in sites:
            there = site.lines[0] <= int(line) <= site.lines[1]
            if site.wrapped:
                there = depth == 0 and site.operation == operation and (there or site.kind is Kind.S3)
            if there and (site.module, site.function) == (module, function):
                found.add(site)
    return found


@dataclass
class Run:
    """A run that is under way: what its steps have left so far."""

    run_id: str = field(default_factory=lambda: f"crash-{uuid.uuid4().hex[:12]}")
    multipart_threshold: int | None = None
    wave_segments: int = 1
    publish_by: str = "auto"
    whole_copies: bool = False
    forgets: bool = False
    left: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How a process ended: `killed` where it was told to die. `passed` are its points by step, in their order."""

    killed: bool
    passed: dict[str, list[str]]
    unlisted: tuple[str, ...]
    error: str | None

    @property
    def points(self) -> list[str]:
        return [point for points in self.passed.values() for point in points]


class Runs:
    """Starts the processes, one at a time. Close it, or use it as a context manager."""

    def __init__(self, sync: Sync, folder: Path) -> None:
        """`folder` gets notes and logs, what runs work in, and the temporary files that they should not have."""
        self._folder = folder
        self.work, self.temporary = folder / "work", folder / "tmp"
        self.work.mkdir()
        self.temporary.mkdir()
        settings = sync.settings.model_copy(
            update={
                "keep_backups": _SOON,
                "keep_staged": _SOON,
                # One engine, so that a run begins one JVM.
                "engine": sync.settings.engine.model_copy(update={"workdir": self.work, "parallel_segments": 1}),
            }
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self._log = (folder / "child.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.crash.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=_ROOT,
            env=environment | _QUICK_JAVA | {"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(self.temporary)},
        )
        self._unread = b""
        pickled = base64.b64encode(pickle.dumps(settings)).decode()
        s3 = asdict(sync.sandbox.s3)
        self._ask({"controller_url": sync.sandbox.controller_url, "s3": s3, "settings": pickled})
        self._line()

    def __enter__(self) -> Runs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process that makes the others."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._log.close()

    def go(self, run: Run, steps: Sequence[str] = STEPS, kill: Kill | None = None) -> Ended:
        """Have a process go through steps of a run, and die on the way. What it leaves goes on in `run`."""
        notes = self._folder / "notes"
        notes.unlink(missing_ok=True)
        self._ask(
            {
                "run_id": run.run_id,
                "left": run.left,
                "steps": list(steps),
                "kill": [kill.point, kill.when] if kill else None,
                "notes": str(notes),
                "multipart_threshold": run.multipart_threshold,
                "wave_segments": run.wave_segments,
                "publish_by": run.publish_by,
                "whole_copies": run.whole_copies,
                "forgets": run.forgets,
            }
        )
        pid = int(self._line())
        try:
            code = int(self._line())
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise
        return _read(notes, code, run)

    def log(self) -> str:
        """The last words of the processes."""
        self._log.flush()
        return (self._folder / "child.log").read_text(errors="replace")[-5000:]

    def _ask(self, asked: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout
        fd = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            if not select.select([fd], [], [], _TIMEOUT_S)[0]:
                raise TimeoutError(f"no answer within {_TIMEOUT_S:g} s: {self.log()}")
            data = os.read(fd, 4096)
            if not data:
                raise RuntimeError(f"the process that makes the others has ended: {self.log()}")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()


def _read(notes: Path, code: int, run: Run) -> Ended:
    step, error, killed = "", None, False
    passed: dict[str, list[str]] = {}
    unlisted: list[str] = []
    for line in notes.read_text().splitlines():
        kind, _, text = line.partition(" ")
        if kind == crash.PASSED:
            points = passed.setdefault(step, [])
            if text not in points:
                points.append(text)
        elif kind == crash.UNLISTED:
            unlisted.append(text)
        elif kind == crash.KILLED:
            killed = True
        else:
            said = json.loads(text)
            step, error = said.get("step", step), said.get("error", error)
            run.left = said.get("left", run.left)
    if code == -signal.SIGKILL:
        assert killed, "the process was killed by somebody else"
    elif code != 0 and error is None:
        error = f"exit code {code}"
    return Ended(code == -signal.SIGKILL, passed, tuple(dict.fromkeys(unlisted)), error)
