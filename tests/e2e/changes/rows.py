"""The table that changes are made to: its rows, known to the last value, and its config and schema, without any index.

A `Layout` is a table config and a schema, told as what differs from the plain ones.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]

COUNT = 400
START_MS = 1_700_000_000_000
DAY_MS = 86_400_000
RAW_COLUMNS = ("note", "body", "doc", "place", "embedding")
NEW_YORK = (-74.0, 40.7)

_WORDS = ("alpha", "beta", "gamma", "delta", "omega")

# By column: the list of the schema that it stands in, and its spec there.
_COLUMNS: dict[str, dict[str, Any]] = {
    "id": {"kind": "dimension", "dataType": "INT"},
    "city": {"kind": "dimension", "dataType": "STRING"},
    "code": {"kind": "dimension", "dataType": "INT"},
    "score": {"kind": "dimension", "dataType": "INT"},
    "digits": {"kind": "dimension", "dataType": "STRING"},
    "tags": {"kind": "dimension", "dataType": "STRING", "singleValueField": False},
    "note": {"kind": "dimension", "dataType": "STRING"},
    "body": {"kind": "dimension", "dataType": "STRING"},
    "doc": {"kind": "dimension", "dataType": "JSON"},
    "place": {"kind": "dimension", "dataType": "BYTES"},
    "embedding": {"kind": "dimension", "dataType": "FLOAT", "singleValueField": False},
    "ratio": {"kind": "dimension", "dataType": "FLOAT"},
    "big": {"kind": "dimension", "dataType": "LONG"},
    "huge": {"kind": "dimension", "dataType": "LONG"},
    "member": {"kind": "dimension", "dataType": "INT"},
    "price": {"kind": "metric", "dataType": "DOUBLE"},
    "qty": {"kind": "metric", "dataType": "INT"},
    "ts": {"kind": "dateTime", "dataType": "LONG", "format": "EPOCH|MILLISECONDS", "granularity": "1:MILLISECONDS"},
    "updated": {
        "kind": "dateTime",
        "dataType": "LONG",
        "format": "EPOCH|MILLISECONDS",
        "granularity": "1:MILLISECONDS",
    },
    "moment": {"kind": "dateTime", "dataType": "TIMESTAMP", "format": "TIMESTAMP", "granularity": "1:MILLISECONDS"},
}

# What Pinot answers for a null where a query does not ask for nulls (FieldSpec.getDefaultNullValue).
_NULLS = {
    ("dimension", "INT"): -(2**31),
    ("metric", "INT"): 0,
    ("dimension", "LONG"): -(2**63),
    ("dimension", "STRING"): "null",
}


@dataclass(frozen=True)
class Layout:
    """`indexing` goes into the config's tableIndexConfig, `fields` is its fieldConfigList, `top` stands beside them.

    `columns` changes or adds columns of the schema, and drops those that it maps to None; `schema` stands beside them.
    """

    indexing: Mapping[str, Any] = field(default_factory=dict)
    fields: Sequence[Mapping[str, Any]] = ()
    top: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    schema: Mapping[str, Any] = field(default_factory=dict)

    def specs(self) -> dict[str, dict[str, Any]]:
        """By column, its spec, with the list that it stands in as `kind`."""
        specs = dict(_COLUMNS)
        for name, change in self.columns.items():
            if change is None:
                del specs[name]
            else:
                specs[name] = {"kind": "dimension", **specs.get(name, {}), **change}
        return specs

    def schema_of(self, raw_table: str) -> dict[str, Any]:
        lists: dict[str, list[dict[str, Any]]] = {}
        for name, spec in self.specs().items():
            rest = {key: value for key, value in spec.items() if key != "kind"}
            lists.setdefault(f"{spec['kind']}FieldSpecs", []).append({"name": name} | rest)
        return {"schemaName": raw_table} | lists | dict(self.schema)

    def table_config(self, raw_table: str) -> dict[str, Any]:
        top = dict(self.top)
        indexing = {
            "loadMode": "MMAP",
            "nullHandlingEnabled": True,
            "createInvertedIndexDuringSegmentGeneration": True,
            "noDictionaryColumns": list(RAW_COLUMNS),
        }
        return {
            "tableName": f"{raw_table}_OFFLINE",
            "tableType": "OFFLINE",
            "segmentsConfig": {"timeColumnName": "ts", "replication": "2"} | top.pop("segmentsConfig", {}),
            "tenants": {"broker": "DefaultTenant", "server": "DefaultTenant"},
            "tableIndexConfig": indexing | dict(self.indexing),
            "fieldConfigList": [dict(config) for config in self.fields],
            "metadata": {},
        } | top

    def dump_sql(self) -> str:
        """A query for every value of every column, in the rows' order."""
        specs = self.specs()
        shown = [f'CAST("{name}" AS LONG)' if specs[name]["dataType"] == "TIMESTAMP" else f'"{name}"' for name in specs]
        return f"select {', '.join(shown)} from {{t}} limit {10 * COUNT}"

    def dump(self, rows: Sequence[Row], values: Mapping[str, Callable[[Row], Any]]) -> list[list[Any]]:
        """What that query has to answer. `values` computes columns that the rows do not have, or have otherwise."""
        specs = self.specs()

        def shown(row: Row, name: str) -> Any:
            value = values[name](row) if name in values else row[name]
            spec = specs[name]
            return _NULLS[spec["kind"], spec["dataType"]] if value is None else value

        return [[shown(row, name) for name in specs] for row in rows]


def make_rows() -> list[Row]:
    """The rows in the order in which they are ingested. `ts` and `id` rise; some of `city` and `score` are null."""
    dice = random.Random(4)
    return [
        {
            "id": number,
            "city": None if dice.random() < 0.05 else f"city {dice.randrange(20):02d}",
            "code": dice.randrange(300),
            "score": None if dice.random() < 0.1 else dice.randrange(50),
            "digits": str(dice.randrange(1000)),
            "tags": [f"t{dice.randrange(10)}" for _ in range(dice.randrange(1, 4))],
            "note": f"note {dice.randrange(10**6)} of row {number}, " + " ".join(dice.sample(_WORDS, 2)),
            "body": " ".join(dice.choices(_WORDS, k=4)),
            "doc": json.dumps({"a": {"b": dice.randrange(5)}}, separators=(",", ":")),
            "place": point(dice.choice((NEW_YORK, (2.35, 48.86), (139.7, 35.7)))),
            "embedding": [dice.randrange(-64, 64) / 8 for _ in range(4)],
            "ratio": dice.randrange(1000) / 8,
            "big": 10**6 + dice.randrange(10**6),
            "huge": 2**40 + dice.randrange(1000),
            "member": 4 * dice.randrange(100) + 1,
            "price": dice.randrange(10_000) / 4,
            "qty": dice.randrange(100),
            "ts": START_MS + number * 60_000,
            "updated": START_MS + 30 * DAY_MS + dice.randrange(DAY_MS),
            "moment": START_MS + dice.randrange(5 * DAY_MS),
        }
        for number in range(COUNT)
    ]


def point(place: tuple[float, float]) -> str:
    """A point on earth, longitude first, as Pinot's GeometrySerializer writes it, in hex."""
    return struct.pack(">Bdd", 0x80, *place).hex()
