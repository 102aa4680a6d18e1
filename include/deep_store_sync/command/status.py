"""`deep-store-sync status`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import datetime

from deep_store_sync.command.connections import open_store
from deep_store_sync.command.every_table import for_every_table
from deep_store_sync.command.exit_codes import DONE, UNDONE
from deep_store_sync.command.output import facts, heading, say, table
from deep_store_sync.command.tables import meant_tables
from deep_store_sync.overview.overview import Overviews, TableOverview
from deep_store_sync.overview.running import Running
from deep_store_sync.runs import Run
from deep_store_sync.settings import TableSync
from deep_store_sync.spoken import spoken_bytes, spoken_seconds
from deep_store_sync.states import SegmentState

HELP = (
    "tell how tables stand and what their last runs did, from the workspace alone; of tables by discovery, those that "
    "have had a run"
)

_SHOWN_RUNS = 5
_SHOWN_REASONS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has no options of its own."""


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Tell of all tables that are meant; returns the exit code."""

    def look(settings: TableSync) -> TableOverview:
        with open_store(settings) as store:
            return Overviews().look(store, settings.workspace, settings.table).overview()

    return for_every_table(
        options,
        meant_tables(options, environment, asking=False),
        look,
        tell=_tell,
        code=lambda overview: DONE if _in_sync(overview) else UNDONE,
    )


def _in_sync(overview: TableOverview) -> bool:
    left = (SegmentState.OUT_OF_SYNC, SegmentState.UNKNOWN)
    return overview.whole and not any(overview.states[state].segments for state in left)


def _tell(overview: TableOverview) -> None:
    heading(overview.table)
    if overview.as_of is None:
        say("  Nothing is known: no run has left a plan. Begin with a dry run.")
    else:
        partly = "" if overview.whole else "; no run has looked at all segments yet"
        facts([("as of", _moment(overview.as_of) + partly)])
        facts(
            (state, f"{amount.segments} segments, {spoken_bytes(amount.bytes)}")
            for state, amount in overview.states.items()
        )
    for reason in overview.reasons[:_SHOWN_REASONS]:
        say(f"  {reason.segments} {reason.state}: {reason.reason}")
    if overview.running:
        say(f"  Not reported yet: {_progress(overview.running)}")
    if overview.runs:
        table(("RUN", "PLANNED", "TOOK", "OUTCOMES"), [_told(of) for of in overview.runs[:_SHOWN_RUNS]])
    if overview.saved.runs:
        say(
            f"Saved by {overview.saved.runs} runs: {overview.saved.downloads} server downloads, "
            f"{spoken_bytes(overview.saved.bytes)}"
        )


def _told(of: Run) -> tuple[str, str, str, str]:
    if of.problem:
        said = of.problem
    elif of.dry_run:
        said = "dry run"
    elif of.totals:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in of.totals.counts.items())
        said = (
            f"{counts or 'nothing to look at'}; {spoken_bytes(of.totals.uploaded_bytes)} uploaded, "
            f"{of.totals.server_downloads} server downloads"
        )
    else:
        said = "no report yet" if of.report_url is None else "its report is of an older version: no totals"
    return of.run_id, _moment(of.began), spoken_seconds(of.duration_s) if of.duration_s is not None else "-", said


def _progress(of: Running) -> str:
    left = f", about {spoken_seconds(of.left_s)} left" if of.left_s is not None else ""
    return (
        f"{of.run_id}: {of.stamped.batches} of {of.batches} batches done, {of.stamped.segments} of "
        f"{of.work.segments} segments{left}; last heard of {_moment(of.last)}"
    )


def _moment(when: datetime | None) -> str:
    return when.strftime("%Y-%m-%d %H:%M:%S UTC") if when else "-"
