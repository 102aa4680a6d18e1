"""The rows of a plan: columns until somebody asks for a row."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.decide import bad_url
from deep_store_sync.model import Action, DeferredBy, PlannedSegment, Servers
from deep_store_sync.planning.decisions import Decided, Verdict
from deep_store_sync.planning.order import Batch, Left, Limits, batch_id, cut_batches, in_order, spend
from deep_store_sync.planning.table_state import column, integers, numbers
from deep_store_sync.planning.urls import urls
from deep_store_sync.rows import ArrowRows, arrow_schema

SCHEMA = arrow_schema(PlannedSegment)

# Rows of a group in the file, about: whole batches, so that a batch is read with few others.
_WORK_GROUP = 8_192
_GROUP = 16_384

_LEFT_BY = {
    Left.MAX_SEGMENTS: DeferredBy.MAX_SEGMENTS,
    Left.NO_BUDGET: DeferredBy.BUDGET,
    Left.BUDGET: DeferredBy.BUDGET,
    Left.DOWNLOADS: DeferredBy.DOWNLOADS,
}


@dataclass(frozen=True, slots=True)
class Tally:
    """How many segments of a plan have one verdict, and the bytes of their objects."""

    verdict: Verdict
    segments: int
    bytes: int


class PlanRows(ArrowRows[PlannedSegment]):
    """The rows of a plan, those of the batches first, batch by batch in the order of their ids."""

    def __init__(
        self,
        segments: pa.Table,
        rows: pa.UInt64Array,
        verdict_numbers: array[int],
        verdicts: Sequence[Verdict],
        batches: Sequence[Batch],
        words: Any,
    ) -> None:
        """`rows` are those of `segments` in the plan's order, and `verdict_numbers` the numbers of their verdicts.

        `words` are prefixes and shared URLs: what tells why a URL is bad.
        """
        super().__init__(PlannedSegment)
        self._segments = segments
        self._rows = rows
        self._numbers = verdict_numbers
        self._verdicts = verdicts
        self._words = words
        self.batches = tuple(batches)

    def __len__(self) -> int:
        return len(self._rows)

    def tallies(self) -> list[Tally]:
        """The plan by verdict, the most frequent first."""
        count, size = [0] * len(self._verdicts), [0] * len(self._verdicts)
        for number, bytes_ in zip(self._numbers, self._sizes(0, len(self)), strict=True):
            count[number] += 1
            size[number] += bytes_
        found = [Tally(*of) for of in zip(self._verdicts, count, size, strict=True) if of[1]]
        return sorted(found, key=lambda tally: -tally.segments)

    def largest_work(self) -> int:
        """Bytes of the largest object that is to be worked on; 0 without work."""
        return max(self._sizes(0, sum(batch.segments for batch in self.batches)), default=0)

    def batch_ends(self) -> list[tuple[str, str]]:
        """The first and the last segment of each batch."""
        names, ends, start = column(self._segments, "name"), [], 0
        for batch in self.batches:
            first, last = names.take(self._rows.take([start, start + batch.segments - 1])).to_pylist()
            ends.append((first, last))
            start += batch.segments
        return ends

    def work_folders(self) -> list[str]:
        """The folders that the objects lie in which are to be worked on."""
        rows = self._rows.slice(0, sum(batch.segments for batch in self.batches))
        return sorted(pc.cast(pc.unique(column(self._segments, "url_folder").take(rows)), pa.string()).to_pylist())

    def record_batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in groups, as they are best stored. No batch lies in two of them."""
        ids: list[str] = []
        start = 0
        for batch in self.batches:
            ids += [batch.id] * batch.segments
            if len(ids) >= _WORK_GROUP:
                yield self._group(start, ids)
                start, ids = start + len(ids), []
        if ids:
            yield self._group(start, ids)
            start += len(ids)
        for first in range(start, len(self), _GROUP):
            yield self._group(first, [None] * min(_GROUP, len(self) - first))

    def _group(self, start: int, batch_ids: Sequence[str | None]) -> pa.RecordBatch:
        rows = self._rows.slice(start, len(batch_ids))
        of = numbers(self._numbers).slice(start, len(batch_ids))
        verdicts = self._verdicts

        def told(values: list[Any], kind: pa.DataType) -> pa.Array:
            return pa.array(values, kind).take(of)

        def given(name: str, kind: pa.DataType | None = None) -> pa.Array:
            found = column(self._segments, name).take(rows)
            return pc.cast(found, kind) if kind else found

        text = pa.string()
        url = urls(self._segments, rows)
        reason = told([verdict.reason for verdict in verdicts], text)
        if reason.null_count:
            reason = self._with_url_reasons(reason, given("name"), url)
        eligible = told([verdict.action is not Action.NOT_ELIGIBLE for verdict in verdicts], pa.bool_())
        columns = {
            "segment": given("name"),
            "action": told([verdict.action.value for verdict in verdicts], text),
            "reason": reason,
            "table_hash": told([verdict.table_hash for verdict in verdicts], text),
            "servers": told([verdict.servers.value for verdict in verdicts], text),
            "stamp": told([verdict.stamp.value for verdict in verdicts], text),
            "crc": pc.fill_null(given("crc"), 0),
            # What is not eligible has a URL that is nothing to work with, and may be of a kind with credentials.
            "url": pc.fill_null(pc.if_else(eligible, url, ""), ""),
            "tier": given("tier", text),
            "size_bytes": pc.fill_null(given("size_bytes"), 0),
            "rows": given("rows"),
            "start_ms": given("start_ms"),
            "end_ms": given("end_ms"),
            "push_ms": given("push_ms"),
            "creation_ms": given("creation_ms"),
            "replicas": told([list(verdict.replicas) for verdict in verdicts], pa.list_(text)),
            "deferred_by": told([verdict.deferred_by and verdict.deferred_by.value for verdict in verdicts], text),
            "batch": pa.array(batch_ids, text),
        }
        return pa.RecordBatch.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)

    def _with_url_reasons(self, reason: pa.Array, name: pa.Array, url: pa.Array) -> pa.Array:
        missing = pc.is_null(reason)
        prefixes, shared = self._words
        words = [
            bad_url(segment, where, prefixes, shared)
            for segment, where in zip(name.filter(missing).to_pylist(), url.filter(missing).to_pylist(), strict=True)
        ]
        return pc.replace_with_mask(reason, missing, pa.array(words, pa.string()))

    def _sizes(self, start: int, end: int) -> Iterator[int]:
        sizes = column(self._segments, "size_bytes")
        for first in range(start, end, _GROUP):
            rows = self._rows.slice(first, min(_GROUP, end - first))
            yield from integers(pc.fill_null(sizes.take(rows), 0))


