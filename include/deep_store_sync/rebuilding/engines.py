"""The engine processes of a batch: one for each segment that is rebuilt at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deep_store_sync.checkpoint import checkpoint
from deep_store_sync.jvm.process import EngineProcess

_LOOK_EVERY_S = 0.1


class EnginePool:
    """Engine processes, made as they are needed, and lent to one thread at a time."""

    def __init__(self, make: Callable[[], EngineProcess], most: int) -> None:
        self._make = make
        self._places = threading.Semaphore(most)
        self._idle: list[EngineProcess] = []
        self._all: list[EngineProcess] = []

    def begin(self) -> None:
        """Have a first engine start while there is nothing for it to do yet."""
        with self.lent() as engine:
            engine.begin()

    @contextmanager
    def lent(self) -> Iterator[EngineProcess]:
        """An engine, once there is a free one: one that has run already, where there is one."""
        with place(self._places):
            try:
                engine = self._idle.pop()
            except IndexError:
                engine = self._make()
                self._all.append(engine)
            try:
                yield engine
            finally:
                self._idle.append(engine)

    def close(self) -> None:
        """End all processes, whatever they are doing."""
        for engine in self._all:
            engine.close()


@contextmanager
def place(places: threading.Semaphore) -> Iterator[None]:
    """One of a number of places, once there is a free one. Waiting for it is a checkpoint."""
    while not places.acquire(timeout=_LOOK_EVERY_S):
        checkpoint()
    try:
        yield
    finally:
        places.release()
