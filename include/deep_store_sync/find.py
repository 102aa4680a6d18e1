"""The first step of a run: ask controller and servers how the table is, and write the plan."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from deep_store_sync.decide import lies_in
from deep_store_sync.errors import ConfigError, ObjectNotFoundError
from deep_store_sync.model import Action, Plan, RunRequest
from deep_store_sync.plan import WORK, Batch, Limits, TableState, batches, build_plan, with_consuming
from deep_store_sync.services import Services
from deep_store_sync.stamp import ETAG_KEY
from deep_store_sync.store.object_url import object_url, parse_url
from deep_store_sync.store.versioning import Versioning
from deep_store_sync.workspace import Workspace


@dataclass(frozen=True, slots=True)
class FoundPlan:
    """A plan, where it lies, and the batches to work on: none in a dry run, and none when nothing is to be done."""

    plan: Plan
    plan_url: str
    batches: tuple[Batch, ...]


def find_stale_segments(
    services: Services, request: RunRequest, *, log: logging.Logger, now_ms: int | None = None
) -> FoundPlan:
    """Decide every segment of the table and leave the plan in the workspace.

    Raises:
        PinotNotFoundError: there is no such table.
        PinotError: the controller does not answer, or not what it should.
        StoreCapabilityError: the store ignores the conditions that overwriting depends on, or does not keep versions
            where they are to be the backup. Asked when there is work.
        DeepStoreError: the workspace cannot be written.
    """
    settings = services.settings
    created_ms = int(time.time() * 1000) if now_ms is None else now_ms
    state = read_table(services)
    plan = build_plan(
        state,
        request,
        prefixes=settings.deep_store_prefixes,
        limits=Limits(settings.audit_budget, settings.batch_bytes, settings.batch_segments),
        created_ms=created_ms,
    )
    workspace = Workspace.for_run(services.store, settings.workspace, settings.table, request.run_id, created_ms)
    found = () if request.dry_run else tuple(batches(plan))
    if found:
        # What one request cannot carry is written in parts, for which a store may have other rules; indexes add size.
        largest = 2 * max(row.size_bytes for row in plan.segments if row.batch is not None)
        services.store.probe(workspace.run_url, multipart=largest > services.store.multipart_threshold)
        if settings.backup == "versioning":
            versioning = Versioning(services.store)
            for row in plan.segments:
                if row.batch is not None:
                    versioning.require(row.url)
    url = workspace.write_plan(plan)
    _log_plan(plan, len(state.records), state, log)
    return FoundPlan(plan, url, found)


def read_table(services: Services) -> TableState:
    """A table as it is now. A handful of calls, whatever the number of segments."""
    controller, table = services.controller, services.settings.table
    # Config and schema first: a change that comes while the rest is read makes the plan older than the table, never
    # newer, and the check before each wave finds it.
    config, schema, records = controller.table_config(table), controller.schema(table), controller.segments(table)
    ideal_state = controller.ideal_state(table)
    if table.endswith("_REALTIME"):
        # Before servers are asked: one that has its committed copy now has it then, too.
        ideal_state = with_consuming(ideal_state, controller.external_view(table))
    return TableState(
        table=table,
        table_config=config,
        schema=schema,
        records=records,
        ideal_state=ideal_state,
        answers=controller.stale(table),
        lineage=controller.lineage(table),
        etags=_etags(services, [record.url for record in records if record.url and ETAG_KEY in record.custom]),
    )


def _etags(services: Services, urls: Collection[str]) -> dict[str, str]:
    """ETag by URL, from listings of the folders that the objects lie in, a call for each thousand objects there.

    What lies outside the deep store now, or nowhere, is no object that a stamp could speak of.
    """
    places = {}
    for url in urls:
        if lies_in(url, services.settings.deep_store_prefixes):
            with suppress(ConfigError):
                places[url] = parse_url(url)
    wanted = set(places.values())
    etags: dict[tuple[str, str], str] = {}
    for bucket, folder in sorted({(bucket, key.rpartition("/")[0]) for bucket, key in places.values()}):
        with suppress(ObjectNotFoundError):
            for item in services.store.list(object_url(bucket, folder + "/" if folder else "")):
                if (place := parse_url(item.url)) in wanted:
                    etags[place] = item.etag
    return {url: etags[place] for url, place in places.items() if place in etags}


def _log_plan(plan: Plan, total: int, state: TableState, log: logging.Logger) -> None:
    request = plan.request
    scope = [
        "force" if request.force else "reloadOnly",
        *(["dry run"] if request.dry_run else []),
        *([f"segments {', '.join(request.segments)}"] if request.segments else []),
        *([f"data interval {request.interval[0]}–{request.interval[1]} ms"] if request.interval else []),
    ]
    log.info("%s: %d of %d segments in scope (%s)", plan.table, len(plan.segments), total, "; ".join(scope))
    hosting = {server for row in plan.segments for server in row.replicas}
    silent = sorted(server for server in hosting if not (answer := state.answers.get(server)) or not answer.valid)
    if silent:
        log.warning(
            "no valid isStale answer from %s (%d of %d hosting servers): segments they host count as unknown. Start "
            "the server, or look at its log for the error",
            ", ".join(silent), len(silent), len(hosting),
        )  # fmt: skip
    log.info("::group::Plan by action and reason")
    for (action, reason), count in Counter((row.action, row.reason) for row in plan.segments).most_common(100):
        log.info("%6d %-12s %s", count, action, reason)
    log.info("::endgroup::")
    for action in Action:
        rows = [row for row in plan.segments if row.action is action]
        if rows:
            log.info("%s: %d segments, %d bytes", action, len(rows), sum(row.size_bytes for row in rows))
    if not any(row.action in WORK for row in plan.segments):
        log.info("nothing to do")
