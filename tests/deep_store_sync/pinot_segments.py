"""Segments built by Pinot's own library, and Pinot's own word on them."""

from __future__ import annotations

import functools
import json
import os
import random
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import jpype

from deep_store_sync.jvm.engine import SegmentEngine
from deep_store_sync.jvm.jars import JarSet, find_jars
from pinot_sandbox.toolchain import ensure_jars, ensure_library, pinot_version

TABLE = "events_OFFLINE"
START_MS = 1_700_000_000_000

SCHEMA: dict[str, Any] = {
    "schemaName": "events",
    "enableColumnBasedNullHandling": True,
    "dimensionFieldSpecs": [
        {"name": "city", "dataType": "STRING"},
        {"name": "code", "dataType": "INT"},
        {"name": "tags", "dataType": "STRING", "singleValueField": False},
        {"name": "note", "dataType": "STRING"},
        {"name": "doc", "dataType": "JSON"},
    ],
    "metricFieldSpecs": [{"name": "price", "dataType": "DOUBLE"}],
    "dateTimeFieldSpecs": [
        {"name": "ts", "dataType": "LONG", "format": "EPOCH|MILLISECONDS", "granularity": "1:MILLISECONDS"}
    ],
}


def schema(
    *, add: Iterable[tuple[str, dict[str, Any]]] = (), drop: Iterable[str] = (), **changed: Any
) -> dict[str, Any]:
    """The schema with columns added, as (section, spec), dropped, or changed by name."""
    found = deepcopy(SCHEMA)
    for section in [key for key in found if key.endswith("FieldSpecs")]:
        kept = [spec for spec in found[section] if spec["name"] not in set(drop)]
        found[section] = [spec | changed.get(spec["name"], {}) for spec in kept]
    for section, spec in add:
        found.setdefault(section, []).append(spec)
    return found


def table_config(
    *, fields: Iterable[dict[str, Any]] = (), top: Mapping[str, Any] | None = None, **indexing: Any
) -> dict[str, Any]:
    """A table config: `fields` is its fieldConfigList, `indexing` goes into tableIndexConfig, `top` beside it."""
    return {
        "tableName": TABLE,
        "tableType": "OFFLINE",
        "segmentsConfig": {"timeColumnName": "ts", "replication": "1"},
        "tenants": {},
        "tableIndexConfig": {"noDictionaryColumns": ["note", "doc"]} | indexing,
        "fieldConfigList": list(fields),
        "metadata": {},
    } | dict(top or {})


def rows(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """Made-up rows, the same for the same seed; some values are null."""
    dice = random.Random(seed)
    return [
        {
            "city": None if dice.random() < 0.1 else f"city {dice.randrange(40)}",
            "code": dice.randrange(1000),
            "tags": [f"t{dice.randrange(20)}" for _ in range(dice.randrange(1, 4))],
            "note": f"note {dice.randrange(10**9)} of row {number}",
            "doc": json.dumps({"a": dice.randrange(5)}),
            "price": dice.random() * 100,
            "ts": START_MS + number * 1000,
        }
        for number in range(count)
    ]


@functools.cache
def jars() -> JarSet:
    """Those of the sandbox, or of the version that PINOT_LIBRARY names: for a process of its own."""
    version = os.environ.get("PINOT_LIBRARY", pinot_version())
    return find_jars(version, configured=ensure_jars() if version == pinot_version() else ensure_library(version))


def engine() -> SegmentEngine:
    """The engine of this process, for this thread to use Java with."""
    started = SegmentEngine.start(jars(), 512 << 20)
    started.attach()
    return started


def build_segment(
    out: Path, name: str, data: Iterable[Mapping[str, Any]], config: Mapping[str, Any], of: Mapping[str, Any] = SCHEMA
) -> Path:
    """Write a segment as an ingestion job does; returns its folder."""
    engine()
    load = jpype.JClass
    local = "org.apache.pinot.segment.local.segment"
    generic_row = load("org.apache.pinot.spi.data.readers.GenericRow")
    java_rows = load("java.util.ArrayList")()
    for row in data:
        java_row = generic_row()
        for column, value in row.items():
            java_row.putValue(column, _java(value))
        java_rows.add(java_row)
    settings = load("org.apache.pinot.segment.spi.creator.SegmentGeneratorConfig")(*_java_config(config, of))
    settings.setOutDir(str(out))
    settings.setSegmentName(name)
    driver = load(f"{local}.creator.impl.SegmentIndexCreationDriverImpl")()
    driver.init(settings, load(f"{local}.readers.GenericRowRecordReader")(java_rows))
    driver.build()
    return out / name


def is_stale(segment_dir: Path, config: Mapping[str, Any], of: Mapping[str, Any]) -> str | None:
    """What a server that has just loaded the segment answers to `isStale`: its reason, or None."""
    engine()
    load = jpype.JClass
    loading = load("org.apache.pinot.segment.local.segment.index.loader.IndexLoadingConfig")(*_java_config(config, of))
    loader = load("org.apache.pinot.segment.local.indexsegment.immutable.ImmutableSegmentLoader")
    segment = loader.load(load("java.io.File")(str(segment_dir)), loading, False)
    manager = load("org.apache.pinot.core.data.manager.offline.ImmutableSegmentDataManager")(segment)
    try:
        data_manager = load("org.apache.pinot.core.data.manager.BaseTableDataManager").class_
        (method,) = [method for method in data_manager.getDeclaredMethods() if method.getName() == "isSegmentStale"]
        method.setAccessible(True)
        table = load("org.apache.pinot.core.data.manager.offline.OfflineTableDataManager")()
        if method.getParameterCount() == 2:
            answer = method.invoke(table, loading, manager)
        else:  # before 1.4
            answer = method.invoke(table, loading.getTableConfig(), loading.getSchema(), manager)
        return str(answer.getReason()) if answer.isStale() else None
    finally:
        segment.destroy()


def _java_config(config: Mapping[str, Any], of: Mapping[str, Any]) -> tuple[Any, Any]:
    load = jpype.JClass
    to_object = load("org.apache.pinot.spi.utils.JsonUtils").stringToObject
    return (
        to_object(json.dumps(config), load("org.apache.pinot.spi.config.table.TableConfig")),
        load("org.apache.pinot.spi.data.Schema").fromString(json.dumps(of)),
    )


def _java(value: Any) -> Any:
    if isinstance(value, list):
        return jpype.JArray(jpype.JObject)([_java(item) for item in value])
    if isinstance(value, int):
        return jpype.JLong(value)
    return jpype.JDouble(value) if isinstance(value, float) else value
