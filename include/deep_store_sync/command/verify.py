"""`deep-store-sync verify`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping

from deep_store_sync.command.arguments import count
from deep_store_sync.command.connections import open_services
from deep_store_sync.command.every_table import for_every_table
from deep_store_sync.command.exit_codes import DONE, UNDONE
from deep_store_sync.command.output import members, say, table
from deep_store_sync.command.progress import counting
from deep_store_sync.command.tables import meant_tables
from deep_store_sync.settings import TableSync
from deep_store_sync.upkeep.verify_table import TableCheck, Verdict, summary, verify_table

HELP = "check that objects exist, have ZooKeeper's CRC, and that stamps are true"

log = logging.getLogger("deep_store_sync")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--sample", type=count, metavar="N", help="only so many segments of a table, at random")


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Verify all tables that are meant; returns the exit code."""

    def look(settings: TableSync) -> TableCheck:
        with open_services(settings, environment) as services, counting(f"{settings.table}: checking segments") as done:
            return verify_table(services, globs=options.segment, sample=options.sample, log=log, done=done)

    return for_every_table(
        options,
        meant_tables(options, environment),
        look,
        tell=_tell,
        plain=lambda result: {**members(result), "true": result.true},
        code=lambda result: DONE if result.true else UNDONE,
    )


def _tell(result: TableCheck) -> None:
    rows = [row for row in result.segments if row.verdict is not Verdict.TRUE or row.message]
    if rows:
        table(("SEGMENT", "VERDICT", "WHY"), [(row.segment, row.verdict, row.message) for row in rows])
    say(summary(result))
