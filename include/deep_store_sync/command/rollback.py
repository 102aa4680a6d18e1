"""`deep-store-sync rollback`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping

from deep_store_sync.command.connections import open_services
from deep_store_sync.command.every_table import for_every_table
from deep_store_sync.command.exit_codes import DONE, UNDONE
from deep_store_sync.command.output import counted, members, say, table
from deep_store_sync.command.progress import counting
from deep_store_sync.command.tables import meant_tables
from deep_store_sync.settings import TableSync
from deep_store_sync.upkeep.rollback import Rollback, roll_back

HELP = "bring back what a run has overwritten: objects, CRCs and stamps"

log = logging.getLogger("deep_store_sync")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--run", required=True, metavar="RUN", help="the run's id, as status and Airflow show it")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be done")


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Roll a run back in all tables that are meant and have it; returns the exit code."""

    def look(settings: TableSync) -> Rollback:
        with (
            open_services(settings, environment) as services,
            counting(f"{settings.table}: rolling back segments") as done,
        ):
            return roll_back(services, options.run, globs=options.segment, dry_run=options.dry_run, log=log, done=done)

    return for_every_table(
        options,
        meant_tables(options, environment),
        look,
        tell=_tell,
        plain=lambda result: {**members(result), "complete": result.complete},
        code=lambda result: DONE if result.complete else UNDONE,
    )


def _tell(result: Rollback) -> None:
    if result.segments:
        table(("SEGMENT", "OUTCOME", "WHY"), [(row.segment, row.outcome, row.message) for row in result.segments])
    counts = counted(row.outcome for row in result.segments)
    say(f"{result.table}, run {result.run_id}: {counts or 'it has overwritten nothing of this'}")
    for note in result.notes:
        say(f"Note: {note}")
