"""Tables by their names, and the one answer to a table that is not there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from deep_store_sync.errors import ConfigError, PinotNotFoundError

T = TypeVar("T")


def split_table(table: str) -> tuple[str, str]:
    """A table's name with type as name and type: `flights_OFFLINE` is `("flights", "OFFLINE")`.

    Raises:
        ConfigError: the type is missing.
    """
    raw, _, kind = table.rpartition("_")
    if not raw or kind not in ("OFFLINE", "REALTIME"):
        raise ConfigError(f"table {table!r} has no type. Write {table}_OFFLINE or {table}_REALTIME")
    return raw, kind


def of_table(base_url: str, table: str, ask: Callable[[], T | None]) -> T:
    """What `ask` reads of a table of the controller at this URL; it gives None where the table is not there.

    Raises:
        PinotNotFoundError: there is no such table.
    """
    said = ""
    try:
        found = ask()
    except PinotNotFoundError as error:
        found, said = None, f" ({error})"
    if found is None:
        raise PinotNotFoundError(
            f"there is no table {table} on the controller {base_url}{said}. Check name, type suffix and database, or "
            "create table and schema first"
        )
    return found
