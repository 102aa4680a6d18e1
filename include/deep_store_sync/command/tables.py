"""The tables that a command is about, by their files, and how to reach them."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from deep_store_sync.command.connections import controller_access, open_services
from deep_store_sync.discovery import find_tables
from deep_store_sync.errors import ConfigError
from deep_store_sync.services import Services
from deep_store_sync.settings import LoadedDiscovery, LoadedTable, TablesOf, TableSync, is_table_name, load_tables

TABLES_VARIABLE = "DEEP_STORE_SYNC_TABLES"

log = logging.getLogger("deep_store_sync")


def each_table(options: argparse.Namespace, environment: Mapping[str, str]) -> Iterator[Services]:
    """The services of one table that is meant after the other, open until the next one is asked for.

    Raises:
        ConfigError: there is no such table, or its file or connection is wrong.
    """
    for settings in meant_tables(options, environment):
        with open_services(settings, environment) as services:
            yield services


def meant_tables(options: argparse.Namespace, environment: Mapping[str, str]) -> list[TableSync]:
    """The settings of the tables that are meant: those of the files, and those that a discovery finds now.

    Raises:
        ConfigError: there is no such table, or its file is wrong.
        PinotError: the controller of a discovery did not answer as it should.
    """
    configured = environment.get(TABLES_VARIABLE)
    folder: Path | None = options.tables or (Path(configured).expanduser() if configured else None)
    if folder is None:
        raise ConfigError(f"no table files: give their folder with --tables, or in {TABLES_VARIABLE}")
    loaded = load_tables(folder, _discovered(options.table, environment))
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


def _discovered(table: str | None, environment: Mapping[str, str]) -> TablesOf:
    """What a discovery has found: its controller is asked now, unless a table is named, which it then has to mean."""

    def found(discovery: LoadedDiscovery) -> list[str]:
        if table is not None:
            return [table] if is_table_name(table) else []
        access = controller_access(discovery.shared.controller_connection, environment)
        with access.controller(timeout_s=discovery.shared.controller_timeout.total_seconds()) as controller:
            return find_tables(controller, discovery.discovery, (), log=log)

    return found
