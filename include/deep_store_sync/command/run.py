"""`deep-store-sync run`."""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
from collections.abc import Mapping

from deep_store_sync import clock
from deep_store_sync.command.arguments import count
from deep_store_sync.command.exit_codes import DONE, UNDONE
from deep_store_sync.command.output import document, is_terminal, say
from deep_store_sync.command.plan import show_estimate
from deep_store_sync.command.progress import shown
from deep_store_sync.command.tables import each_table
from deep_store_sync.model import RunRequest
from deep_store_sync.report import RunReport
from deep_store_sync.run_progress import RunProgress
from deep_store_sync.spoken import spoken_bytes
from deep_store_sync.whole_run import run_table

HELP = "sync a table now, in this process, as its DAG does, without an Airflow"

log = logging.getLogger("deep_store_sync")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--force", action="store_true", help="forceReload: also what no server reports")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    parser.add_argument("--max-segments", type=count, metavar="N", help="work on so many segments at most")


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Sync all tables that are meant; returns the exit code."""
    run_id = f"shell__{clock.now().isoformat(timespec='seconds')}_{secrets.token_hex(3)}"
    request = RunRequest(run_id, options.force, options.dry_run, tuple(options.segment), options.max_segments)
    if not is_terminal(sys.stderr):
        log.setLevel(logging.INFO)  # it takes its time, and without a bar the log is what tells how far it is
    results = []
    for services in each_table(options, environment):
        with shown(services.settings.table) as show:
            watch = RunProgress(lambda done, words, show=show: show(done, 1.0, words))  # type: ignore[misc]
            results.append(run_table(services, request, log=log, watch=watch))
    if options.json:
        document({"runId": run_id, "tables": results})
    for result in [] if options.json else results:
        _tell(result, run_id)
    return UNDONE if any(result.undone for result in results) else DONE


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
