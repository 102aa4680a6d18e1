"""The first step of a run: ask controller and servers how the table is, and write the plan."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

import pyarrow as pa

from deep_store_sync import clock
from deep_store_sync.errors import ObjectNotFoundError, PinotUnavailableError
from deep_store_sync.model import Action, CopyBy, DeferredBy, Plan, RunRequest
from deep_store_sync.pinot import storage_quota
from deep_store_sync.plan import MAX_BATCHES, Batch, Limits, decide_table, plan_of
from deep_store_sync.planning.listing import Stretch, stretches
from deep_store_sync.planning.plan_rows import PlanRows
from deep_store_sync.planning.table_state import TableState, column, one_chunk, replicas, stale_segments
from deep_store_sync.services import Services
from deep_store_sync.spoken import spoken_bytes
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.store.versioning import Versioning
from deep_store_sync.tally import Progress, progress_line
from deep_store_sync.workspace import Workspace

# Listings of the deep store that run side by side, and the stamped segments that each is about.
_LISTINGS = 8
_LISTED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class FoundPlan:
    """A plan, where it lies, and the batches to work on: none in a dry run, and none when nothing is to be done.

    `names` says for people which segments each batch has.
    """

    plan: Plan
    plan_url: str
    batches: tuple[Batch, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedTable:
    """A table as it is, and the plan that follows from it; `rows` are the plan's segments."""

    state: TableState
    plan: Plan
    rows: PlanRows


def find_stale_segments(
    services: Services,
    request: RunRequest,
    *,
    log: logging.Logger,
    now_ms: int | None = None,
    max_batches: int = MAX_BATCHES,
) -> FoundPlan:
    """Decide every segment of the table and leave the plan in the workspace.

    There are `max_batches` batches at most: as many as Airflow maps over.

    Raises:
        PinotNotFoundError: there is no such table.
        PinotError: the controller does not answer, or not what it should.
        StoreCapabilityError: the store ignores the conditions that overwriting depends on, or does not keep versions
            where they are to be the backup. Asked when there is work.
        DeepStoreError: the workspace cannot be written.
    """
    settings = services.settings
    planned = plan_table(services, request, log=log, now_ms=now_ms, max_batches=max_batches)
    plan, rows = planned.plan, planned.rows
    workspace = Workspace.for_run(services.store, settings.workspace, settings.table, request.run_id, plan.created_ms)
    found = () if request.dry_run else rows.batches
    if found:
        # What one request cannot carry is written in parts, for which a store may have other rules; indexes add size.
        largest = 2 * rows.largest_work()
        services.store.probe(workspace.run_url, multipart=largest > services.store.multipart_threshold)
        if settings.publish_by == "auto":
            plan = replace(plan, copies=services.store.probe_copies(workspace.run_url))
            log.info("archives are published by %s", _publishing_by(plan.copies))
        if settings.backup == "versioning":
            versioning = Versioning(services.store)
            for folder in rows.work_folders():
                versioning.require(folder)
    url = workspace.write_plan(plan)
    _log_plan(plan, rows, planned.state, log)
    log.info(
        "before this run: %s",
        progress_line(
            _progress(rows), audit_bytes=settings.audit_budget, max_segments=request.max_segments, forced=request.force
        ),
    )
    ends = rows.batch_ends() if found else []
    return FoundPlan(plan, url, found, tuple(batch_name(batch, *of) for batch, of in zip(found, ends, strict=True)))


def batch_name(batch: Batch, first: str, last: str) -> str:
    """A batch for people: `b0001: flights_2013-12 … flights_2013-09 (4 segments, 1.6 MB)`."""
    if batch.segments == 1:
        return f"{batch.id}: {first} ({spoken_bytes(batch.bytes)})"
    return f"{batch.id}: {first} … {last} ({batch.segments} segments, {spoken_bytes(batch.bytes)})"


def plan_table(
    services: Services,
    request: RunRequest,
    *,
    log: logging.Logger,
    now_ms: int | None = None,
    max_batches: int = MAX_BATCHES,
    state: TableState | None = None,
) -> PlannedTable:
    """Decide every segment of the table, and write nothing anywhere. Arguments and errors as of a run's plan.

    `state` is the table, where it was read before.
    """
    settings = services.settings
    created_ms = int(clock.now().timestamp() * 1000) if now_ms is None else now_ms
    state = state or read_table(services, log)
    rows = decide_table(
        state,
        request,
        prefixes=settings.deep_store_prefixes,
        limits=Limits(
            settings.audit_budget,
            settings.batch_bytes,
            settings.batch_segments,
            max_batches,
            settings.max_server_download_bytes,
            timed=settings.max_run_time is not None,
        ),
        created_ms=created_ms,
    )
    return PlannedTable(state, plan_of(state, request, rows, created_ms=created_ms), rows)


def _publishing_by(copies: Collection[CopyBy]) -> str:
    if copies:
        return f"copies inside the store ({', '.join(copies)})"
    return "streaming them through the workers: the store was not seen to honour conditions on copies"


