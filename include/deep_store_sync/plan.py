"""The plan of a run: every segment that the run looks at, what is to be done with it, and in which batch.

Building a plan has no side effects. A dry run and a real run build the same one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from deep_store_sync.decide import decide, ineligible, server_state
from deep_store_sync.errors import ConfigError
from deep_store_sync.model import (
    Action,
    DeferredBy,
    Lineage,
    Plan,
    PlannedSegment,
    RunRequest,
    SegmentRecord,
    ServerAnswer,
    Servers,
)
from deep_store_sync.stamp import read_stamp
from deep_store_sync.store.object_url import parse_url
from deep_store_sync.table_hash import TableHashes, building_config, has_tier_overrides

WORK = frozenset({Action.RELOAD, Action.REBUILD, Action.AUDIT})

# Airflow refuses to map over more than `max_map_length` values, 1024 unless configured.
MAX_BATCHES = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a plan: `audit_bytes` of budgeted work a run, `batch_bytes` and `batch_segments` a batch."""

    audit_bytes: int
    batch_bytes: int
    batch_segments: int


@dataclass(frozen=True, slots=True)
class TableState:
    """A table as the controller and the servers describe it at one moment."""

    table: str
    table_config: Mapping[str, Any]
    schema: Mapping[str, Any]
    records: Sequence[SegmentRecord]
    ideal_state: Mapping[str, Mapping[str, str]]
    answers: Mapping[str, ServerAnswer]
    lineage: Lineage
    etags: Mapping[str, str]
    """ETag by download URL, of the objects of segments that carry a stamp."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Segments that one mapped task works on: its id, how many there are, and the bytes of their objects."""

    id: str
    segments: int
    bytes: int


def build_plan(
    state: TableState, request: RunRequest, *, prefixes: Sequence[str], limits: Limits, created_ms: int
) -> Plan:
    """Decide every segment in the request's scope, spend the budget, and put the work into batches."""
    hashes = TableHashes(state.table_config, state.schema)
    shared_urls = _shared_urls(state.records)
    decided: list[tuple[PlannedSegment, bool]] = [
        _decide_segment(record, state, request, hashes, prefixes, shared_urls)
        for record in state.records
        if in_scope(record, request)
    ]
    planned = _spend(decided, limits.audit_bytes, request.max_segments)
    return Plan(
        table=state.table,
        request=request,
        created_ms=created_ms,
        table_config=building_config(state.table_config),
        schema=state.schema,
        segments=tuple(_with_batches(planned, limits)),
    )


