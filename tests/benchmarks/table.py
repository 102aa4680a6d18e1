"""The table that the benchmarks run on, and the change of its config."""

from __future__ import annotations

from typing import Any

TABLE = "bench_OFFLINE"
ROWS = 500_000

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


def schema() -> dict[str, Any]:
    """Fourteen dimensions, six metrics and the time."""
    return {
        "schemaName": "bench",
        "dimensionFieldSpecs": [{"name": name, "dataType": kind} for name, kind in _DIMENSIONS.items()],
        "metricFieldSpecs": [{"name": name, "dataType": kind} for name, kind in _METRICS.items()],
        "dateTimeFieldSpecs": [
            {"name": "ts", "dataType": "LONG", "format": "EPOCH|MILLISECONDS", "granularity": "1:MILLISECONDS"}
        ],
    }


def table_config(**indexing: Any) -> dict[str, Any]:
    """The config that the segments were built with, `indexing` on top."""
    return {
        "tableName": TABLE,
        "tableType": "OFFLINE",
        "segmentsConfig": {"timeColumnName": "ts", "replication": "1"},
        "tenants": {},
        "tableIndexConfig": {"noDictionaryColumns": ["price_0", "tax_0", "score_0", "latency_0"]} | indexing,
        "metadata": {},
    }


def indexed() -> dict[str, Any]:
    """The change: four inverted indexes, a range index and a Bloom filter."""
    return table_config(
        invertedIndexColumns=["country_200", "device_12", "campaign_3000", "status_40"],
        rangeIndexColumns=["clicks_1000"],
        bloomFilterColumns=["user_400000"],
    )
