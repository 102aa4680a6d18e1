"""What a run came to, as Airflow shows it: a line for people, facts for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deep_store_sync.model import Outcome, RunRequest
from deep_store_sync.spoken import spoken_bytes

if TYPE_CHECKING:
    from deep_store_sync.report import RunReport


def looked_at_all(request: RunRequest) -> bool:
    """Whether a run looked at all segments of its table, so that what it came to says how far the table is."""
    return not request.segments and request.interval is None


def summary(report: RunReport) -> str:
    """A run in a line: `12 synced (10 quiet, 2 by refresh), 3 skipped; …`."""
    if report.dry_run:
        planned = report.estimate
        if planned is None or not planned.work:
            return "dry run: nothing to do"
        return (
            f"dry run: {planned.work} of {planned.segments} segments would be worked on, of "
            f"{spoken_bytes(planned.download_bytes)}, with {planned.server_downloads} server downloads"
        )
    counts = ", ".join(_count(report, outcome) for outcome in Outcome if report.counts.get(outcome))
    progress = report.progress
    return (
        f"{counts or 'no segments'}; {spoken_bytes(report.uploaded_bytes)} uploaded, {report.server_downloads} server "
        f"downloads; {progress.stamped} of {progress.eligible} segments in sync"
    )


def _count(report: RunReport, outcome: Outcome) -> str:
    said = f"{report.counts[outcome]} {outcome}"
    return said + (f" ({report.quiet} quiet, {report.refreshed} by refresh)" if outcome is Outcome.SYNCED else "")


def changes(report: RunReport) -> dict[str, Any]:
    """What a run has changed, for whoever waits for it."""
    return {
        "segments": _by_outcome(report.counts),
        "quiet": report.quiet,
        "refreshed": report.refreshed,
        "uploadedBytes": report.uploaded_bytes,
        "serverDownloads": report.server_downloads,
        "tableHash": report.table_hash,
        "report": report.url,
    }


def last_run(report: RunReport, run_id: str) -> dict[str, Any]:
    """A run, as the asset of its table remembers the last one."""
    return {
        "run": run_id,
        "summary": summary(report),
        "downloadedBytes": report.downloaded_bytes,
        "undone": len(report.undone),
        **changes(report),
    }


def table_status(report: RunReport, run_id: str) -> dict[str, Any]:
    """How far a table is, after a run that looked at all of its segments."""
    progress = report.progress
    return {
        "run": run_id,
        "inSync": progress.left == 0,
        "segments": progress.eligible,
        "stamped": progress.stamped,
        "left": progress.left,
        "leftBytes": progress.left_bytes,
        "tableHash": report.table_hash,
    }


def _by_outcome(counts: Mapping[Outcome, int]) -> dict[str, int]:
    return {str(outcome): count for outcome, count in sorted(counts.items())}
