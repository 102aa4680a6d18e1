"""How every segment of a table stands, by the newest run that looked at it: in columns, counted, searched and paged.

A table may have a million segments: rows become objects only for the page that was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.model import PlannedSegment, Servers
from deep_store_sync.rows import arrow_schema
from deep_store_sync.states import SegmentState, planned_states, states_after
from deep_store_sync.totals import Amount

PLAN_COLUMNS = ("segment", "action", "reason", "servers", "stamp", "size_bytes", "replicas", "batch")
OUTCOME_COLUMNS = ("segment", "outcome", "message")

MOST_REASONS = 20
MOST_ROWS = 500

_URL = r"s3[a-z]?://\S+"

_EMPTY_PLAN = arrow_schema(PlannedSegment).empty_table()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why segments are in a state, with how many there are. URLs in it are left out, so that it counts for many."""

    state: str
    reason: str
    segments: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Work:
    """What a run would have to look at by the newest plans: the segments that are neither in sync nor to be left alone.

    It is no bound: if table config or schema were changed since, or segments pushed, there are more.

    `stale` are those that a server calls stale: every run takes them. Of the `others` a run takes what its budget
    allows, or all with force. `downloads` is what servers would download if all were published by refresh.
    """

    stale: Amount
    others: Amount
    stale_downloads: int
    others_downloads: int


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One segment: its state and why, the bytes of its object, and the run that says so."""

    segment: str
    state: str
    reason: str
    bytes: int
    run_id: str


@dataclass(frozen=True, slots=True)
class SegmentPage:
    """Some of the segments that were asked for, in the order of their names; `total` is how many there are."""

    total: int
    offset: int
    rows: tuple[SegmentRow, ...]


@dataclass(frozen=True, slots=True)
class SegmentQuery:
    """Which segments: of a state, for a reason, with a text in their names in whatever case. None and "": all."""

    state: str | None = None
    reason: str | None = None
    search: str = ""
    offset: int = 0
    limit: int = 50


class SegmentTable:
    """The segments of a table as a run left them."""

    def __init__(self, columns: pa.Table) -> None:
        """`columns`: segment, state, reason, bytes, replicas, stale and run_id, a row for each segment, by name."""
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns)

    @classmethod
    def empty(cls) -> SegmentTable:
        """No segments: nothing is known."""
        return cls.planned("", _EMPTY_PLAN)

    @classmethod
    def planned(cls, run_id: str, plan: pa.Table) -> SegmentTable:
        """As they stood when a plan was made, from its columns."""
        state = planned_states(plan.column("action"), plan.column("stamp"), plan.column("servers"))
        return cls._by_name(
            pa.table(
                {
                    "segment": plan.column("segment"),
                    "state": pc.dictionary_encode(state),
                    "reason": pc.dictionary_encode(_without_urls(pc.fill_null(plan.column("reason"), ""))),
                    "bytes": pc.fill_null(plan.column("size_bytes"), 0),
                    "replicas": pc.fill_null(pc.list_value_length(plan.column("replicas")), 0),
                    "stale": pc.equal(plan.column("servers"), Servers.STALE.value),
                    "run_id": pc.dictionary_encode(pa.repeat(pa.scalar(run_id), len(plan))),
                }
            )
        )

    def after(self, outcomes: pa.Table) -> SegmentTable:
        """As they stand after outcomes of the run, those that there are of it so far or in the end."""
        names = ("state", "reason")
        state, reason = (pc.cast(self._columns.column(name), pa.string()) for name in names)
        place = pc.index_in(self._columns.column("segment"), value_set=_one(outcomes.column("segment")))
        outcome = pc.take(_one(outcomes.column("outcome")), place)
        message = pc.take(_one(outcomes.column("message")), place)
        # What a run brought in sync has no message: the outcome says it.
        said = _without_urls(pc.if_else(pc.equal(message, ""), outcome, message))
        columns = self._columns
        for name, values in zip(names, (states_after(state, outcome), pc.coalesce(said, reason)), strict=True):
            columns = columns.set_column(columns.schema.get_field_index(name), name, pc.dictionary_encode(values))
        return SegmentTable(columns)

    @classmethod
    def newest(cls, tables: Sequence[SegmentTable]) -> SegmentTable:
        """Of several, given oldest first, what the newest says that has the segment; of none, nothing is known."""
        if len(tables) < 2:
            return tables[0] if tables else cls.empty()
        first, *others = (table._columns for table in tables)
        for newer in others:
            older = first.filter(pc.invert(pc.is_in(first.column("segment"), value_set=_one(newer.column("segment")))))
            first = pa.concat_tables([older, newer])
        return cls._by_name(first)

    @classmethod
    def _by_name(cls, columns: pa.Table) -> SegmentTable:
        return cls(columns.combine_chunks().sort_by("segment"))

    def states(self) -> dict[str, Amount]:
        """How many segments are in each state, of every state, and their bytes."""
        counted = self._grouped("state")
        found = {row["state"]: Amount(row["bytes_count"], row["bytes_sum"]) for row in counted}
        return {state.value: found.get(state, Amount()) for state in SegmentState}

    def reasons(self) -> tuple[Reason, ...]:
        """Why segments are in the states they are in: of each state but `in sync`, the most frequent reasons."""
        rows = sorted(self._grouped("state", "reason"), key=lambda row: (-row["bytes_count"], row["reason"]))
        found: list[Reason] = []
        for state in SegmentState:
            if state is not SegmentState.IN_SYNC:
                of_state = [row for row in rows if row["state"] == state][:MOST_REASONS]
                found += [Reason(state, row["reason"], row["bytes_count"], row["bytes_sum"]) for row in of_state]
        return tuple(found)

    def work(self) -> Work:
        """What a run would have to look at."""
        left = pc.is_in(
            self._columns.column("state"),
            value_set=pa.array([SegmentState.OUT_OF_SYNC.value, SegmentState.UNKNOWN.value]),
        )
        stale = pc.and_(left, self._columns.column("stale"))
        (of_stale, stale_downloads), (others, others_downloads) = (
            self._amount(mask) for mask in (stale, pc.and_(left, pc.invert(self._columns.column("stale"))))
        )
        return Work(of_stale, others, stale_downloads, others_downloads)

    def page(self, query: SegmentQuery) -> SegmentPage:
        """Some of the segments."""
        found = self._columns
        if query.state is not None:
            found = found.filter(pc.equal(found.column("state"), query.state))
        if query.reason is not None:
            found = found.filter(pc.equal(found.column("reason"), query.reason))
        if query.search:
            found = found.filter(pc.match_substring(found.column("segment"), query.search, ignore_case=True))
        offset = max(0, query.offset)
        rows = found.slice(offset, min(max(0, query.limit), MOST_ROWS))
        names = ("segment", "state", "reason", "bytes", "run_id")
        return SegmentPage(len(found), offset, tuple(SegmentRow(**row) for row in rows.select(names).to_pylist()))

    def _grouped(self, *names: str) -> list[dict[str, Any]]:
        groups = self._columns.group_by(list(names), use_threads=False)
        rows: list[dict[str, Any]] = groups.aggregate([("bytes", "sum"), ("bytes", "count")]).to_pylist()
        return rows

    def _amount(self, mask: Any) -> tuple[Amount, int]:
        rows = self._columns.filter(mask)
        size, replicas = (pc.sum(rows.column(name)).as_py() or 0 for name in ("bytes", "replicas"))
        return Amount(len(rows), size), replicas


def _without_urls(words: Any) -> Any:
    """Reasons without URLs, so that one counts for many segments."""
    return pc.replace_substring_regex(words, _URL, "…")


def _one(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    found = column.combine_chunks()
    return found if isinstance(found, pa.Array) else pa.concat_arrays(found.chunks)
