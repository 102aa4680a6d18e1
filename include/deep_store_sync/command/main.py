"""`deep-store-sync`: what an operator does from a shell. Each command has a module of its own."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence

from deep_store_sync.command import doctor, explain, plan, rebuild, rollback, run, status, unstamp, verify
from deep_store_sync.command.arguments import Command, output_arguments, segment_arguments, table_arguments
from deep_store_sync.command.exit_codes import INTERRUPTED, NO_READER, UNAVAILABLE, code_of
from deep_store_sync.command.output import OutputLostError, all_said, complain, document, said, told
from deep_store_sync.command.progress import StandardError
from deep_store_sync.errors import DeepStoreSyncError
from deep_store_sync.system_trouble import system_trouble


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Runs a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        handlers=[StandardError()],
        level=logging.INFO if options.verbose else logging.WARNING,
        format="%(levelname)s %(message)s",
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        code = _run(options, environment)
        all_said()
    except OutputLostError as lost:
        # What is left of it would fail again as Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(lost.__cause__, BrokenPipeError):
            return NO_READER
        if isinstance(lost.__cause__, OSError):
            complain(f"deep-store-sync: the output could not be written: {system_trouble(lost.__cause__)}")
        return UNAVAILABLE
    return code


def _run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    command: Command = options.command
    try:
        return command(options, environment)
    except KeyboardInterrupt:
        complain("deep-store-sync: interrupted; the same command again goes on from here")
        return INTERRUPTED
    except (DeepStoreSyncError, OSError) as error:
        complain(f"deep-store-sync: {said(error)}")
        if options.json:
            document(told(error))
        return code_of(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deep-store-sync",
        description="Looks after Pinot tables whose deep store is kept in sync. Controller and store are taken from "
        "the environment: PINOT_CONTROLLER_URL (and _USER, _PASSWORD or _TOKEN), AWS_*, AWS_ENDPOINT_URL_S3.",
        epilog="Exit codes: 0 done, or true; 1 something is left undone, or a problem was found; 2 the command line, a "
        "table file, a connection, or a file or folder that a command needs is wrong; 3 the cluster, the store, "
        "Pinot's segment library or this machine did not do what it should. Of several tables, the highest counts.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    output, tables, segments = output_arguments(), table_arguments(), segment_arguments()
    for name, module, shared in (
        ("plan", plan, (tables, segments, output)),
        ("explain", explain, (tables, output)),
        ("status", status, (tables, output)),
        ("run", run, (tables, segments, output)),
        ("verify", verify, (tables, segments, output)),
        ("rollback", rollback, (tables, segments, output)),
        ("unstamp", unstamp, (tables, segments, output)),
        ("rebuild", rebuild, (output,)),
        ("doctor", doctor, (tables, output)),
    ):
        description = f"{module.HELP[0].upper()}{module.HELP[1:]}."
        of_command = commands.add_parser(name, parents=shared, help=module.HELP, description=description)
        module.add_arguments(of_command)
        of_command.set_defaults(command=module.run)
    return parser
