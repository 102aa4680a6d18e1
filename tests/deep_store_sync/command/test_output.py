"""Colours and bars on terminals, and only there."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from tests.terminal import on_terminal

TABLE = """
from deep_store_sync.command.output import complain, heading, table
heading("flights")
table(("CHECK", "VERDICT", "FOUND"), [("store", "ok", "fine"), ("jars", "failed", "none\\n there")])
complain("wrong")
"""
BAR = """
import logging, sys, time
from deep_store_sync.command.progress import StandardError, counting
logging.basicConfig(handlers=[StandardError()], level=logging.WARNING, format="%(message)s")
with counting("checking segments") as done:
    for number in range(1, 41):
        done(number, 40)
        time.sleep(0.02)
        if number == 20:
            logging.getLogger().warning("in the middle")
print("the result")
"""
PLAIN = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM", "FORCE_COLOR")}
COLOUR = re.compile(r"\x1b\[3\dm")


def test_a_terminal_gets_colours() -> None:
    code, shown = on_terminal([sys.executable, "-c", TABLE], PLAIN | {"TERM": "xterm"})
    assert code == 0
    assert "\x1b[1mflights\x1b[0m" in shown
    assert "store  \x1b[32mok     \x1b[0m  fine" in shown
    assert "\x1b[31mfailed \x1b[0m  none there" in shown
    assert "\x1b[31mwrong\x1b[0m" in shown


@pytest.mark.parametrize(
    "environment", [{"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}, {}], ids=["NO_COLOR", "dumb", "none"]
)
def test_whoever_does_not_want_them_gets_none(environment: dict[str, str]) -> None:
    _, shown = on_terminal([sys.executable, "-c", TABLE], PLAIN | environment)
    assert "\x1b[" not in shown
    assert "store  ok       fine" in shown


def test_nor_does_a_pipe() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TABLE], env=PLAIN | {"TERM": "xterm"}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "flights\nCHECK  VERDICT  FOUND\nstore  ok       fine\njars   failed   none there\n"
    assert done.stderr == "wrong\n"


@pytest.mark.parametrize("no_color", [False, True], ids=["colour", "NO_COLOR"])
def test_a_bar_on_a_terminal_with_log_lines_above_it(no_color: bool) -> None:
    environment = PLAIN | {"TERM": "xterm"} | ({"NO_COLOR": "1"} if no_color else {})
    code, shown = on_terminal([sys.executable, "-c", BAR], environment)
    assert code == 0
    assert "━" in shown
    assert "of 40" in shown
    assert bool(COLOUR.search(shown)) is not no_color
    # The bar was taken away for it, and came again below.
    above = next(line for line in shown.split("\n") if "in the middle" in line)
    assert above.rpartition("\x1b[2K")[2].rstrip() == "in the middle"
    # The bar is gone in the end, and the result stands alone.
    assert shown.rstrip().split("\n")[-1].rpartition("\x1b[2K")[2].strip() == "the result"


def test_elsewhere_a_result_and_log_lines_only() -> None:
    done = subprocess.run([sys.executable, "-c", BAR], env=PLAIN, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("the result\n", "in the middle\n")


def test_elsewhere_a_long_work_tells_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    from deep_store_sync.command.progress import shown

    now = iter([0.0, 1.0, 14.0, 16.0, 20.0, 40.0])
    with shown("verifying", clock=lambda: next(now)) as show:
        for number in range(5):
            show(number, 5, f"{number} of 5")
    assert capsys.readouterr().err == "verifying: 2 of 5\nverifying: 4 of 5\n"
