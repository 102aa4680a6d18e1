"""A REALTIME table of the tests: orders, by id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# 2023-11-14
BASE_MS = 1_700_000_000_000
CITIES = ("Rome", "Oslo", "Lima")


def orders_schema(name: str, *, key: bool = False) -> dict[str, Any]:
    """The schema; with `key`, the id is the primary key."""
    schema: dict[str, Any] = {
        "schemaName": name,
        "dimensionFieldSpecs": [{"name": "id", "dataType": "STRING"}, {"name": "city", "dataType": "STRING"}],
        "metricFieldSpecs": [{"name": "amount", "dataType": "LONG"}],
        "dateTimeFieldSpecs": [
            {"name": "at", "dataType": "LONG", "format": "EPOCH|MILLISECONDS", "granularity": "1:MILLISECONDS"}
        ],
    }
    return schema | ({"primaryKeyColumns": ["id"]} if key else {})


def orders_config(name: str, stream: Mapping[str, str], **sections: Any) -> dict[str, Any]:
    """The config of a table on two servers that consumes a stream. `sections` are further ones, upsertConfig say."""
    keyed = {"routing": {"instanceSelectorType": "strictReplicaGroup"}} if sections else {}
    return {
        "tableName": f"{name}_REALTIME",
        "tableType": "REALTIME",
        "segmentsConfig": {"timeColumnName": "at", "schemaName": name, "replication": "2"},
        "tenants": {},
        "tableIndexConfig": {"loadMode": "MMAP", "streamConfigs": dict(stream)},
        "metadata": {},
        **keyed,
        **sections,
    }


def orders(ids: range, *, amount: int, at: int = 0, city: str | None = None) -> list[dict[str, Any]]:
    """An order for each id, all of the same amount, from `at` ms after the base on, the last first, in three cities."""
    return [
        {"id": f"o{i}", "city": CITIES[i % 3] if city is None else city, "amount": amount, "at": BASE_MS + at - n}
        for n, i in enumerate(ids, 1 - len(ids))
    ]
