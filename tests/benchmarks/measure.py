"""Processes, measured from outside: seconds, the most memory of the process and its children, the most disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from tests.benchmarks.job import Job

ROOT = Path(__file__).parents[2]
_LOOKS_PER_SECOND = 20


@dataclass(slots=True)
class Most:
    """The most that was seen of memory and of disk, in bytes."""

    rss: float = 0.0
    disk: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A process from its start to its end: seconds, what it told, MB of memory and of disk."""

    seconds: float
    told: dict[str, Any]
    rss_mb: float
    disk_mb: float


def run(side: str, job: Job) -> Measured:
    """Run `tests.benchmarks.<side>` on a job.

    Raises:
        SystemExit: it failed.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.benchmarks.{side}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with _watched(process.pid, Path(job.workdir)) as most:
        out, err = process.communicate(job.to_json())
        seconds = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"{side} failed:\n{err}\n{out}")
    return Measured(seconds, json.loads(out.splitlines()[-1]), most.rss / 1e6, most.disk / 1e6)


@contextmanager
def _watched(pid: int, folder: Path) -> Iterator[Most]:
    most, done = Most(), threading.Event()

    def look() -> None:
        while not done.wait(1 / _LOOKS_PER_SECOND):
            most.rss = max(most.rss, _memory(pid))
            most.disk = max(most.disk, _disk(folder))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield most
    finally:
        done.set()
        watcher.join()


def _memory(pid: int) -> float:
    total = 0
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
    return total


def _disk(folder: Path) -> float:
    total = 0
    for parent, _, names in os.walk(folder):  # which passes over folders that go away meanwhile
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(parent, name).stat().st_blocks * 512
    return total
