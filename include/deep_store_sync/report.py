"""The last step of a run: one outcome for every segment of the plan, and whether the run may call itself done."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deep_store_sync.model import (
    Action,
    DeferredBy,
    Outcome,
    Plan,
    PlannedSegment,
    Published,
    PublishMode,
    RebuildResult,
    Rebuilt,
    SegmentOutcome,
)
from deep_store_sync.plan import WORK, batches
from deep_store_sync.services import Services
from deep_store_sync.workspace import Workspace

_WITHOUT_WORK: Mapping[Action, Outcome] = {
    Action.SKIP: Outcome.SKIPPED,
    Action.DEFER: Outcome.DEFERRED,
    Action.NOT_ELIGIBLE: Outcome.NOT_ELIGIBLE,
    Action.INCURABLE: Outcome.INCURABLE,
}

# Deferrals that somebody asked for. The others mean that the run could not do what it was meant to.
_ASKED_FOR = frozenset({DeferredBy.BUDGET, DeferredBy.MAX_SEGMENTS})

_WORTH_A_LOOK = frozenset({Outcome.FAILED, Outcome.LOST_RACE, Outcome.INCURABLE, Outcome.NOT_ELIGIBLE})

_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run came to.

    `counts` has every outcome that occurred. Bytes: `downloaded_bytes` by the workers from the deep store,
    `uploaded_bytes` to it. `server_downloads` were asked for. `undone` is empty when nothing was left undone; else a
    line for each kind of trouble, with examples. `url` is the report's Parquet file (`SegmentOutcome` rows), None in a
    dry run.
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


def write_report(services: Services, plan_url: str, *, log: logging.Logger) -> RunReport:
    """Collect the outcomes of a run, store them, and log them.

    A segment of which its batch left no outcome has failed: nothing that the plan saw goes unmentioned.

    Raises:
        DeepStoreError: plan or results cannot be read, or the report cannot be written.
    """
    workspace = Workspace.of_plan(services.store, plan_url)
    plan = workspace.read_plan()
    if plan.request.dry_run:
        report = _dry_run(plan)
        _log(report, plan, [], log)
        return report
    results: dict[str, SegmentOutcome] = {}
    for batch in batches(plan):
        for outcome in workspace.read_results("stamped", batch.id, SegmentOutcome) or _unfinished(workspace, batch.id):
            results[outcome.segment] = outcome
    outcomes = [_outcome(row, results) for row in plan.segments]
    url = workspace.write_report(outcomes)
    report = RunReport(
        table=plan.table,
        dry_run=False,
        counts=Counter(outcome.outcome for outcome in outcomes),
        quiet=sum(outcome.mode is PublishMode.QUIET and outcome.outcome is Outcome.SYNCED for outcome in outcomes),
        refreshed=sum(
            outcome.mode is PublishMode.REFRESH and outcome.outcome is Outcome.SYNCED for outcome in outcomes
        ),
        downloaded_bytes=sum(outcome.object_bytes for outcome in outcomes),
        uploaded_bytes=sum(outcome.uploaded_bytes for outcome in outcomes),
        server_downloads=sum(outcome.downloads for outcome in outcomes),
        undone=tuple(_undone(outcomes, services.settings.max_deferred_share)),
        url=url,
    )
    _log(report, plan, outcomes, log)
    return report


def _outcome(row: PlannedSegment, results: Mapping[str, SegmentOutcome]) -> SegmentOutcome:
    if row.action in WORK:
        missing = SegmentOutcome(
            row.segment,
            Outcome.FAILED,
            f"batch {row.batch} did not finish: see the log of its tasks. The next run takes the segment up again",
            crc=row.crc,
        )
        return results.get(row.segment, missing)
    return SegmentOutcome(
        row.segment,
        _WITHOUT_WORK[row.action],
        row.reason,
        crc=row.crc,
        new_crc=row.crc,
        deferred_by=row.deferred_by,
    )


def _unfinished(workspace: Workspace, batch: str) -> list[SegmentOutcome]:
    """Outcomes of a batch that was not stamped: only what had come to an end before is true."""
    published = workspace.read_results("published", batch, Published) or ()
    if published:
        return [result for result in published if result.pending is None]
    rebuilt = workspace.read_results("rebuilt", batch, RebuildResult) or ()
    return [
        SegmentOutcome(result.segment, Outcome.FAILED, result.message, crc=result.crc)
        for result in rebuilt
        if result.status is Rebuilt.FAILED
    ]


def _undone(outcomes: Sequence[SegmentOutcome], max_deferred_share: float) -> list[str]:
    lines = []
    failed = [outcome for outcome in outcomes if outcome.outcome is Outcome.FAILED]
    if failed:
        lines.append(f"{len(failed)} failed: {_examples(failed)}")
    deferred = [
        outcome for outcome in outcomes if outcome.outcome is Outcome.DEFERRED and outcome.deferred_by not in _ASKED_FOR
    ]
    eligible = sum(outcome.outcome is not Outcome.NOT_ELIGIBLE for outcome in outcomes)
    if len(deferred) > max_deferred_share * eligible:
        lines.append(
            f"{len(deferred)} of {eligible} deferred, more than maxDeferredShare of {max_deferred_share:g} allows: "
            + _examples(deferred)
        )
    return lines


def _examples(outcomes: Sequence[SegmentOutcome]) -> str:
    shown = "; ".join(f"{outcome.segment}: {outcome.message}" for outcome in outcomes[:_EXAMPLES])
    more = len(outcomes) - _EXAMPLES
    return shown + (f"; and {more} more" if more > 0 else "")


def _dry_run(plan: Plan) -> RunReport:
    return RunReport(plan.table, True, {}, 0, 0, 0, 0, 0, (), None)


def _log(report: RunReport, plan: Plan, outcomes: Sequence[SegmentOutcome], log: logging.Logger) -> None:
    if report.dry_run:
        log.info("%s: dry run, nothing was changed. A run now would do this:", report.table)
        for action, count in Counter(row.action for row in plan.segments).most_common():
            size = sum(row.size_bytes for row in plan.segments if row.action is action)
            log.info("%6d segments, %d bytes: %s", count, size, action)
        return
    for outcome, count in sorted(report.counts.items()):
        log.info("%6d %s", count, outcome)
    log.info(
        "%s: %d published quietly, %d by refresh; %d bytes downloaded, %d uploaded; %d server downloads asked for; "
        "report %s",
        report.table,
        report.quiet,
        report.refreshed,
        report.downloaded_bytes,
        report.uploaded_bytes,
        report.server_downloads,
        report.url,
    )
    log.info("::group::What needs somebody's eye")
    for row in outcomes:
        if row.outcome in _WORTH_A_LOOK or row.unproven:
            log.info("%s: %s: %s", row.segment, row.outcome, row.message)
    log.info("::endgroup::")
