"""`deep-store-sync unstamp`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping

from deep_store_sync.command.exit_codes import DONE, UNDONE
from deep_store_sync.command.output import counted, document, say, table
from deep_store_sync.command.progress import counting
from deep_store_sync.command.tables import each_table
from deep_store_sync.errors import ConfigError
from deep_store_sync.upkeep.unstamp import Unstamped, unstamp

HELP = "take stamps away, so that the next run looks into the segments again"

log = logging.getLogger("deep_store_sync")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--run", metavar="RUN", help="only stamps that this run has set")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be done")


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Take stamps away in all tables that are meant; returns the exit code."""
    if not options.segment and not options.run:
        raise ConfigError("say which stamps: give --segment or --run; --segment '*' stands for all of them")
    results = []
    for services in each_table(options, environment):
        with counting(f"{services.settings.table}: taking stamps away") as done:
            rows = unstamp(
                services, globs=options.segment, run_id=options.run, dry_run=options.dry_run, log=log, done=done
            )
        results.append((services.settings.table, rows))
    if options.json:
        document({"tables": [{"table": name, "segments": rows} for name, rows in results]})
    for name, rows in [] if options.json else results:
        if rows:
            table(("SEGMENT", "OUTCOME", "WHY"), [(row.segment, row.outcome, row.message) for row in rows])
        say(f"{name}: {counted(row.outcome for row in rows) or 'no such stamps'}")
    kinds = {row.outcome for _, rows in results for row in rows}
    return UNDONE if kinds & {Unstamped.LEFT_ALONE, Unstamped.FAILED} else DONE
