"""The tables that the benchmarks run on, and the changes that are measured on them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinot_sandbox import flights

# Each named after its number of different values.
_DIMENSIONS = {
    "country_200": "STRING",
    "city_20000": "STRING",
    "device_12": "STRING",
    "browser_60": "STRING",
    "campaign_3000": "STRING",
    "referrer_50000": "STRING",
    "user_400000": "LONG",
    "session_500000": "STRING",
    "page_10000": "INT",
    "status_40": "INT",
    "hour_24": "INT",
    "release_300": "STRING",
    "language_90": "STRING",
    "flag_2": "INT",
}
_METRICS = {
    "price_0": "DOUBLE",
    "tax_0": "DOUBLE",
    "score_0": "DOUBLE",
    "latency_0": "FLOAT",
    "clicks_1000": "INT",
    "bytes_100000": "LONG",
}
# What a wide table's columns are like, over and over.
_WIDE = (
    ("city", 20_000, "STRING"),
    ("country", 200, "STRING"),
    ("code", 5_000, "INT"),
    ("flag", 2, "INT"),
    ("name", 100_000, "STRING"),
    ("user", 400_000, "LONG"),
    ("status", 40, "INT"),
    ("amount", 0, "DOUBLE"),
    ("clicks", 1_000, "INT"),
    ("score", 0, "FLOAT"),
)

Change = tuple[dict[str, Any], dict[str, Any]]


@dataclass(frozen=True)
class Table:
    """What segments are built from, and what the two changes touch.

    `source` is a file of rows as JSON lines; without it, `rows` made-up ones are taken.
    """

    name: str
    schema: dict[str, Any]
    config: dict[str, Any]
    rows: int
    inverted: tuple[str, ...]
    ranged: str
    bloom: str
    widened: str
    source: Path | None = None

    @property
    def columns(self) -> int:
        return sum(len(value) for key, value in self.schema.items() if key.endswith("FieldSpecs"))

    def index_only(self) -> Change:
        """Inverted indexes, a range index and a Bloom filter are added: config and schema of it."""
        config = deepcopy(self.config)
        config["tableIndexConfig"] |= {
            "invertedIndexColumns": list(self.inverted),
            "rangeIndexColumns": [self.ranged],
            "bloomFilterColumns": [self.bloom],
        }
        return config, self.schema

    def type_change(self) -> Change:
        """One INT column becomes LONG: config and schema of it."""
        schema = deepcopy(self.schema)
        (field,) = (
            spec
            for key, specs in schema.items()
            if key.endswith("FieldSpecs")
            for spec in specs
            if spec["name"] == self.widened
        )
        assert field["dataType"] == "INT"
        field["dataType"] = "LONG"
        return self.config, schema


def events(rows: int = 500_000) -> Table:
    """Fourteen dimensions, six metrics and the time."""
    return Table(
        name=f"{rows // 1000}k",
        schema=_schema(_DIMENSIONS.items(), _METRICS.items()),
        config=_config([name for name in _METRICS if name.endswith("_0")]),
        rows=rows,
        inverted=("country_200", "device_12", "campaign_3000", "status_40"),
        ranged="clicks_1000",
        bloom="user_400000",
        widened="page_10000",
    )


def wide(columns: int = 100, rows: int = 2_000_000) -> Table:
    """A table of many columns, dimensions and metrics of all sorts, and the time."""
    fields = []
    for number in range(columns - 1):
        kind, different, data_type = _WIDE[number % len(_WIDE)]
        fields.append((f"{kind}{number // len(_WIDE)}_{different}", data_type))
    metrics = [field for field in fields if field[1] in ("DOUBLE", "FLOAT")]
    return Table(
        name=f"{columns}_columns_{rows // 1000}k",
        schema=_schema([field for field in fields if field not in metrics], metrics),
        config=_config([name for name, _ in metrics]),
        rows=rows,
        inverted=("country0_200", "status0_40", "code0_5000", "flag0_2"),
        ranged="clicks0_1000",
        bloom="user0_400000",
        widened="code0_5000",
    )


def year_of_flights(folder: Path) -> Table:
    """The sample table, a whole year in each segment; its rows are written into the folder."""
    source = folder / "flights.jsonl"
    with source.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for _, row in flights.rows(range(1, 13)))
    return Table(
        name="flights",
        schema=flights.schema(),
        config=flights.table_config(),
        rows=flights.ROWS,
        inverted=("carrier", "origin", "dest", "month"),
        ranged="distance",
        bloom="tailnum",
        widened="distance",
        source=source,
    )


def _schema(dimensions: Iterable[tuple[str, str]], metrics: Iterable[tuple[str, str]]) -> dict[str, Any]:
    return {
        "schemaName": "bench",
        "dimensionFieldSpecs": [{"name": name, "dataType": kind} for name, kind in dimensions],
        "metricFieldSpecs": [{"name": name, "dataType": kind} for name, kind in metrics],
        "dateTimeFieldSpecs": [
            {"name": "ts", "dataType": "LONG", "format": "EPOCH|MILLISECONDS", "granularity": "1:MILLISECONDS"}
        ],
    }


def _config(raw: list[str]) -> dict[str, Any]:
    return {
        "tableName": "bench_OFFLINE",
        "tableType": "OFFLINE",
        "segmentsConfig": {"timeColumnName": "ts", "replication": "1"},
        "tenants": {},
        "tableIndexConfig": {"noDictionaryColumns": raw},
        "metadata": {},
    }
