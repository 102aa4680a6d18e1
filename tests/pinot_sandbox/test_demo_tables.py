"""What the demo prints, without the demo."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

import pytest

from deep_store_sync.model import Action, Outcome, PlannedSegment, PublishMode, SegmentOutcome, Servers, StampState
from pinot_sandbox.demo_tables import (
    SEGMENT_COLUMNS,
    Screen,
    index_rows,
    plan_rows,
    segment_rows,
    start_rows,
    task_rows,
    task_summaries,
)
from pinot_sandbox.segment_facts import SegmentFacts, WipedStart

ORDER = ("find", "batch.rebuild", "report")


class FakeTerminal(io.StringIO):
    """Says that it is a terminal, which no file that a test can read is."""

    def isatty(self) -> bool:
        return True


def facts(**changes: object) -> SegmentFacts:
    values: dict[str, object] = {
        "name": "flights_2013-01",
        "etag": "one",
        "size": 427_400,
        "crc": 2155577207,
        "indexes": frozenset(),
        "stamp": None,
    }
    return SegmentFacts(**(values | changes))  # type: ignore[arg-type]


def planned(segment: str, action: Action, reason: str, size: int) -> PlannedSegment:
    return PlannedSegment(segment, action, reason, "v1:0", Servers.CLEAN, StampState.NONE, size_bytes=size)


def test_tasks_are_told_by_name_and_state_in_the_order_of_the_dag() -> None:
    states = {
        "report": "None",
        "batch.rebuild[0]": "success",
        "batch.rebuild[1]": "queued",
        "unheard_of": "running",
        "find": "success",
    }
    assert list(task_summaries(states, ORDER).items()) == [
        ("find", "success"),
        ("batch.rebuild", "1 × success, 1 × waiting"),
        ("report", "waiting"),
        ("unheard_of", "running"),
    ]


def test_mapped_tasks_are_one_row_with_the_longest_time() -> None:
    instances = [
        {"task_id": "batch.rebuild", "map_index": 0, "state": "success", "duration": 3.14},
        {"task_id": "batch.rebuild", "map_index": 1, "state": "success", "duration": 2.0},
        {"task_id": "find", "map_index": -1, "state": "success", "duration": None},
    ]
    assert task_rows(instances, ORDER) == [("find", "success", "0.0 s"), ("batch.rebuild", "2 × success", "3.1 s")]


def test_a_plan_is_told_by_action_and_reason_most_segments_first() -> None:
    plan = [
        planned("a", Action.SKIP, "stamped", 1_000),
        planned("b", Action.REBUILD, "stale", 2_000),
        planned("c", Action.REBUILD, "stale", 3_000),
    ]
    assert plan_rows(plan) == [("rebuild", 2, "5.0 kB", "stale"), ("skip", 1, "1.0 kB", "stamped")]


def test_a_segment_is_told_before_and_after() -> None:
    before = facts()
    after = facts(size=620_000, indexes=frozenset({"inverted on origin"}), stamp="v1:d2aa1da25555", etag="two")
    outcome = SegmentOutcome(before.name, Outcome.SYNCED, mode=PublishMode.QUIET)
    [row] = segment_rows({before.name: before}, {before.name: after}, {before.name: outcome})
    assert row == (
        "flights_2013-01",
        "0 → 1",
        "427 → 620",
        "2155577207 (same)",
        "none → d2aa1d",
        "synced, quiet",
    )
    assert len(row) == len(SEGMENT_COLUMNS)


def test_indexes_are_counted_by_place() -> None:
    copies: Mapping[str, Mapping[str, frozenset[str]]] = {
        "server": {"a": frozenset({"x", "y"}), "b": frozenset({"x"})},
        "deep store": {"a": frozenset(), "b": frozenset({"y"})},
    }
    assert index_rows(["x", "y"], copies) == [("x", "2 of 2", "0 of 2"), ("y", "1 of 2", "1 of 2")]


def test_starts_are_told_side_by_side() -> None:
    rows = start_rows(WipedStart(1.8, 13_149, 84), WipedStart(1.0, 3_996, 0))
    assert [row[1:] for row in rows] == [("84", "0"), ("1.80 s", "1.00 s"), ("13.1 s", "4.0 s")]


def test_where_there_is_no_terminal_output_is_plain_and_100_columns_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    file = io.StringIO()
    screen = Screen(file)
    screen.chapter("Chapter")
    screen.diff("Changed:", [("-", "a = 1"), ("+", "a = 2")])
    rows = segment_rows(
        {"flights_2013-01": facts(stamp="v1:111111")},
        {"flights_2013-01": facts(stamp="v1:222222", crc=1922732971, size=620_000)},
        {"flights_2013-01": SegmentOutcome("flights_2013-01", Outcome.SYNCED, mode=PublishMode.REFRESH)},
    )
    screen.table("Copies", SEGMENT_COLUMNS, rows, caption="one segment")
    screen.say("word " * 50)
    with screen.working("waiting for something"):
        screen.line("done")
    text = file.getvalue()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert "2155577207 → 1922732971" in text  # not folded
    assert re.search(r"^\[ +\d+\.\d s\] waiting for something$", text, re.MULTILINE)


def test_tasks_are_told_in_lines_as_they_change() -> None:
    file = io.StringIO()
    with Screen(file).tasks(ORDER) as show:
        show({"find": "running", "report": "None"})
        show({"find": "running", "report": "None"})
        show({"find": "success", "batch.rebuild[0]": "queued", "batch.rebuild[1]": "queued", "report": "None"})
        show({"find": "success", "batch.rebuild[0]": "running", "batch.rebuild[1]": "queued", "report": "None"})
    told = [line.partition("]")[2].strip() for line in file.getvalue().splitlines() if line]
    assert told == ["find: running", "find: success", "batch.rebuild: 1 × running, 1 × waiting"]


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_has_colours_unless_it_wants_none(monkeypatch: pytest.MonkeyPatch, no_color: str) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    file = FakeTerminal()
    screen = Screen(file)
    assert screen.interactive
    screen.diff("Changed:", [("+", "a = 2")])
    assert ("\x1b[32m" in file.getvalue()) is not bool(no_color)
    with screen.tasks(ORDER) as show:
        show({"find": "running"})
    assert "find" in file.getvalue()
