"""Waiting for what somebody else does: a server, a thread, a process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

WAIT_S = 120.0


def until(done: Callable[[], bool]) -> None:
    """Come back when it is done. What is never done fails the test."""
    first_that(done, bool)


def first_that(ask: Callable[[], T], holds: Callable[[T], bool]) -> T:
    """The first answer that holds. Where none ever does, the test fails with the last one."""
    deadline = time.monotonic() + WAIT_S
    while not holds(answer := ask()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)
    return answer
