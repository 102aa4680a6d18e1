"""What Celery workers take of their machine, seen from outside, several times a second."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from deep_store_sync.rebuilding.disk import used_bytes
from pinot_sandbox.live_airflow import LiveAirflow

_EVERY_S = 0.2


@dataclass(slots=True)
class Taken:
    """The most of a worker at any moment: engine processes, bytes of memory of one of them, bytes of disk."""

    engines: int = 0
    engine_bytes: int = 0
    disk_bytes: int = 0


@contextmanager
def watched(airflow: LiveAirflow, workers: int) -> Iterator[list[Taken]]:
    """What each worker takes, for as long as the block runs."""
    most, done = [Taken() for _ in range(workers)], threading.Event()

    def look() -> None:
        while not done.wait(_EVERY_S):
            for number, taken in enumerate(most):
                _look(airflow, number, taken)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def disk(airflow: LiveAirflow, number: int) -> Path:
    """The folder that stands for a worker's disk."""
    return airflow.home / f"worker{number}"


def _look(airflow: LiveAirflow, number: int, taken: Taken) -> None:
    engines = []
    with suppress(psutil.NoSuchProcess):  # of one that was killed, there is nothing to see
        for process in airflow.worker(number):
            with suppress(psutil.Error):
                if "deep_store_sync.jvm.worker" in process.cmdline():
                    engines.append(process.memory_full_info().uss)
    taken.engines = max(taken.engines, len(engines))
    taken.engine_bytes = max([taken.engine_bytes, *engines])
    taken.disk_bytes = max(taken.disk_bytes, used_bytes(disk(airflow, number)))
