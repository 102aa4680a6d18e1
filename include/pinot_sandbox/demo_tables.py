"""What the demo shows: lines with a clock, tables that a person can read, and the tasks of a run as they go."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TextIO

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deep_store_sync.model import PlannedSegment, SegmentOutcome
from pinot_sandbox.segment_facts import SegmentFacts, WipedStart

_PLAIN_WIDTH: Final = 100
_NUMBER: Final = re.compile(r"[\d.,→ ]+( (s|kB|MB|bytes))?")
_ONLY_WAITING: Final = re.compile(r"(\d+ × )?waiting")
_WAITING: Final = frozenset(("None", "none", "scheduled", "queued"))
_STATE_STYLES: Final = {
    "success": "green",
    "running": "yellow",
    "deferred": "magenta",
    "failed": "bold red",
    "upstream_failed": "red",
    "up_for_retry": "yellow",
}

Rows = Sequence[Sequence[object]]


class Screen:
    """Standard output. Where it is no terminal: no colours, no moving parts, 100 columns. NO_COLOR is respected."""

    def __init__(self, file: TextIO | None = None) -> None:
        file = file or sys.stdout
        reconfigure = getattr(file, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="replace")  # an arrow is not worth a crash
        self.interactive: Final = file.isatty()
        width = None if self.interactive else _PLAIN_WIDTH
        self._console = Console(file=file, width=width, highlight=False, markup=False, emoji=False)
        self._start = time.monotonic()
        self._after_line = False

    def line(self, text: str) -> None:
        """One line, with the seconds since the demo began."""
        if not self._after_line:
            self._console.print()
        self._after_line = True
        clock = f"[{time.monotonic() - self._start:5.1f} s] "
        self._console.print(Text.assemble((clock, "dim"), text), soft_wrap=True)

    def say(self, text: str) -> None:
        """A paragraph."""
        self._paragraph(text)

    def chapter(self, title: str) -> None:
        """A heading."""
        self._paragraph("")
        self._console.rule(Text(title, style="bold"), align="left")

    @contextlib.contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Tells what is being done, and on a terminal that it still is."""
        self.line(text)
        with self._console.status(text) if self.interactive else contextlib.nullcontext():
            yield

    def table(self, title: str, columns: Sequence[str], rows: Rows, *, caption: str = "") -> None:
        """A table. Numbers are put to the right, and so are their columns' headings."""
        self._paragraph(Text(title, style="bold"))
        self._console.print(_table(columns, rows))
        if caption:
            self._console.print(caption)

    def diff(self, title: str, lines: Sequence[tuple[str, str]]) -> None:
        """What was taken out and what was added, a sign and a text each."""
        self._paragraph(Text(title, style="bold"))
        for sign, text in lines:
            self._console.print(f"  {sign} {text}", style="green" if sign == "+" else "red")

    def _paragraph(self, text: str | Text) -> None:
        self._after_line = False
        self._console.print()
        self._console.print(text)

    @contextlib.contextmanager
    def tasks(self, order: Sequence[str]) -> Iterator[Callable[[Mapping[str, str]], None]]:
        """Gives a function that shows the states of a run's tasks, to be called as often as they may have changed."""
        shown: dict[str, str] = {}

        def tell(states: Mapping[str, str]) -> None:
            for task, summary in task_summaries(states, order).items():
                if summary != shown.get(task) and not _ONLY_WAITING.fullmatch(summary):
                    self.line(f"  {task}: {summary}")
                shown[task] = summary

        if not self.interactive:
            yield tell
            return
        with Live(console=self._console, transient=True) as live:

            def draw(states: Mapping[str, str]) -> None:
                rows = [(task, _coloured(text)) for task, text in task_summaries(states, order).items()]
                live.update(_table(("Task", "State"), rows))

            yield draw


def _table(columns: Sequence[str], rows: Rows) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        right = bool(rows) and all(_NUMBER.fullmatch(str(row[number])) for row in rows)
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else str(cell) for cell in row))
    return table


def _coloured(summary: str) -> Text:
    style = next((style for state, style in _STATE_STYLES.items() if state in summary), "dim")
    return Text(summary, style=style)