def read_table(services: Services, log: logging.Logger) -> TableState:
    """A table as it is now. A handful of calls to the controller, whatever the number of segments.

    Where isStale has no answer in time, or one that breaks off, no server has said anything: the rest of the plan does
    not depend on it.
    """
    controller, table = services.controller, services.settings.table
    # Config and schema first: a change that comes while the rest is read makes the plan older than the table, never
    # newer, and the check before each wave finds it.
    config, schema = controller.table_config(table), controller.schema(table)
    segments = one_chunk(controller.long.segment_columns(table))
    stamped = as_stamped(services.store, segments, services.settings.deep_store_prefixes)
    segments = segments.drop_columns(["stamp_etag"])  # a fifth of the table, and nobody asks for it again
    names = column(segments, "name")
    wanted = replicas(controller.long.wanted_replicas(table), names)
    # Before servers are asked: one that has its committed copy now has it then, too.
    seen = replicas(controller.long.seen_replicas(table), names) if table.endswith("_REALTIME") else None
    try:
        stale = controller.long.stale_parts(table, lambda parts: stale_segments(parts, names))
    except PinotUnavailableError as error:
        log.warning("isStale told nothing, so that what the servers have is not known: %s", error)
        stale = stale_segments([], names)
    return TableState(
        table=table,
        table_config=config,
        schema=schema,
        segments=segments,
        wanted=wanted,
        seen=seen,
        stale=stale,
        lineage=controller.lineage(table),
        as_stamped=stamped,
    )


def as_stamped(store: DeepStore, segments: pa.Table, prefixes: Collection[str]) -> pa.BooleanArray:
    """Of each segment, whether there is an object with the ETag of its stamp: a call for each thousand objects."""
    etags = column(segments, "stamp_etag")

    def listed(stretch: Stretch) -> pa.UInt64Array:
        rows: list[pa.Array] = [pa.array([], pa.uint64())]
        with suppress(ObjectNotFoundError):
            for page in store.list_etags(stretch.url, after=stretch.after, until=stretch.until):
                keys, found = zip(*page, strict=True) if page else ((), ())
                rows.append(stretch.matching(pa.array(keys, pa.string()), pa.array(found, pa.string()), etags))
        return pa.concat_arrays(rows)

    found = bytearray(len(segments))
    with ThreadPoolExecutor(_LISTINGS, thread_name_prefix="list") as pool:
        running: deque[Future[pa.UInt64Array]] = deque()
        for stretch in stretches(segments, prefixes, _LISTED_AT_ONCE):
            running.append(pool.submit(listed, stretch))
            while len(running) >= _LISTINGS:
                _mark(found, running.popleft().result())
        while running:
            _mark(found, running.popleft().result())
    return pa.array(found, pa.uint8()).cast(pa.bool_())


def _mark(found: bytearray, rows: pa.UInt64Array) -> None:
    for row in rows.to_pylist():
        found[row] = 1


def _progress(rows: PlanRows) -> Progress:
    """How far the table is before the run; what waits is what the run leaves to later ones."""
    found = Counter[str]()
    for tally in rows.tallies():
        verdict = tally.verdict
        if verdict.action is Action.NOT_ELIGIBLE:
            continue
        found["eligible"] += tally.segments
        if verdict.action in (Action.SKIP, Action.INCURABLE):
            found["stamped"] += tally.segments
            continue
        found["left"] += tally.segments
        found["left_bytes"] += tally.bytes
        if verdict.deferred_by in (DeferredBy.BUDGET, DeferredBy.MAX_SEGMENTS):
            found["waiting"] += tally.segments
            found["waiting_bytes"] += tally.bytes
        elif verdict.deferred_by is DeferredBy.DOWNLOADS:
            found["held"] += tally.segments
            found["held_bytes"] += tally.bytes
    return Progress(**found)


def _log_plan(plan: Plan, rows: PlanRows, state: TableState, log: logging.Logger) -> None:
    request = plan.request
    scope = [
        "force" if request.force else "reloadOnly",
        *(["dry run"] if request.dry_run else []),
        *([f"segments {', '.join(request.segments)}"] if request.segments else []),
        *([f"data interval {request.interval[0]}–{request.interval[1] or ''} ms"] if request.interval else []),
    ]
    total = len(state.segments)
    log.info("%s: %d of %d segments in scope (%s)", plan.table, len(rows), total, "; ".join(scope))
    tallies = rows.tallies()
    hosting = {server for tally in tallies for server in tally.verdict.replicas}
    answers = state.stale.servers
    silent = sorted(server for server in hosting if not (answer := answers.get(server)) or not answer.valid)
    if silent:
        log.warning(
            "no valid isStale answer from %s (%d of %d hosting servers): segments they host count as unknown. Start "
            "the server, or look at its log for the error",
            ", ".join(silent), len(silent), len(hosting),
        )  # fmt: skip
    counts, sizes = Counter[Action](), Counter[Action]()
    reasons = Counter[tuple[Action, str]]()
    for tally in tallies:
        counts[tally.verdict.action] += tally.segments
        sizes[tally.verdict.action] += tally.bytes
        reasons[tally.verdict.action, tally.verdict.reason or "its download URL cannot be used"] += tally.segments
    log.info("::group::Plan by action and reason")
    for (action, reason), count in reasons.most_common(100):
        log.info("%6d %-12s %s", count, action, reason)
    log.info("::endgroup::")
    for action in Action:
        if counts[action]:
            log.info("%s: %d segments, %d bytes", action, counts[action], sizes[action])
    if not rows.batches:
        log.info("nothing to do")
    elif total >= storage_quota.LARGE and (quota := storage_quota.storage_quota(state.table_config)):
        log.warning("%s", storage_quota.quota_words(quota, total))
