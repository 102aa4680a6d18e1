"""`deep-store-sync rollback`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from contextlib import ExitStack

from deep_store_sync.command.connections import open_services
from deep_store_sync.command.exit_codes import DONE, UNDONE
from deep_store_sync.command.output import counted, document, members, say, table
from deep_store_sync.command.progress import counting
from deep_store_sync.command.tables import meant_tables
from deep_store_sync.upkeep.rollback import no_such_run, roll_back

HELP = "bring back what a run has overwritten: objects, CRCs and stamps"

log = logging.getLogger("deep_store_sync")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--run", required=True, metavar="RUN", help="the run's id, as Airflow shows it")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be done")


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Roll a run back in all tables that are meant; returns the exit code."""
    results = []
    with ExitStack() as stack:
        opened = [
            stack.enter_context(open_services(settings, environment)) for settings in meant_tables(options, environment)
        ]
        for services in opened:
            with counting(f"{services.settings.table}: rolling back segments") as done:
                result = roll_back(
                    services, options.run, globs=options.segment, dry_run=options.dry_run, log=log, done=done
                )
            if result is not None:
                results.append(result)
        if not results:
            raise no_such_run(opened[0], options.run)
    if options.json:
        document({"tables": [{**members(result), "complete": result.complete} for result in results]})
    for result in [] if options.json else results:
        table(("SEGMENT", "OUTCOME", "WHY"), [(row.segment, row.outcome, row.message) for row in result.segments])
        counts = counted(row.outcome for row in result.segments)
        say(f"{result.table}, run {result.run_id}: {counts or 'it has overwritten nothing of this'}")
        for note in result.notes:
            say(f"Note: {note}")
    return DONE if all(result.complete for result in results) else UNDONE
