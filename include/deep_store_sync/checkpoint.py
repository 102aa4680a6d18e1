"""Stopping long work between two steps of it, however deep inside it is.

What may go on for long (a download, a digest, an upload, a wait) calls `checkpoint()` now and then. That does nothing,
unless the work runs inside `checkpoints`: then it runs a check, which lets the work go on or raises what is to end it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_check: ContextVar[Callable[[], None]] = ContextVar("checkpoint", default=lambda: None)


def checkpoint() -> None:
    """Raise what the work around this is to end with, if it is to end."""
    _check.get()()


@contextmanager
def checkpoints(check: Callable[[], None]) -> Iterator[None]:
    """Have `check` run at each checkpoint of this thread inside the block, after the checks of the blocks around it."""
    outer = _check.get()

    def both() -> None:
        outer()
        check()

    token = _check.set(both)
    try:
        yield
    finally:
        _check.reset(token)


class CheckedFile(io.BufferedReader):
    """A file for others to read from (a packer, an HTTP client): each read is a checkpoint."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.open("rb", buffering=0))

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file, after a checkpoint."""
        checkpoint()
        return super().read(size)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """As of any file, after a checkpoint."""
        checkpoint()
        return super().readinto(buffer)