def with_consuming(
    ideal_state: Mapping[str, Mapping[str, str]], external_view: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    """The ideal state, with a server that is still seen to consume a segment counted as consuming it.

    From the commit until a server has built or downloaded its own copy, it holds the consuming one. That one counts as
    stale whatever the config says (Pinot 1.5.1, `BaseTableDataManager.isSegmentStale`: time column).
    """
    return {
        segment: {
            server: "CONSUMING" if external_view.get(segment, {}).get(server) == "CONSUMING" else state
            for server, state in states.items()
        }
        for segment, states in ideal_state.items()
    }


def in_globs(segment: str, globs: Collection[str]) -> bool:
    """Whether a segment's name matches one of the globs; where there are none, every name does."""
    return not globs or any(fnmatchcase(segment, glob) for glob in globs)


def hosting_servers(ideal_state: Mapping[str, Mapping[str, str]], segment: str) -> tuple[str, ...]:
    """The servers that are to have a segment loaded, by an ideal state (segment to server to state)."""
    return tuple(sorted(server for server, state in ideal_state.get(segment, {}).items() if state == "ONLINE"))


def in_scope(record: SegmentRecord, request: RunRequest) -> bool:
    """Whether a run looks at a segment: its name matches one of the globs, and it starts in the data interval.

    A segment without a time range is placed by its push time, then by its creation time; one with none of these belongs
    to no interval.
    """
    if not in_globs(record.name, request.segments):
        return False
    if request.interval is None:
        return True
    start, end = request.interval
    moment = next((ms for ms in (record.start_ms, record.push_ms, record.creation_ms) if ms is not None), None)
    return moment is not None and start <= moment < end


def batches(plan: Plan) -> list[Batch]:
    """The batches of a plan in the order in which they are to be worked on. A plan without work has none."""
    totals: dict[str, tuple[int, int]] = {}
    for row in plan.segments:
        if row.batch is not None:
            count, size = totals.get(row.batch, (0, 0))
            totals[row.batch] = (count + 1, size + row.size_bytes)
    return [Batch(name, count, size) for name, (count, size) in sorted(totals.items())]


def _shared_urls(records: Iterable[SegmentRecord]) -> set[str]:
    """URLs of objects that more than one segment has: different URLs may name one object (`a%20b` and `a b`)."""
    urls = [record.url for record in records if record.url]
    count = Counter(_object(url) for url in urls)
    return {url for url in urls if count[_object(url)] > 1}


def _object(url: str) -> tuple[str, str]:
    try:
        return parse_url(url)
    except ConfigError:  # not in S3: not eligible in any case
        return "", url


def _decide_segment(
    record: SegmentRecord,
    state: TableState,
    request: RunRequest,
    hashes: TableHashes,
    prefixes: Sequence[str],
    shared_urls: set[str],
) -> tuple[PlannedSegment, bool]:
    """The planned row, and whether its work counts against the budget."""
    replicas = state.ideal_state.get(record.name, {})
    hosting = hosting_servers(state.ideal_state, record.name)
    current = hashes.current(record.tier)
    stamp = read_stamp(record.custom, record.crc, state.etags.get(record.url or ""))
    stamp_state = hashes.state(stamp.table_hash, record.tier)
    overrides = has_tier_overrides(state.table_config, record.tier)
    servers, words = server_state(record.name, hosting, state.answers, overrides_by_tier=overrides)
    row = PlannedSegment(
        segment=record.name,
        action=Action.SKIP,
        reason="",
        table_hash=current,
        servers=servers,
        stamp=stamp_state,
        crc=record.crc or 0,
        url=record.url or "",
        tier=record.tier,
        size_bytes=record.size_bytes or 0,
        rows=record.rows,
        start_ms=record.start_ms,
        end_ms=record.end_ms,
        push_ms=record.push_ms,
        creation_ms=record.creation_ms,
        replicas=hosting,
    )
    why_not = ineligible(
        record,
        replicas,
        prefixes=prefixes,
        shared_urls=shared_urls,
        lineage=state.lineage,
        table_crypter=(state.table_config.get("segmentsConfig") or {}).get("crypterClassName"),
    )
    if why_not:
        # Its URL is nothing to work with, and may be of a kind that carries credentials.
        return replace(row, action=Action.NOT_ELIGIBLE, reason=why_not, url=""), False
    incurable = stamp.incurable_reason if stamp.incurable_hash == current else None
    decision = decide(
        stamp_state, servers, force=request.force, servers_say=words, incurable=incurable, servers_cannot_tell=overrides
    )
    deferred_by = DeferredBy.SERVERS if decision.action is Action.DEFER else None
    return replace(row, action=decision.action, reason=decision.reason, deferred_by=deferred_by), decision.budgeted


def _spend(
    decided: Iterable[tuple[PlannedSegment, bool]], budget: int, max_segments: int | None
) -> list[PlannedSegment]:
    """Order by urgency and age of the data, then defer what the budget or `max_segments` does not cover.

    A segment larger than the whole budget is taken when it comes first: it would starve otherwise.
    """
    result = []
    spent = taken = 0
    for row, budgeted in sorted(decided, key=_priority):
        if row.action not in WORK:
            result.append(row)
        elif max_segments is not None and taken >= max_segments:
            result.append(_deferred(row, DeferredBy.MAX_SEGMENTS, f"maxSegments of {max_segments} is used up"))
        elif budgeted and (budget == 0 or (spent > 0 and spent + row.size_bytes > budget)):
            why = "auditBudget is 0" if budget == 0 else "this run's auditBudget is used up"
            result.append(_deferred(row, DeferredBy.BUDGET, why))
        else:
            taken += 1
            # A size that ZooKeeper does not know still has to count for something.
            spent += max(row.size_bytes, 1) if budgeted else 0
            result.append(row)
    return result


def _priority(item: tuple[PlannedSegment, bool]) -> tuple[bool, bool, int, str]:
    row, budgeted = item
    newest = next((ms for ms in (row.end_ms, row.start_ms, row.push_ms) if ms is not None), 0)
    return budgeted, row.servers is not Servers.STALE, -newest, row.segment


def _with_batches(planned: Iterable[PlannedSegment], limits: Limits) -> Iterable[PlannedSegment]:
    planned = list(planned)
    work = [row for row in planned if row.action in WORK]
    # A table too large for MAX_BATCHES batches of the configured size gets larger ones.
    # Half of them may be closed by count; any two neighbours of which the first was closed by bytes outweigh max_bytes.
    max_segments = max(limits.batch_segments, -(-2 * len(work) // MAX_BATCHES))
    max_bytes = max(limits.batch_bytes, -(-4 * sum(row.size_bytes for row in work) // MAX_BATCHES))
    number, count, size = 0, max_segments, 0
    for row in planned:
        if row.action not in WORK:
            yield row
            continue
        if count >= max_segments or (count and size + row.size_bytes > max_bytes):
            number, count, size = number + 1, 0, 0
        count, size = count + 1, size + row.size_bytes
        yield replace(row, batch=f"b{number:04d}")


def _deferred(row: PlannedSegment, by: DeferredBy, why: str) -> PlannedSegment:
    return replace(row, action=Action.DEFER, deferred_by=by, reason=f"{why}; {row.reason}")