def task_summaries(states: Mapping[str, str], order: Sequence[str]) -> dict[str, str]:
    """By task, in the order given, its state, or how many of its mapped instances are in which."""
    instances: dict[str, Counter[str]] = {}
    for task, state in states.items():
        state = "waiting" if state in _WAITING else state
        instances.setdefault(task.partition("[")[0], Counter())[state] += 1
    known = [task for task in order if task in instances] + sorted(instances.keys() - set(order))
    return {task: _summary(instances[task]) for task in known}


def _summary(states: Counter[str]) -> str:
    if states.total() == 1:
        return next(iter(states))
    return ", ".join(f"{count} × {state}" for state, count in sorted(states.items()))


def task_rows(instances: Sequence[Mapping[str, Any]], order: Sequence[str]) -> list[tuple[str, str, str]]:
    """The tasks of a run that has ended: name, states, and the seconds of its longest instance.

    Args:
        instances: Task instances as Airflow's REST API gives them.
        order: Names of tasks, first to last.
    """
    states: dict[str, str] = {}
    longest: dict[str, float] = {}
    for instance in instances:
        task = str(instance["task_id"])
        mapped = f"[{instance['map_index']}]" if instance["map_index"] >= 0 else ""
        states[task + mapped] = str(instance["state"])
        longest[task] = max(longest.get(task, 0.0), float(instance["duration"] or 0.0))
    return [(task, summary, f"{longest[task]:.1f} s") for task, summary in task_summaries(states, order).items()]


def plan_rows(plan: Sequence[PlannedSegment]) -> list[tuple[str, int, str, str]]:
    """A plan by action and reason: action, number of segments, bytes of their objects, reason."""
    sizes: dict[tuple[str, str], list[int]] = {}
    for row in plan:
        sizes.setdefault((str(row.action), row.reason), []).append(row.size_bytes)
    ordered = sorted(sizes.items(), key=lambda item: (-len(item[1]), item[0]))
    return [(action, len(found), decimal(sum(found)), reason) for (action, reason), found in ordered]


SEGMENT_COLUMNS: Final = ("Segment", "Indexes", "Size, kB", "CRC", "Stamp", "Outcome")


def segment_rows(
    before: Mapping[str, SegmentFacts], after: Mapping[str, SegmentFacts], outcomes: Mapping[str, SegmentOutcome]
) -> list[tuple[str, ...]]:
    """The deep-store copies of a table before and after a run, a row a segment, as `SEGMENT_COLUMNS`."""
    rows: list[tuple[str, ...]] = []
    for name, was in before.items():
        now, outcome = after[name], outcomes[name]
        rows.append(
            (
                name,
                _change(str(len(was.indexes)), str(len(now.indexes))),
                _change(f"{was.size / 1000:.0f}", f"{now.size / 1000:.0f}"),
                _change(str(was.crc), str(now.crc)),
                _change(_short(was.stamp), _short(now.stamp)),
                f"{outcome.outcome}, {outcome.mode}" if outcome.mode else str(outcome.outcome),
            )
        )
    return rows


def index_rows(wanted: Sequence[str], copies: Mapping[str, Mapping[str, frozenset[str]]]) -> list[tuple[str, ...]]:
    """By index, in how many segments of each place it is.

    Args:
        wanted: Indexes, in words.
        copies: By place (a server, the deep store), by segment, the indexes there.
    """
    return [
        (index, *(f"{sum(index in has for has in place.values())} of {len(place)}" for place in copies.values()))
        for index in wanted
    ]


def start_rows(before: WipedStart, after: WipedStart) -> list[tuple[str, str, str]]:
    """A server's start on an empty disk, before and after."""
    return [
        ("indexes that it had to build", str(before.built), str(after.built)),
        ("time until all segments were ONLINE", f"{before.seconds:.2f} s", f"{after.seconds:.2f} s"),
        ("time spent loading, over all segments", f"{before.load_ms / 1000:.1f} s", f"{after.load_ms / 1000:.1f} s"),
    ]


def _change(before: str, after: str) -> str:
    return f"{before} (same)" if before == after else f"{before} → {after}"


def _short(stamp: str | None) -> str:
    """A table hash by its first digits, without the version of the function."""
    return stamp.partition(":")[2][:6] if stamp else "none"
