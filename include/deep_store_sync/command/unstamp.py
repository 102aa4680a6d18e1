"""`deep-store-sync unstamp`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from deep_store_sync.command.connections import open_services
from deep_store_sync.command.every_table import for_every_table
from deep_store_sync.command.exit_codes import DONE, UNDONE
from deep_store_sync.command.output import counted, say, table
from deep_store_sync.command.progress import counting
from deep_store_sync.command.tables import meant_tables
from deep_store_sync.errors import ConfigError
from deep_store_sync.settings import TableSync
from deep_store_sync.upkeep.unstamp import SegmentUnstamp, Unstamped, unstamp

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

    def look(settings: TableSync) -> Stamps:
        with (
            open_services(settings, environment) as services,
            counting(f"{settings.table}: taking stamps away") as done,
        ):
            rows = unstamp(
                services, globs=options.segment, run_id=options.run, dry_run=options.dry_run, log=log, done=done
            )
            return Stamps(settings.table, rows)

    return for_every_table(options, meant_tables(options, environment), look, tell=_tell, code=_code)


@dataclass(frozen=True, slots=True)
class Stamps:
    """What became of the stamps of one table."""

    table: str
    segments: list[SegmentUnstamp]


def _tell(found: Stamps) -> None:
    if found.segments:
        table(("SEGMENT", "OUTCOME", "WHY"), [(row.segment, row.outcome, row.message) for row in found.segments])
    say(f"{found.table}: {counted(row.outcome for row in found.segments) or 'no such stamps'}")


def _code(found: Stamps) -> int:
    left = (Unstamped.LEFT_ALONE, Unstamped.FAILED)
    return UNDONE if any(row.outcome in left for row in found.segments) else DONE
