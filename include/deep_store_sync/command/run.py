"""`deep-store-sync run`."""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
from collections.abc import Mapping

from deep_store_sync import clock
from deep_store_sync.command.arguments import count
from deep_store_sync.command.connections import open_services
from deep_store_sync.command.every_table import for_every_table
from deep_store_sync.command.exit_codes import DONE, UNDONE
from deep_store_sync.command.output import is_terminal, say
from deep_store_sync.command.plan import show_estimate
from deep_store_sync.command.progress import shown
from deep_store_sync.command.tables import meant_tables
from deep_store_sync.model import RunRequest
from deep_store_sync.report import RunReport
from deep_store_sync.run_progress import RunProgress
from deep_store_sync.settings import TableSync
from deep_store_sync.spoken import spoken_bytes
from deep_store_sync.whole_run import run_table

HELP = "sync a table now, in this process, as its DAG does, without an Airflow"

log = logging.getLogger("deep_store_sync")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--force", action="store_true", help="forceReload: also what no server reports as stale")
    parser.add_argument(
        "--dry-run", action="store_true", help="write a plan into the workspace, tell it, and stop there"
    )
    parser.add_argument("--max-segments", type=count, metavar="N", help="work on so many segments at most")


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Sync all tables that are meant; returns the exit code."""
    run_id = f"shell__{clock.now().isoformat(timespec='seconds')}_{secrets.token_hex(3)}"
    request = RunRequest(run_id, options.force, options.dry_run, tuple(options.segment), options.max_segments)
    if not is_terminal(sys.stderr):
        log.setLevel(logging.INFO)  # it takes its time, and without a bar the log is what tells how far it is

    def look(settings: TableSync) -> RunReport:
        with open_services(settings, environment) as services, shown(settings.table) as show:
            watch = RunProgress(lambda done, words: show(done, 1.0, words))
            return run_table(services, request, log=log, watch=watch)

    return for_every_table(
        options,
        meant_tables(options, environment),
        look,
        tell=lambda result: _tell(result, run_id),
        code=lambda result: UNDONE if result.undone else DONE,
        run_id=run_id,
    )


def _tell(result: RunReport, run_id: str) -> None:
    if result.estimate is not None:
        say(f"{result.table}: a dry run, nothing was changed. A run now would do this:")
        show_estimate(result.estimate)
        return
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(result.counts.items()))
    say(f"{result.table}, run {run_id}: {counts or 'no segments'}")
    say(
        f"{result.quiet} published quietly, {result.refreshed} by refresh; {spoken_bytes(result.downloaded_bytes)} "
        f"downloaded, {spoken_bytes(result.uploaded_bytes)} uploaded; {result.server_downloads} server downloads asked "
        f"for; report: {result.url}"
    )
    for line in result.undone:
        say(f"Undone: {line}")
