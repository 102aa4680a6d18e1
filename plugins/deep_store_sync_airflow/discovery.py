"""The list of the tables that a discovery has found: an Airflow variable, which its DAG writes and DAG files read.

A variable is where every DAG processor and worker gets to without anything but Airflow itself, and where people can see
and mend it: a file would have to be on all machines, an object in the workspace would make parsing depend on S3. It
costs one look-up for each such file whenever DAGs are parsed. Who has no such file pays nothing.

Airflow takes away the DAGs that a parse does not give, whatever the reason, and says of a look-up that failed what it
says of a variable that is not there. So who parses tells the two apart, and keeps the list that was read the last time
in a file below `AIRFLOW_HOME`: a look-up that fails takes no DAG away.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from airflow.sdk import Variable

from deep_store_sync.discovery import list_text, listed_tables
from deep_store_sync.errors import ConfigError
from deep_store_sync.table_files import LoadedDiscovery
from deep_store_sync_airflow.services import log

LIST_VARIABLE = "deep_store_sync_tables"


def list_variable(discovery: LoadedDiscovery) -> str:
    """The variable of a discovery: its file's name makes it one of its own."""
    return f"{LIST_VARIABLE}__{discovery.name}"


def read_list(discovery: LoadedDiscovery) -> list[str]:
    """The tables that a discovery found the last time; none where it never has.

    Where the list cannot be looked up, it is the one that was read here before.

    Raises:
        ConfigError: somebody has put something else there, or it cannot be looked up and never was read here.
    """
    name = list_variable(discovery)
    try:
        tables = _looked_up(discovery)
    except ConfigError:
        raise
    except Exception as error:  # of a database, an API server, a secrets backend
        said = f"the Airflow variable {name} could not be looked up ({type(error).__name__}: {error})"
        kept = _kept(name)
        if kept is None:
            raise ConfigError(f"{said}; it is tried again with the next parse") from error
        log.warning("%s: %s; the %d tables of the last time stay", discovery.path.name, said, len(kept))
        return kept
    if tables is None:
        return _kept(name) or []
    _keep(name, tables)
    return tables


def look_up_list(discovery: LoadedDiscovery) -> list[str]:
    """The same, and never an older one.

    Raises:
        ConfigError: somebody has put something else there.
        Exception: Airflow's, or LookupError: it cannot be looked up.
    """
    return _looked_up(discovery) or []


def _looked_up(discovery: LoadedDiscovery) -> list[str] | None:
    """None where nothing was given, and nobody tells whether there is something."""
    name = list_variable(discovery)
    text = Variable.get(name, default=None)
    if text is None:
        known = _is_known(name)
        if known:
            raise LookupError("Airflow lists it, and does not give it")
        return None if known is None else []
    try:
        return listed_tables(text) if text else []
    except ConfigError as error:
        raise ConfigError(
            f"the Airflow variable {name}: {error}; mend it, or delete it and run the discovery"
        ) from None


def _is_known(name: str) -> bool | None:
    """Whether Airflow lists a variable: `Variable.get` gives the default also where a look-up failed."""
    if not hasattr(Variable, "keys"):  # before Airflow 3.3
        return None
    try:
        return name in Variable.keys(prefix=name)
    except ImportError:  # neither a task nor a parse, but Airflow's own server, or a command: they list none
        return None


def _kept_in(name: str) -> Path:
    return Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "deep-store-sync" / f"{name}.json"


def _keep(name: str, tables: list[str]) -> None:
    if tables == _kept(name):
        return
    file = _kept_in(name)
    part = file.with_name(f".{file.name}.{os.getpid()}")
    with suppress(OSError):  # a disk that takes nothing: then there is nothing to fall back on
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(list_text(tables), encoding="utf-8")
        part.replace(file)


def _kept(name: str) -> list[str] | None:
    try:
        return listed_tables(_kept_in(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ConfigError):
        return None


def write_list(discovery: LoadedDiscovery, tables: list[str]) -> None:
    """Keep what a discovery has found."""
    Variable.set(list_variable(discovery), list_text(tables), description=f"Tables found for {discovery.path.name}")