def plan_rows(
    segments: pa.Table,
    decided: Decided,
    limits: Limits,
    *,
    max_segments: int | None,
    begin: float | None,
    prefixes: Sequence[str],
) -> PlanRows:
    """Put the decided segments in order, spend the budget, and put the work that is taken into batches.

    `begin` is where the order begins (`order.turn`).
    """
    verdicts = list(decided.verdicts)
    of = numbers(decided.numbers)
    is_work = pa.array([verdict.work for verdict in verdicts], pa.bool_()).take(of)
    work = pc.indices_nonzero(is_work)
    work = work.take(_order_of(segments, decided.rows.take(work), of.take(work), verdicts, begin))
    work_rows, work_numbers = decided.rows.take(work), integers(of.take(work))
    sizes = integers(pc.fill_null(column(segments, "size_bytes").take(work_rows), 0))
    left, _ = spend(
        sizes,
        (verdicts[number].budgeted for number in work_numbers),
        (verdicts[number].downloads for number in work_numbers),
        budget=limits.audit_bytes,
        max_segments=max_segments,
        download_bytes=limits.download_bytes,
    )
    codes = pa.Array.from_buffers(pa.int8(), len(left), [None, pa.py_buffer(left)])
    taken = pc.indices_nonzero(pc.equal(codes, int(Left.TAKEN)))
    cut = cut_batches([sizes[place] for place in integers(taken)], limits)
    found: list[Batch] = []
    parts: list[pa.Array] = []
    for index, (start, end) in enumerate(cut):
        of_batch = taken.slice(start, end - start)
        parts.append(of_batch)
        found.append(Batch(batch_id(index), end - start, sum(sizes[place] for place in integers(of_batch))))
    # Then what was to be done and is left, then what needs nothing.
    parts.append(pc.indices_nonzero(pc.not_equal(codes, int(Left.TAKEN))))
    order = pa.concat_arrays(parts)
    deferred = _Deferring(verdicts, max_segments)
    final = array("i", [deferred(work_numbers[place], left[place]) for place in integers(order)])
    rest = pc.indices_nonzero(pc.invert(is_work))
    final.extend(integers(of.take(rest)))
    rows = pa.concat_arrays([work_rows.take(order), decided.rows.take(rest)])
    return PlanRows(segments, rows, final, verdicts, found, (tuple(prefixes), decided.shared_urls))


def _order_of(
    segments: pa.Table, rows: pa.Array, of: pa.Array, verdicts: Sequence[Verdict], begin: float | None
) -> pa.UInt64Array:
    def given(name: str) -> pa.Array:
        return column(segments, name).take(rows)

    def flag(values: list[bool]) -> pa.Array:
        return pc.cast(pa.array(values, pa.bool_()), pa.uint8()).take(of)

    return in_order(
        pa.table(
            {
                "budgeted": flag([verdict.budgeted for verdict in verdicts]),
                "calm": flag([verdict.servers is not Servers.STALE for verdict in verdicts]),
                "newest": pc.fill_null(pc.coalesce(given("end_ms"), given("start_ms"), given("push_ms")), 0),
                "name": given("name"),
            }
        ),
        begin,
    )


class _Deferring:
    """The numbers of verdicts on segments that have to wait; what is not known yet of them is added to `verdicts`."""

    def __init__(self, verdicts: list[Verdict], max_segments: int | None) -> None:
        self._verdicts = verdicts
        self._known: dict[tuple[int, int], int] = {}
        self._why = {
            Left.MAX_SEGMENTS: f"maxSegments of {max_segments} is used up",
            Left.NO_BUDGET: "auditBudget is 0",
            Left.BUDGET: "this run's auditBudget is used up",
            Left.DOWNLOADS: "this run's maxServerDownloadBytes is used up",
        }

    def __call__(self, number: int, left: int) -> int:
        if left == Left.TAKEN:
            return number
        found = self._known.get((number, left))
        if found is None:
            verdict, by = self._verdicts[number], Left(left)
            waiting = replace(
                verdict,
                action=Action.DEFER,
                deferred_by=_LEFT_BY[by],
                reason=f"{self._why[by]}; {verdict.reason}",
            )
            found = self._known[number, left] = len(self._verdicts)
            self._verdicts.append(waiting)
        return found
