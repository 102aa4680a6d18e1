"""``python -m pinot_sandbox``: a Pinot cluster to play with, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from pathlib import Path

from pinot_sandbox.errors import SandboxError
from pinot_sandbox.gateway import choose_gateway
from pinot_sandbox.sandbox import Sandbox
from pinot_sandbox.shell import program, write_environment
from pinot_sandbox.toolchain import Progress, ensure_classes, ensure_jars


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="python -m pinot_sandbox", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start a cluster, print its addresses, and stay until Ctrl-C")
    up.add_argument("--flights", action="store_true", help="load the sample table flights")
    up.add_argument("--servers", type=int, default=2, help="how many segment servers (2)")
    up.add_argument(
        "--root", type=Path, help="folder for its files, kept in the end; without it: a temporary one, removed"
    )
    setup = commands.add_parser("setup", help="only fetch and build what a start needs")
    demo = commands.add_parser("demo", help="watch a table's deep store go out of sync and come back")
    demo.add_argument("--keep", action="store_true", help="leave cluster and Airflow up in the end, until Ctrl-C")
    for command in (up, setup, demo):
        command.add_argument(
            "--s3", choices=["auto", "versitygw", "moto"], default="auto", help="the S3 gateway (auto)"
        )
    options = parser.parse_args(arguments)
    tell = _clocked()
    try:
        if options.command == "setup":
            ensure_classes(ensure_jars(tell), tell)
            choose_gateway(options.s3, tell)
            tell("everything is there")
        elif options.command == "demo":
            return _demo(options)
        else:
            _up(options, tell)
    except SandboxError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _up(options: argparse.Namespace, tell: Progress) -> None:
    stop = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: stop.set())
    with Sandbox.start(options.root, s3=options.s3, servers=options.servers, progress=tell) as sandbox:
        tables = sandbox.root / "tables"
        if options.flights and not stop.is_set():
            from pinot_sandbox.demo_stage import write_table_file  # loads Rich and boto3, which takes its time

            tell("loading the sample table flights")
            tell(f"loaded {len(sandbox.load_flights())} segments of flights_OFFLINE")
            write_table_file(sandbox, tables)
            look = f" && {program('deep-store-sync')} plan --force"
        else:
            tables.mkdir()
            look = ""
        environment = write_environment(sandbox, tables)
        _say(f"controller      {sandbox.controller_url}")
        for server in sandbox.servers:
            _say(f"server          {server} at {sandbox.server_admin_url(server)}")
        _say(f"S3 gateway      {sandbox.s3.endpoint_url} ({sandbox.s3.kind})")
        _say(f"deep store      {sandbox.deep_store_url}")
        _say(f"table files     {tables}")
        _say(f"in a shell      source {environment}{look}")
        _say(f"logs            {sandbox.root / 'logs'}")
        _say("Ctrl-C ends it.")
        stop.wait()
        tell("stopping")


def _demo(options: argparse.Namespace) -> int:
    from pinot_sandbox.demo import play  # needs Rich, which the rest does not

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        play(s3=options.s3, keep=options.keep)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130
    return 0


def _say(line: str) -> None:
    """Prints a line at once, for who reads a pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _clocked() -> Progress:
    start = time.monotonic()
    return lambda line: _say(f"[{time.monotonic() - start:5.1f} s] {line}")


if __name__ == "__main__":
    sys.exit(main())
