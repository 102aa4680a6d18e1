"""What the command lines of several commands have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from deep_store_sync.table_files import TABLES_VARIABLE

Command = Callable[[argparse.Namespace, Mapping[str, str]], int]
"""Runs with the options and the environment; returns the exit code."""


def output_arguments() -> argparse.ArgumentParser:
    """How a command tells what it has to tell."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON document in place of lines")
    shared.add_argument("--verbose", action="store_true", help="tell on standard error what is being done")
    return shared


def table_arguments() -> argparse.ArgumentParser:
    """Which table is meant."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--tables", type=Path, metavar="FOLDER", help=f"folder with the table files (default: ${TABLES_VARIABLE})"
    )
    shared.add_argument(
        "--table", metavar="NAME", help="table with its type (default: all that have a file or are discovered)"
    )
    return shared


def segment_arguments() -> argparse.ArgumentParser:
    """Which of its segments are."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--segment",
        action="append",
        default=[],
        metavar="GLOB",
        help="only segments like this one; may be given several times",
    )
    return shared


def count(text: str) -> int:
    """A number above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above zero")
    return int(text)
