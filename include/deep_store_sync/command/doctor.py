"""`deep-store-sync doctor`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from deep_store_sync.command.connections import open_services
from deep_store_sync.command.every_table import for_every_table
from deep_store_sync.command.exit_codes import DONE, UNDONE
from deep_store_sync.command.output import heading, table
from deep_store_sync.command.progress import shown
from deep_store_sync.command.tables import meant_tables
from deep_store_sync.settings import TableSync
from deep_store_sync.upkeep.doctor import Check, Doctor, Verdict

HELP = "check connections, permissions, versions, jars, store and servers"

log = logging.getLogger("deep_store_sync")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has no options of its own."""


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Examine all tables that are meant; returns the exit code."""

    def look(settings: TableSync) -> Checks:
        with open_services(settings, environment) as services, shown(f"{settings.table}: examining"):
            return Checks(settings.table, Doctor(services, log).examine())

    return for_every_table(options, meant_tables(options, environment), look, tell=_tell, code=_code)


@dataclass(frozen=True, slots=True)
class Checks:
    """What was found of one table."""

    table: str
    checks: list[Check]


def _tell(found: Checks) -> None:
    heading(found.table)
    table(("CHECK", "VERDICT", "FOUND"), [(check.subject, check.verdict, check.message) for check in found.checks])


def _code(found: Checks) -> int:
    return UNDONE if any(check.verdict is Verdict.FAILED for check in found.checks) else DONE
