"""The last step of a run: one outcome for every segment of the plan, and whether the run may call itself done."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from deep_store_sync.estimate import Estimate, estimate, estimate_lines
from deep_store_sync.model import Outcome
from deep_store_sync.outcomes import outcomes
from deep_store_sync.past_runs import known_pace
from deep_store_sync.services import Services
from deep_store_sync.table_hash import table_hash
from deep_store_sync.tally import Progress, Tally, progress_line
from deep_store_sync.workspace import Workspace


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run came to.

    `counts` has every outcome that occurred. Bytes: `downloaded_bytes` by the workers from the deep store,
    `uploaded_bytes` to it. `server_downloads` were asked for, of `server_bytes`; each of the `refreshed` segments was a
    message to each of its servers. `undone` is empty when nothing was left undone; else a
    line for each kind of trouble, with examples. `url` is the report's Parquet file (`SegmentOutcome` rows), None in a
    dry run. `progress` is how far the table is. `estimate` is what the plan of a dry run would cost.
    `table_hash` is that of the config and schema which the run was for, outside of tiers.
    """

    table: str
    dry_run: bool
    counts: Mapping[Outcome, int]
    quiet: int
    refreshed: int
    downloaded_bytes: int
    uploaded_bytes: int
    server_downloads: int
    undone: tuple[str, ...]
    url: str | None
    progress: Progress
    estimate: Estimate | None = None
    server_bytes: int = 0
    table_hash: str | None = None


def write_report(services: Services, plan_url: str, *, log: logging.Logger) -> RunReport:
    """Collect the outcomes of a run, store them, and log them.

    A segment of which its batch left no outcome has failed: nothing that the plan saw goes unmentioned.

    Raises:
        DeepStoreError: plan or results cannot be read, or the report cannot be written.
    """
    workspace = Workspace.of_plan(services.store, plan_url)
    reader = workspace.open_plan()
    plan = reader.plan
    if plan.request.dry_run:
        found = estimate(reader.groups(), plan.table_config, known_pace(services, log))
        _log_dry_run(plan.table, found, log)
        return RunReport(plan.table, True, {}, 0, 0, 0, 0, 0, (), None, Progress(), found)
    tally = Tally()
    url = workspace.write_report_columns(tally.counting(outcomes(workspace, reader)), tally.totals)
    report = RunReport(
        table=plan.table,
        dry_run=False,
        counts=tally.counts,
        quiet=tally.quiet,
        refreshed=tally.refreshed,
        downloaded_bytes=tally.downloaded_bytes,
        uploaded_bytes=tally.uploaded_bytes,
        server_downloads=tally.server_downloads,
        undone=tuple(_undone(tally, services.settings.max_deferred_share)),
        url=url,
        progress=tally.progress,
        server_bytes=tally.server_bytes,
        table_hash=table_hash(plan.table_config, plan.schema),
    )
    _log(report, tally, log)
    log.info(
        "%s",
        progress_line(
            report.progress,
            audit_bytes=services.settings.audit_budget,
            max_segments=plan.request.max_segments,
            forced=plan.request.force,
        ),
    )
    return report


def _undone(tally: Tally, max_deferred_share: float) -> list[str]:
    lines = []
    if tally.failed.count:
        lines.append(f"{tally.failed.count} failed: {tally.failed.examples()}")
    if tally.left_alone.count:
        lines.append(
            f"{tally.left_alone.count} left alone, since so many failed: mend what the failures name, or raise "
            f"maxFailures and maxFailedShare, and run again: {tally.left_alone.examples()}"
        )
    eligible = tally.progress.eligible
    if tally.deferred.count > max_deferred_share * eligible:
        lines.append(
            f"{tally.deferred.count} of {eligible} deferred, more than maxDeferredShare of {max_deferred_share:g} "
            f"allows: {tally.deferred.examples()}"
        )
    return lines


def _log_dry_run(table: str, found: Estimate, log: logging.Logger) -> None:
    log.info("%s: dry run, nothing was changed. A run now would do this:", table)
    for of in sorted(found.actions, key=lambda of: -of.segments):
        log.info("%6d segments, %d bytes: %s", of.segments, of.bytes, of.action)
    for line in estimate_lines(found):
        log.info("%s", line)


def _log(report: RunReport, tally: Tally, log: logging.Logger) -> None:
    for outcome, count in sorted(report.counts.items()):
        log.info("%6d %s", count, outcome)
    log.info(
        "%s: %d published quietly, %d by refresh; %d bytes downloaded, %d uploaded; %d server downloads asked for, "
        "of %d bytes; report %s",
        report.table,
        report.quiet,
        report.refreshed,
        report.downloaded_bytes,
        report.uploaded_bytes,
        report.server_downloads,
        report.server_bytes,
        report.url,
    )
    log.info("::group::What needs somebody's eye")
    for row in tally.worth_a_look.first:
        log.info("%s: %s: %s", row.segment, row.outcome, row.message)
    if (more := tally.worth_a_look.count - len(tally.worth_a_look.first)) > 0:
        log.info("and %d more: see the report", more)
    log.info("::endgroup::")
