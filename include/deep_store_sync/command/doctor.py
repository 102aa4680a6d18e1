"""`deep-store-sync doctor`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping

from deep_store_sync.command.exit_codes import DONE, UNDONE
from deep_store_sync.command.output import document, say, table
from deep_store_sync.command.progress import shown
from deep_store_sync.command.tables import each_table
from deep_store_sync.upkeep.doctor import Doctor, Verdict

HELP = "check connections, permissions, versions, jars, store and servers"

log = logging.getLogger("deep_store_sync")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has no options of its own."""


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Examine all tables that are meant; returns the exit code."""
    found = []
    for services in each_table(options, environment):
        with shown(f"{services.settings.table}: examining"):
            found.append((services.settings.table, Doctor(services, log).examine()))
    if options.json:
        document({"tables": [{"table": name, "checks": checks} for name, checks in found]})
    for name, checks in [] if options.json else found:
        say(name)
        table(("CHECK", "VERDICT", "FOUND"), [(check.subject, check.verdict, check.message) for check in checks])
    return UNDONE if any(check.verdict is Verdict.FAILED for _, checks in found for check in checks) else DONE
