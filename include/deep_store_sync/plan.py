"""The plan of a run: every segment that the run looks at, what is to be done with it, and in which batch.

Building a plan has no side effects. A dry run and a real run build the same one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase, translate

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.decide import online_servers
from deep_store_sync.model import Plan, RunRequest
from deep_store_sync.planning.decisions import WORK, decide_rows
from deep_store_sync.planning.order import MAX_BATCHES, Batch, Limits, turn
from deep_store_sync.planning.plan_rows import PlanRows, plan_rows
from deep_store_sync.planning.table_state import TableState, column
from deep_store_sync.table_hash import building_config

__all__ = [
    "MAX_BATCHES",
    "WORK",
    "Batch",
    "Limits",
    "TableState",
    "batches",
    "build_plan",
    "decide_table",
    "hosting_servers",
    "in_globs",
    "in_scope",
    "plan_of",
]


def build_plan(
    state: TableState, request: RunRequest, *, prefixes: Sequence[str], limits: Limits, created_ms: int
) -> Plan:
    """Decide every segment in the request's scope, spend the budget, and put the work into batches."""
    rows = decide_table(state, request, prefixes=prefixes, limits=limits, created_ms=created_ms)
    return plan_of(state, request, rows, created_ms=created_ms)


def decide_table(
    state: TableState, request: RunRequest, *, prefixes: Sequence[str], limits: Limits, created_ms: int
) -> PlanRows:
    """The rows of the plan."""
    decided = decide_rows(state, in_scope(state.segments, request), request, prefixes)
    return plan_rows(
        state.segments,
        decided,
        limits,
        max_segments=request.max_segments,
        begin=turn(created_ms),
        prefixes=prefixes,
    )


def plan_of(state: TableState, request: RunRequest, rows: PlanRows, *, created_ms: int) -> Plan:
    """The plan with these rows."""
    return Plan(
        table=state.table,
        request=request,
        created_ms=created_ms,
        table_config=building_config(state.table_config),
        schema=state.schema,
        segments=rows,
        work=sum(batch.segments for batch in rows.batches),
    )


def in_globs(segment: str, globs: Collection[str]) -> bool:
    """Whether a segment's name matches one of the globs; where there are none, every name does."""
    return not globs or any(fnmatchcase(segment, glob) for glob in globs)


def hosting_servers(ideal_state: Mapping[str, Mapping[str, str]], segment: str) -> tuple[str, ...]:
    """The servers that are to have a segment loaded, by an ideal state (segment to server to state)."""
    return online_servers(ideal_state.get(segment, {}))


def in_scope(segments: pa.Table, request: RunRequest) -> pa.UInt64Array:
    """The rows of a table that a run looks at: the name matches one of the globs, and it starts in the data interval.

    A segment without a time range is placed by its push time, then by its creation time; one with none of these belongs
    to the interval without an end.
    """
    name = column(segments, "name")
    scope = pa.repeat(True, len(name))
    if request.segments:
        matches = re.compile("|".join(translate(glob) for glob in request.segments)).match
        scope = pa.array([matches(text) is not None for text in name.to_pylist()], pa.bool_())
    if request.interval is not None:
        start, end = request.interval
        moment = pc.coalesce(*(column(segments, of) for of in ("start_ms", "push_ms", "creation_ms")))
        inside = pc.greater_equal(moment, start)
        if end is not None:
            inside = pc.and_(inside, pc.less(moment, end))
        scope = pc.and_(scope, pc.fill_null(inside, end is None))
    return pc.indices_nonzero(scope)


def batches(plan: Plan) -> list[Batch]:
    """The batches of a plan in the order in which they are to be worked on. A plan without work has none."""
    if isinstance(plan.segments, PlanRows):
        return list(plan.segments.batches)
    totals: dict[str, tuple[int, int]] = {}
    for row in plan.segments:
        if row.batch is not None:
            count, size = totals.get(row.batch, (0, 0))
            totals[row.batch] = (count + 1, size + row.size_bytes)
    return [Batch(name, count, size) for name, (count, size) in sorted(totals.items())]
