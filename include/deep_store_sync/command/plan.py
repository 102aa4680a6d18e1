"""`deep-store-sync plan`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping

from deep_store_sync.command.arguments import count
from deep_store_sync.command.connections import open_services
from deep_store_sync.command.every_table import for_every_table
from deep_store_sync.command.output import heading, members, say, table
from deep_store_sync.command.progress import shown
from deep_store_sync.command.tables import meant_tables
from deep_store_sync.estimate import Estimate, estimate, estimate_lines
from deep_store_sync.find import plan_table
from deep_store_sync.model import RunRequest
from deep_store_sync.past_runs import known_pace
from deep_store_sync.settings import TableSync
from deep_store_sync.spoken import spoken_bytes

HELP = "tell what a run would do now, and what it would cost, without writing anything"

# Of very many reasons, these are told; a document has all.
_REASONS = 20

log = logging.getLogger("deep_store_sync")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "--force", action="store_true", help="as with forceReload: also what no server reports as stale"
    )
    parser.add_argument("--max-segments", type=count, metavar="N", help="work on so many segments at most")


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Plan all tables that are meant; returns the exit code."""
    request = RunRequest("plan", options.force, True, tuple(options.segment), options.max_segments)

    def look(settings: TableSync) -> tuple[str, Estimate]:
        with open_services(settings, environment) as services, shown(f"{settings.table}: planning"):
            planned = plan_table(services, request, log=log)
            pace = known_pace(services, log) if planned.plan.work else None
            return settings.table, estimate(planned.rows.record_batches(), planned.plan.table_config, pace)

    def tell(found: tuple[str, Estimate]) -> None:
        heading(f"{found[0]}: what a run {'with forceReload' if options.force else 'on schedule'} would do now")
        show_estimate(found[1])

    return for_every_table(
        options,
        meant_tables(options, environment),
        look,
        tell=tell,
        plain=lambda found: {"table": found[0], **members(found[1])},
    )


def show_estimate(found: Estimate) -> None:
    """What a plan would do, by action and reason, and what it would cost."""
    told = found.reasons[:_REASONS]
    if told:
        table(
            ("ACTION", "SEGMENTS", "SIZE", "REASON"),
            [(of.action, f"{of.segments:,}", spoken_bytes(of.bytes), of.reason) for of in told],
        )
    if more := len(found.reasons) - len(told):
        say(f"and {more} more reasons, for {sum(of.segments for of in found.reasons[_REASONS:]):,} segments")
    for line in estimate_lines(found):
        say(f"{line[0].upper()}{line[1:]}")
