"""Numbers for Airflow's own metrics: StatsD, OpenTelemetry or Datadog, whatever it is set to send to.

Counters and timers carry the table as a tag. Plain StatsD has no tags, and adds up all tables there; so gauges, which
cannot be added up, have the table in their names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.sdk.observability.stats import Stats, normalize_name_for_stats

if TYPE_CHECKING:
    from deep_store_sync.report import RunReport

PREFIX = "deep_store_sync"


@contextmanager
def timed(step: str, table: str) -> Iterator[None]:
    """Times a step: `deep_store_sync.<step>`, in milliseconds, also when it fails."""
    with Stats.timer(f"{PREFIX}.{step}", tags=_tags(table)):
        yield


def count_run(report: RunReport) -> None:
    """Counts what a run came to, and sets how far the table is. Nothing for a dry run."""
    if report.dry_run:
        return
    tags = _tags(report.table)
    counters = {
        **{f"segments.{str(outcome).replace(' ', '_')}": count for outcome, count in report.counts.items()},
        "downloaded_bytes": report.downloaded_bytes,
        "uploaded_bytes": report.uploaded_bytes,
        "server_downloads": report.server_downloads,
    }
    for name, count in counters.items():
        if count:
            Stats.incr(f"{PREFIX}.{name}", count, tags=tags)


def show_table(report: RunReport) -> None:
    """Sets how far the table is, after a run that looked at all of its segments."""
    table, progress = _in_a_name(report.table), report.progress
    gauges = {
        "segments_in_sync": progress.stamped,
        "segments_left": progress.left,
        "bytes_left": progress.left_bytes,
    }
    for name, value in gauges.items():
        Stats.gauge(f"{PREFIX}.table.{table}.{name}", value)


def _tags(table: str) -> dict[str, str]:
    return {"table": table}


def _in_a_name(table: str) -> str:
    """A dot would begin another level of names."""
    return normalize_name_for_stats(table.replace(".", "__"), log_warning=False)
