"""Segments for a star-tree that is nothing in a small one, and takes minutes, and gigabytes, in a large one."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tests.deep_store_sync.pinot_segments import START_MS, TABLE, build_segment

_COLUMNS = [f"d{number}" for number in range(24)]

SCHEMA: dict[str, Any] = {
    "schemaName": "events",
    "dimensionFieldSpecs": [{"name": name, "dataType": "INT"} for name in _COLUMNS],
    "dateTimeFieldSpecs": [
        {"name": "ts", "dataType": "LONG", "format": "EPOCH|MILLISECONDS", "granularity": "1:MILLISECONDS"}
    ],
}
_PLAIN: dict[str, Any] = {
    "tableName": TABLE,
    "tableType": "OFFLINE",
    "segmentsConfig": {"timeColumnName": "ts", "replication": "1"},
    "tenants": {},
    "tableIndexConfig": {},
    "metadata": {},
}
_TREE = {"dimensionsSplitOrder": _COLUMNS, "functionColumnPairs": ["COUNT__*"], "maxLeafRecords": 1}
CONFIG = _PLAIN | {"tableIndexConfig": {"starTreeIndexConfigs": [_TREE], "enableDynamicStarTreeCreation": True}}

# A file of the large one's star-tree while it is built: where it is, Java is at work.
GROWING = "**/large/**/star-tree.record"


def build(out: Path) -> Path:
    for name, count in {"large": 1500, "small 0": 8, "small 1": 8, "small 2": 8}.items():
        dice = random.Random(name)
        data = [{column: dice.randrange(12) for column in _COLUMNS} | {"ts": START_MS + row} for row in range(count)]
        build_segment(out, name, data, _PLAIN, SCHEMA)
    return out
