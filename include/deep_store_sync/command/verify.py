"""`deep-store-sync verify`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping

from deep_store_sync.command.arguments import count
from deep_store_sync.command.exit_codes import DONE, UNDONE
from deep_store_sync.command.output import document, members, say, table
from deep_store_sync.command.progress import counting
from deep_store_sync.command.tables import each_table
from deep_store_sync.upkeep.verify_table import Verdict, summary, verify_table

HELP = "check that objects exist, have ZooKeeper's CRC, and that stamps are true"

log = logging.getLogger("deep_store_sync")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--sample", type=count, metavar="N", help="only so many segments of a table, at random")


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Verify all tables that are meant; returns the exit code."""
    results = []
    for services in each_table(options, environment):
        with counting(f"{services.settings.table}: checking segments") as done:
            results.append(verify_table(services, globs=options.segment, sample=options.sample, log=log, done=done))
    if options.json:
        document({"tables": [{**members(result), "true": result.true} for result in results]})
    for result in [] if options.json else results:
        told = [row for row in result.segments if row.verdict is not Verdict.TRUE or row.message]
        if told:
            table(("SEGMENT", "VERDICT", "WHY"), [(row.segment, row.verdict, row.message) for row in told])
        say(summary(result))
    return DONE if all(result.true for result in results) else UNDONE
