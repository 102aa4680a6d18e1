"""How far a command is, on standard error: a bar on a terminal, and a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from deep_store_sync.command.output import is_terminal, whisper

# Without a terminal, so long between two lines.
_QUIET_S = 15.0


class Shown(Protocol):
    """Shows how far something is."""

    def __call__(self, done: float, total: float, words: str = "") -> None:
        """`done` of `total`, in any unit, and what else is to be told."""


class StandardError(logging.Handler):
    """Log lines on whatever standard error is at the time: above the bar, while there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)


@contextmanager
def shown(what: str, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Shown]:
    """Shows how far `what` is while the block runs."""
    if is_terminal(sys.stderr):
        with _bar(what) as show:
            yield show
    else:
        yield _lines(what, clock)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """The same for things that are counted."""
    with shown(what) as show:
        yield lambda done, total: show(done, total, f"{done:,} of {total:,}")


@contextmanager
def _bar(what: str) -> Iterator[Shown]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(20),
        TextColumn("{task.fields[words]}", markup=False),
    )
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task(what, total=None, words="")

        def show(done: float, total: float, words: str = "") -> None:
            progress.update(task, completed=done, total=total, words=words)

        yield show


def _lines(what: str, clock: Callable[[], float]) -> Shown:
    last = clock()

    def show(done: float, total: float, words: str = "") -> None:
        nonlocal last
        now = clock()
        if now - last >= _QUIET_S:
            last = now
            whisper(f"{what}: {words or f'{done:.0f} of {total:.0f}'}")

    return show
