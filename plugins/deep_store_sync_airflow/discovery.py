"""The list of the tables that a discovery has found: an Airflow variable, which its DAG writes and DAG files read.

A variable is where every DAG processor and worker gets to without anything but Airflow itself, and where people can see
and mend it: a file would have to be on all machines, an object in the workspace would make parsing depend on S3. It
costs one look-up for each such file whenever DAGs are parsed. Who has no such file pays nothing.
"""

from __future__ import annotations

from airflow.sdk import Variable

from deep_store_sync.discovery import list_text, listed_tables
from deep_store_sync.errors import ConfigError
from deep_store_sync.settings import LoadedDiscovery

LIST_VARIABLE = "deep_store_sync_tables"


def list_variable(discovery: LoadedDiscovery) -> str:
    """The variable of a discovery: its file's name makes it one of its own."""
    return f"{LIST_VARIABLE}__{discovery.name}"


def read_list(discovery: LoadedDiscovery) -> list[str]:
    """The tables that a discovery found the last time; none where it never has.

    Raises:
        ConfigError: somebody has put something else there.
    """
    name = list_variable(discovery)
    text = Variable.get(name, default=None)
    try:
        return listed_tables(str(text)) if text else []
    except ConfigError as error:
        raise ConfigError(
            f"the Airflow variable {name}: {error}; mend it, or delete it and run the discovery"
        ) from None


def write_list(discovery: LoadedDiscovery, tables: list[str]) -> None:
    """Keep what a discovery has found."""
    Variable.set(list_variable(discovery), list_text(tables), description=f"Tables found for {discovery.path.name}")
