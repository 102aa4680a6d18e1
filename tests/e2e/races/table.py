"""The table of the races: its rows, known to the last value for every version of a segment, and its layouts.

A version is a push's number. All rows of a segment carry the version that they were pushed with, so that an answer or
an archive tells which push it is of, and whether it is whole.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from deep_store_sync.table_hash import table_hash

RAW_TABLE = "races"
TABLE = "races_OFFLINE"
SEGMENTS = tuple(f"races_{number}" for number in range(5))
START_MS = 1_700_000_000_000
DAY_MS = 86_400_000

KEYS = ("id", "version", "value")
"""INT columns that no edit touches: by them, rows are known again."""

# What config edits switch: a column's index, as `index_map` names it, and the list of the config that asks for it.
SWITCHES: Mapping[str, tuple[str, str]] = {
    "city.inverted_index": ("invertedIndexColumns", "city"),
    "code.inverted_index": ("invertedIndexColumns", "code"),
    "code.bloom_filter": ("bloomFilterColumns", "code"),
    "price.range_index": ("rangeIndexColumns", "price"),
    "price raw": ("noDictionaryColumns", "price"),
}
_INDEXES = ("inverted_index", "range_index", "bloom_filter")

Row = tuple[int, int, int]
"""Of `KEYS`."""


@dataclass(frozen=True, slots=True)
class Sums:
    """What a query shows of a segment's rows: enough to know a row that is missing, double, or of another version."""

    count: int
    ids: int
    values: int
    products: int

    @classmethod
    def of(cls, rows: tuple[Row, ...]) -> Sums:
        return cls(
            len(rows),
            sum(row[0] for row in rows),
            sum(row[2] for row in rows),
            sum(row[0] * row[2] for row in rows),
        )


SUMS_SQL = (
    "select part, version, count(*), sum(id), sum(value), sum(mult(id, value)) "
    f"from {RAW_TABLE} group by part, version limit 1000"
)


@lru_cache(4096)
def rows_of(segment: str, version: int) -> tuple[Row, ...]:
    """The rows of a version of a segment, by id."""
    dice = random.Random(f"{segment} {version}")
    return tuple((number, version, dice.randrange(100_000)) for number in range(60 + dice.randrange(200)))


def ingested(segment: str, version: int) -> list[dict[str, Any]]:
    """The same rows as an ingestion job has them: all columns, in an order of their own."""
    dice = random.Random(f"{segment} {version} order")
    day = START_MS + SEGMENTS.index(segment) * DAY_MS
    rows = [
        {
            "part": segment,
            "id": number,
            "version": version,
            "value": value,
            "city": f"city {dice.randrange(20):02d}",
            "code": dice.randrange(50),
            "price": dice.randrange(1000) / 4,
            "ts": day + number * 60_000,
        }
        for number, version, value in rows_of(segment, version)
    ]
    dice.shuffle(rows)
    return rows


def table_config(switched_on: frozenset[str]) -> dict[str, Any]:
    """The config with these of `SWITCHES`."""
    indexing: dict[str, Any] = {"loadMode": "MMAP", "nullHandlingEnabled": True}
    for switch in sorted(switched_on):
        name, column = SWITCHES[switch]
        indexing.setdefault(name, []).append(column)
    return {
        "tableName": TABLE,
        "tableType": "OFFLINE",
        "segmentsConfig": {"timeColumnName": "ts", "replication": "2", "schemaName": RAW_TABLE},
        "tenants": {"broker": "DefaultTenant", "server": "DefaultTenant"},
        "tableIndexConfig": indexing,
        "metadata": {},
    }


def schema(added: int) -> dict[str, Any]:
    """The schema with so many columns added, each with a default."""
    return {
        "schemaName": RAW_TABLE,
        "dimensionFieldSpecs": [
            {"name": "part", "dataType": "STRING"},
            *({"name": name, "dataType": "INT"} for name in (*KEYS, "code")),
            {"name": "city", "dataType": "STRING"},
            *({"name": f"added_{n}", "dataType": "INT", "defaultNullValue": n} for n in range(added)),
        ],
        "metricFieldSpecs": [{"name": "price", "dataType": "DOUBLE"}],
        "dateTimeFieldSpecs": [
            {"name": "ts", "dataType": "LONG", "format": "EPOCH|MILLISECONDS", "granularity": "1:MILLISECONDS"}
        ],
    }


@dataclass(frozen=True, slots=True)
class Layout:
    """How a segment is laid out: `column.index` of each index that a config can ask for, columns, and raw columns."""

    indexes: frozenset[str]
    columns: frozenset[str]
    raw: frozenset[str]

    @classmethod
    def wanted(cls, config: Mapping[str, Any], schema: Mapping[str, Any]) -> Layout:
        indexing = config["tableIndexConfig"]
        names = {list_: index for switch, (list_, _) in SWITCHES.items() if (index := switch.partition(".")[2])}
        return cls(
            frozenset(f"{column}.{index}" for list_, index in names.items() for column in indexing.get(list_) or ()),
            frozenset(spec["name"] for key, specs in schema.items() if key.endswith("Specs") for spec in specs),
            frozenset(indexing.get("noDictionaryColumns") or ()),
        )

    @classmethod
    def found(cls, columns: frozenset[str], buffers: frozenset[str]) -> Layout:
        """Of a segment with these columns and these `column.buffer`s."""
        return cls(
            frozenset(buffer for buffer in buffers if buffer.rpartition(".")[2] in _INDEXES),
            columns,
            frozenset(column for column in columns if f"{column}.dictionary" not in buffers),
        )


class Layouts:
    """What each table hash stands for: by all configs and schemas that the table has had.

    A run reads config and schema in two calls, so that its hash can be of a pair that was never there at one time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._configs: list[dict[str, Any]] = []
        self._schemas: list[dict[str, Any]] = []
        self._wanted: dict[str, Layout] = {}

    def add(self, config: dict[str, Any], schema: dict[str, Any]) -> None:
        """A config and a schema that the table is about to have, or has, as the controller prints them."""
        with self._lock:
            if config not in self._configs:
                self._configs.append(config)
            if schema not in self._schemas:
                self._schemas.append(schema)

    def wanted(self, hash_: str) -> Layout | None:
        """The layout that a hash stands for; None for a hash of nothing that the table has ever been."""
        with self._lock:
            if hash_ not in self._wanted:
                for config, known in itertools.product(self._configs, self._schemas):
                    self._wanted[table_hash(config, known)] = Layout.wanted(config, known)
            return self._wanted.get(hash_)
