"""`deep-store-sync`: what an operator does from a shell.

Exit codes: 0 all is done, or true; 1 something is left undone, or a problem was found: the output names it; 2 the
command line, a table file or a connection is wrong; 3 the cluster or the store did not answer as it should.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from deep_store_sync import clock
from deep_store_sync.command.connections import open_services
from deep_store_sync.command.output import complain, document, members, say, table
from deep_store_sync.errors import ConfigError, DeepStoreSyncError
from deep_store_sync.model import RunRequest
from deep_store_sync.services import Services
from deep_store_sync.settings import LoadedTable, TableSync, load_tables
from deep_store_sync.upkeep import doctor
from deep_store_sync.upkeep.rollback import no_such_run, roll_back
from deep_store_sync.upkeep.unstamp import Unstamped, unstamp
from deep_store_sync.upkeep.verify_table import Verdict, summary, verify_table
from deep_store_sync.whole_run import run_table

TABLES_VARIABLE = "DEEP_STORE_SYNC_TABLES"
DONE, UNDONE, WRONG, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 130

log = logging.getLogger("deep_store_sync")


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Runs a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if options.verbose else logging.WARNING,
        format="%(levelname)s %(message)s",
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    command: Callable[[argparse.Namespace, Mapping[str, str]], int] = options.command
    try:
        return command(options, environment)
    except ConfigError as error:
        complain(f"deep-store-sync: {error}")
        return WRONG
    except KeyboardInterrupt:
        complain("deep-store-sync: interrupted; the same command again goes on from here")
        return INTERRUPTED
    except DeepStoreSyncError as error:
        complain(f"deep-store-sync: {type(error).__name__}: {error}")
        return UNAVAILABLE


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--tables", type=Path, metavar="FOLDER", help=f"folder with the table files (default: ${TABLES_VARIABLE})"
    )
    shared.add_argument(
        "--table", metavar="NAME", help="table with its type, as in its file (default: all that there are)"
    )
    shared.add_argument("--segment", action="append", default=[], metavar="GLOB", help="only segments like this one")
    shared.add_argument("--json", action="store_true", help="print JSON")
    shared.add_argument("--verbose", action="store_true", help="tell on standard error what is being done")
    parser = argparse.ArgumentParser(
        prog="deep-store-sync",
        description="Looks after Pinot tables whose deep store is kept in sync. Controller and store are taken from "
        "the environment: PINOT_CONTROLLER_URL (and _USER, _PASSWORD or _TOKEN), AWS_*, AWS_ENDPOINT_URL_S3.",
        epilog="Exit codes: 0 done, or true; 1 something is left undone, or a problem was found; 2 the command line, a "
        "table file or a connection is wrong; 3 the cluster or the store did not answer as it should.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    rollback = commands.add_parser(
        "rollback", parents=[shared], help="bring back what a run has overwritten: objects, CRCs and stamps"
    )
    rollback.add_argument("--run", required=True, metavar="RUN", help="the run's id, as Airflow shows it")
    rollback.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    rollback.set_defaults(command=_rollback)

    verify = commands.add_parser(
        "verify", parents=[shared], help="check that objects exist, have ZooKeeper's CRC, and that stamps are true"
    )
    verify.add_argument("--sample", type=_count, metavar="N", help="only so many segments of a table, at random")
    verify.set_defaults(command=_verify)

    unstamping = commands.add_parser(
        "unstamp", parents=[shared], help="take stamps away, so that the next run looks into the segments again"
    )
    unstamping.add_argument("--run", metavar="RUN", help="only stamps that this run has set")
    unstamping.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    unstamping.set_defaults(command=_unstamp)

    running = commands.add_parser(
        "run", parents=[shared], help="sync a table now, in this process, as its DAG does, without an Airflow"
    )
    running.add_argument("--force", action="store_true", help="forceReload: also what no server reports")
    running.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    running.add_argument("--max-segments", type=_count, metavar="N", help="work on so many segments at most")
    running.set_defaults(command=_run)

    examining = commands.add_parser(
        "doctor", parents=[shared], help="check connections, permissions, versions, jars, store and servers"
    )
    examining.set_defaults(command=_doctor)
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give a number above zero")
    return number


def _rollback(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    results = []
    with ExitStack() as stack:
        opened = [
            stack.enter_context(open_services(settings, environment)) for settings in _tables(options, environment)
        ]
        for services in opened:
            result = roll_back(services, options.run, globs=options.segment, dry_run=options.dry_run, log=log)
            if result is not None:
                results.append(result)
        if not results:
            raise no_such_run(opened[0], options.run)
    if options.json:
        document({"tables": [{**members(result), "complete": result.complete} for result in results]})
    for result in [] if options.json else results:
        table(("SEGMENT", "OUTCOME", "WHY"), [(row.segment, row.outcome, row.message) for row in result.segments])
        counts = _counted(row.outcome for row in result.segments)
        say(f"{result.table}, run {result.run_id}: {counts or 'it has overwritten nothing of this'}")
        for note in result.notes:
            say(f"Note: {note}")
    return DONE if all(result.complete for result in results) else UNDONE


def _verify(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    results = [
        verify_table(services, globs=options.segment, sample=options.sample, log=log)
        for services in _each(options, environment)
    ]
    if options.json:
        document({"tables": [{**members(result), "true": result.true} for result in results]})
    for result in [] if options.json else results:
        told = [row for row in result.segments if row.verdict is not Verdict.TRUE or row.message]
        if told:
            table(("SEGMENT", "VERDICT", "WHY"), [(row.segment, row.verdict, row.message) for row in told])
        say(summary(result))
    return DONE if all(result.true for result in results) else UNDONE


def _unstamp(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    if not options.segment and not options.run:
        raise ConfigError("say which stamps: give --segment or --run; --segment '*' stands for all of them")
    results = []
    for services in _each(options, environment):
        rows = unstamp(services, globs=options.segment, run_id=options.run, dry_run=options.dry_run, log=log)
        results.append((services.settings.table, rows))
    if options.json:
        document({"tables": [{"table": name, "segments": rows} for name, rows in results]})
    for name, rows in [] if options.json else results:
        if rows:
            table(("SEGMENT", "OUTCOME", "WHY"), [(row.segment, row.outcome, row.message) for row in rows])
        say(f"{name}: {_counted(row.outcome for row in rows) or 'no such stamps'}")
    kinds = {row.outcome for _, rows in results for row in rows}
    return UNDONE if kinds & {Unstamped.LEFT_ALONE, Unstamped.FAILED} else DONE


def _run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    run_id = f"shell__{clock.now().isoformat(timespec='seconds')}_{secrets.token_hex(3)}"
    request = RunRequest(run_id, options.force, options.dry_run, tuple(options.segment), options.max_segments)
    log.setLevel(logging.INFO)  # it takes its time, and the log is what tells how far it is
    results = [run_table(services, request, log=log) for services in _each(options, environment)]
    if options.json:
        document({"runId": run_id, "tables": results})
    for result in [] if options.json else results:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(result.counts.items()))
        say(f"{result.table}: {counts or 'a dry run: what a run would do is in the log'}")
        for line in result.undone:
            say(f"Undone: {line}")
    return UNDONE if any(result.undone for result in results) else DONE


def _doctor(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    found = [
        (services.settings.table, doctor.Doctor(services, log).examine()) for services in _each(options, environment)
    ]
    if options.json:
        document({"tables": [{"table": name, "checks": checks} for name, checks in found]})
    for name, checks in [] if options.json else found:
        say(name)
        table(("CHECK", "VERDICT", "FOUND"), [(check.subject, check.verdict, check.message) for check in checks])
    failed = any(check.verdict is doctor.Verdict.FAILED for _, checks in found for check in checks)
    return UNDONE if failed else DONE


def _each(options: argparse.Namespace, environment: Mapping[str, str]) -> Iterator[Services]:
    """The services of one table that is meant after the other, open until the next one is asked for."""
    for settings in _tables(options, environment):
        with open_services(settings, environment) as services:
            yield services


def _tables(options: argparse.Namespace, environment: Mapping[str, str]) -> list[TableSync]:
    """The settings of the tables that are meant."""
    configured = environment.get(TABLES_VARIABLE)
    folder: Path | None = options.tables or (Path(configured).expanduser() if configured else None)
    if folder is None:
        raise ConfigError(f"no table files: give their folder with --tables, or in {TABLES_VARIABLE}")
    loaded = load_tables(folder)
    right = {item.settings.table: item.settings for item in loaded if isinstance(item, LoadedTable)}
    broken = [item for item in loaded if not isinstance(item, LoadedTable)]
    if options.table in right:
        return [right[options.table]]
    if options.table is not None:
        of_it = [item.message for item in broken if item.table in (options.table, None)]
        known = ", ".join(sorted(right)) or "none"
        raise ConfigError("\n".join([f"{folder}: no file for the table {options.table}; there are {known}", *of_it]))
    if broken:
        raise ConfigError(
            "\n".join(
                [
                    "some table files are wrong; name the table that you mean with --table, or mend:",
                    *(item.message for item in broken),
                ]
            )
        )
    if not right:
        raise ConfigError(f"{folder}: no table files there")
    return list(right.values())


def _counted(outcomes: Iterator[str]) -> str:
    listed = list(outcomes)
    return ", ".join(f"{listed.count(outcome)} {outcome}" for outcome in sorted(set(listed)))
