"""`deep-store-sync`: what an operator does from a shell. Each command has a module of its own."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping, Sequence

from deep_store_sync.command import doctor, explain, plan, rebuild, rollback, run, status, unstamp, verify
from deep_store_sync.command.arguments import Command, output_arguments, segment_arguments, table_arguments
from deep_store_sync.command.exit_codes import INTERRUPTED, UNAVAILABLE, WRONG
from deep_store_sync.command.output import complain
from deep_store_sync.command.progress import StandardError
from deep_store_sync.errors import ConfigError, DeepStoreSyncError


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Runs a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        handlers=[StandardError()],
        level=logging.INFO if options.verbose else logging.WARNING,
        format="%(levelname)s %(message)s",
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    command: Command = options.command
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
    parser = argparse.ArgumentParser(
        prog="deep-store-sync",
        description="Looks after Pinot tables whose deep store is kept in sync. Controller and store are taken from "
        "the environment: PINOT_CONTROLLER_URL (and _USER, _PASSWORD or _TOKEN), AWS_*, AWS_ENDPOINT_URL_S3.",
        epilog="Exit codes: 0 done, or true; 1 something is left undone, or a problem was found; 2 the command line, a "
        "table file or a connection is wrong; 3 the cluster, the store or Pinot's segment library did not answer as it "
        "should.",
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
