"""The tables that a command is about, by their files."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deep_store_sync.command.connections import controller_access, open_store
from deep_store_sync.discovery import find_tables
from deep_store_sync.errors import ConfigError, DeepStoreSyncError
from deep_store_sync.settings import TableSync, is_table_name
from deep_store_sync.table_files import (
    TABLES_VARIABLE,
    BrokenTable,
    LoadedDiscovery,
    LoadedTable,
    TablesOf,
    configured_folder,
    load_files,
    load_tables,
    tables_of,
)
from deep_store_sync.workspace import Workspace

log = logging.getLogger("deep_store_sync")


@dataclass(frozen=True, slots=True)
class Failure:
    """A table of which there is no result, by its name or that of its file, and why."""

    table: str
    error: Exception


def meant_tables(
    options: argparse.Namespace, environment: Mapping[str, str], *, asking: bool = True
) -> list[TableSync | Failure]:
    """The tables that are meant: one that is named, or else those of all files, with what is wrong with any.

    The tables of a discovery are asked of its controller, or, without `asking`, are those with a folder in its
    workspace: then neither Pinot nor Airflow has to be there. One that is named only has to be meant by it.

    Raises:
        ConfigError: there is no such folder, no such table, or none at all; the file of the one that is named is wrong.
    """
    folder: Path | None = options.tables or configured_folder(environment)
    if folder is None:
        raise ConfigError(f"no table files: give their folder with --tables, or in {TABLES_VARIABLE}")
    if options.table is not None:
        return [_named(folder, options.table)]
    failures: list[Failure] = []
    loaded = load_tables(folder, _kept(failures, _listed(environment) if asking else _with_runs()))
    tables = [item.settings if isinstance(item, LoadedTable) else _failure(item) for item in loaded]
    if not tables and not failures:
        raise ConfigError(f"{folder}: no table files there, or none that stands for any table yet")
    return [*tables, *failures]


def _named(folder: Path, table: str) -> TableSync:
    files = load_files(folder)
    loaded = tables_of(files, lambda _: [table] if is_table_name(table) else [])
    right = {item.settings.table: item.settings for item in loaded if isinstance(item, LoadedTable)}
    if table in right:
        return right[table]
    of_it = [item.message for item in loaded if isinstance(item, BrokenTable) and item.table in (table, None)]
    known = f"there are {', '.join(sorted(right)) or 'none'}"
    if discoveries := [file.path.name for file in files if isinstance(file, LoadedDiscovery)]:
        known += f", and what {' and '.join(discoveries)} would discover, which does not mean it"
    raise ConfigError("\n".join([f"{folder}: no file for the table {table}; {known}", *of_it]))


def _failure(broken: BrokenTable) -> Failure:
    return Failure(broken.table or broken.path.name, ConfigError(broken.message))


def _kept(failures: list[Failure], discovered: TablesOf) -> TablesOf:
    """What a discovery has found; one that fails is kept as a failure, and hides no table of another file."""

    def found(discovery: LoadedDiscovery) -> list[str]:
        try:
            return list(discovered(discovery))
        except (DeepStoreSyncError, OSError) as error:
            failures.append(Failure(discovery.path.name, error))
            return []

    return found


def _listed(environment: Mapping[str, str]) -> TablesOf:
    def found(discovery: LoadedDiscovery) -> list[str]:
        access = controller_access(discovery.shared.controller_connection, environment)
        with access.controller(timeout_s=discovery.shared.controller_timeout.total_seconds()) as controller:
            return find_tables(controller, discovery.discovery, (), log=log)

    return found


def _with_runs() -> TablesOf:
    """Of several discoveries with the same workspace, the first that means a table has it: its folder is the same."""
    owned: set[tuple[str, str]] = set()

    def found(discovery: LoadedDiscovery) -> list[str]:
        root = discovery.shared.workspace
        with open_store(discovery.shared) as store:
            names = [name for name in Workspace.tables(store, root) if is_table_name(name)]
        new = [name for name in names if discovery.discovery.means(name) and (root, name) not in owned]
        owned.update((root, name) for name in new)
        return new

    return found
