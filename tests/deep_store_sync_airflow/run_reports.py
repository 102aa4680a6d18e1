"""Reports of runs, as the core gives them to Airflow's last task."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from deep_store_sync.estimate import estimate
from deep_store_sync.model import Outcome
from deep_store_sync.report import RunReport
from deep_store_sync.tally import Progress

REPORT = RunReport(
    table="flights_OFFLINE",
    dry_run=False,
    counts={Outcome.SYNCED: 12, Outcome.SKIPPED: 3, Outcome.LOST_RACE: 1},
    quiet=10,
    refreshed=2,
    downloaded_bytes=5_300_000,
    uploaded_bytes=7_600_000,
    server_downloads=4,
    undone=(),
    url="s3://pinot/deep-store-sync/flights_OFFLINE/runs/r/1/report.parquet",
    progress=Progress(stamped=15, eligible=16, left=1, left_bytes=400_000),
    table_hash="v1:abc",
)
DRY_RUN = RunReport("flights_OFFLINE", True, {}, 0, 0, 0, 0, 0, (), None, Progress(), estimate([], {}))


def report(**changes: Any) -> RunReport:
    """The report with something else in it."""
    return replace(REPORT, **changes)
