"""The tables that a discovery stands for: asked of the controller now and then, and kept as a list in between.

Who builds DAGs reads the list: it is there without the controller, and as fast as a file. A bad answer of the
controller never takes its place.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection

from deep_store_sync.errors import ConfigError
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.settings import Discovery, is_table_name


def find_tables(
    controller: ControllerClient, discovery: Discovery, known: Collection[str], *, log: logging.Logger
) -> list[str]:
    """The tables of a controller that a discovery means, by name with type, sorted. It takes two calls.

    `known` are those that were found the last time.

    Raises:
        ConfigError: there are more than `max_tables`, or none any more: what is known should stay.
        PinotError: the controller does not answer, or not what it should.
    """
    listed = controller.tables()
    meant = sorted({name for name in listed if discovery.means(name)})
    unusable = [name for name in meant if not is_table_name(name)]
    if unusable:
        log.warning("left out, since a DAG cannot have such a name: %s", ", ".join(map(repr, unusable[:20])))
    found = [name for name in meant if is_table_name(name)]
    if len(found) > discovery.max_tables:
        raise ConfigError(
            f"{len(found)} tables are meant, more than maxTables ({discovery.max_tables}), so that those known stay as "
            "they are: narrow include and exclude, or raise maxTables"
        )
    if known and not found:
        raise ConfigError(
            f"the controller lists {len(listed)} tables, and none that is meant, so that the {len(known)} known ones "
            "stay as they are: look at include and exclude, and at the database of the connection. If they are really "
            "gone, take the file away"
        )
    log.info("%d tables on the controller, %d of them meant", len(listed), len(found))
    return found


def list_text(tables: Collection[str]) -> str:
    """A list of tables as it is kept: a JSON array, which a person can read and mend."""
    return json.dumps(sorted(tables))


def listed_tables(text: str) -> list[str]:
    """The tables of a list that was kept.

    Raises:
        ConfigError: it is none.
    """
    try:
        tables = json.loads(text)
    except ValueError:
        tables = None
    if not isinstance(tables, list) or not all(isinstance(name, str) and is_table_name(name) for name in tables):
        raise ConfigError('it is not a JSON array of table names such as ["flights_OFFLINE"]')
    return tables
