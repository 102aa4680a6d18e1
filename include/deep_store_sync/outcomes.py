"""One outcome for each segment of a plan, from what the batches left, a group of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.model import (
    Action,
    DeferredBy,
    Outcome,
    PlannedSegment,
    Published,
    RebuildResult,
    Rebuilt,
    SegmentOutcome,
)
from deep_store_sync.plan import WORK
from deep_store_sync.plan_file import PlanReader
from deep_store_sync.rows import arrow_schema, record_batch, rows_of
from deep_store_sync.workspace import Workspace

SCHEMA = arrow_schema(SegmentOutcome)

_WITHOUT_WORK: Mapping[Action, Outcome] = {
    Action.SKIP: Outcome.SKIPPED,
    Action.DEFER: Outcome.DEFERRED,
    Action.NOT_ELIGIBLE: Outcome.NOT_ELIGIBLE,
    Action.INCURABLE: Outcome.INCURABLE,
}


def outcomes(workspace: Workspace, plan: PlanReader) -> Iterator[tuple[pa.Table, pa.RecordBatch]]:
    """The outcomes of a run, each beside the row of the plan that it is about, in columns of both.

    Raises:
        DeepStoreError: plan or results cannot be read.
    """
    for group in plan.groups():
        is_work = pc.is_in(group.column("action"), value_set=pa.array([action.value for action in WORK]))
        work, rest = group.filter(is_work), group.filter(pc.invert(is_work))
        if len(work):
            yield work, record_batch(_of_work(workspace, rows_of(work, PlannedSegment)), SegmentOutcome)
        if len(rest):
            yield rest, _of_rest(rest)


def _of_work(workspace: Workspace, rows: list[PlannedSegment]) -> list[SegmentOutcome]:
    results: dict[str, SegmentOutcome] = {}
    for batch in dict.fromkeys(row.batch for row in rows):
        if batch is not None:
            ended = workspace.read_results("stamped", batch, SegmentOutcome) or _unfinished(workspace, batch)
            results |= {outcome.segment: outcome for outcome in ended}
    return [results.get(row.segment) or _missing(row) for row in rows]


def _missing(row: PlannedSegment) -> SegmentOutcome:
    return SegmentOutcome(
        row.segment,
        Outcome.FAILED,
        f"batch {row.batch} did not finish: see the log of its tasks. The next run takes the segment up again",
        crc=row.crc,
    )


def _unfinished(workspace: Workspace, batch: str) -> list[SegmentOutcome]:
    """Outcomes of a batch that was not stamped: only what had come to an end before is true."""
    published = workspace.read_results("published", batch, Published) or ()
    if published:
        return [result for result in published if result.pending is None]
    rebuilt = workspace.read_results("rebuilt", batch, RebuildResult) or ()
    ends = {
        Rebuilt.FAILED: (Outcome.FAILED, None),
        Rebuilt.LEFT_ALONE: (Outcome.DEFERRED, DeferredBy.FAILURES),
        Rebuilt.NO_TIME: (Outcome.DEFERRED, DeferredBy.TIME),
    }
    return [
        SegmentOutcome(result.segment, outcome, result.message, crc=result.crc, new_crc=result.crc, deferred_by=by)
        for result in rebuilt
        if result.status in ends
        for outcome, by in [ends[result.status]]
    ]


def _of_rest(rows: pa.Table) -> pa.RecordBatch:
    """What needs no work ends as planned."""
    rows = rows.combine_chunks()
    given = {name: rows.column(name).chunk(0) for name in ("segment", "action", "reason", "crc", "deferred_by")}
    action = pc.index_in(given["action"], value_set=pa.array([action.value for action in _WITHOUT_WORK]))
    ends = pa.array([outcome.value for outcome in _WITHOUT_WORK.values()])
    columns = {
        "segment": given["segment"],
        "outcome": ends.take(action),
        "message": given["reason"],
        "crc": given["crc"],
        "new_crc": given["crc"],
        "deferred_by": given["deferred_by"],
    }
    plain = record_batch([SegmentOutcome("", Outcome.SKIPPED)], SegmentOutcome)
    return pa.RecordBatch.from_arrays(
        [
            columns[field.name] if field.name in columns else pa.repeat(plain.column(field.name)[0], len(rows))
            for field in SCHEMA
        ],
        schema=SCHEMA,
    )
