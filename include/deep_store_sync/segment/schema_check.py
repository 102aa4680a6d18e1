"""What preprocessing cannot change in a segment, although a server calls it stale.

`SegmentPreProcessor` adds and removes indexes and columns that Pinot makes up; it never converts, sorts or partitions
rows that were ingested. Where config and schema ask for that, the segment has to be written anew. Pinot 1.5.1:
BaseTableDataManager.isSegmentStale for what a server compares, BaseDefaultColumnHandler for what preprocessing does.

A column that is in the segment and no longer in the schema needs nothing: preprocessing leaves it, and a server does
not load it (ImmutableSegmentLoader.load), so `isStale` is clean once the segment is loaded anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deep_store_sync.segment.segment_files import ColumnLayout, SegmentLayout

_FIELD_TYPES = {
    "dimensionFieldSpecs": "DIMENSION",
    "metricFieldSpecs": "METRIC",
    "dateTimeFieldSpecs": "DATE_TIME",
    "complexFieldSpecs": "COMPLEX",
}


@dataclass(frozen=True, slots=True)
class SchemaField:
    """A column as the schema wants it, in Pinot's names."""

    name: str
    field_type: str
    data_type: str
    single_value: bool


def reasons_to_regenerate(
    layout: SegmentLayout, table_config: Mapping[str, Any], schema: Mapping[str, Any]
) -> tuple[str, ...]:
    """Why a segment has to be written anew, a reason a column; empty when preprocessing does everything.

    Args:
        layout: the segment.
        table_config: as the controller gives it.
        schema: as the controller gives it.
    """
    return (
        *_time_column(layout, table_config, schema),
        *_columns(layout, schema),
        *_sort_order(layout, table_config),
        *_partition(layout, table_config),
    )


def schema_fields(schema: Mapping[str, Any]) -> dict[str, SchemaField]:
    """The columns of a schema, by name."""
    fields = {
        spec["name"]: SchemaField(
            spec["name"], field_type, str(spec.get("dataType", "")).upper(), spec.get("singleValueField") is not False
        )
        for key, field_type in _FIELD_TYPES.items()
        for spec in schema.get(key) or ()
    }
    if time := schema.get("timeFieldSpec"):  # of old schemas
        spec = time.get("outgoingGranularitySpec") or time["incomingGranularitySpec"]
        fields[spec["name"]] = SchemaField(spec["name"], "TIME", str(spec["dataType"]).upper(), True)
    return fields


def _time_column(layout: SegmentLayout, table_config: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    wanted = (table_config.get("segmentsConfig") or {}).get("timeColumnName")
    if wanted and wanted != layout.time_column:
        has = f"is {layout.time_column!r}" if layout.time_column else "is not set"
        yield f"the time column {has} in the segment, {wanted!r} in the table config"
    elif layout.time_column and layout.time_column not in schema_fields(schema):
        yield f"the segment's time column {layout.time_column!r} is not in the schema, and no server loads it so"


def _columns(layout: SegmentLayout, schema: Mapping[str, Any]) -> Iterator[str]:
    for field in schema_fields(schema).values():
        column = layout.columns.get(field.name)
        if column is None:
            continue  # preprocessing adds it
        if column.field_type != field.field_type:
            has, wants = f"a {_spoken(column.field_type)}", f"a {_spoken(field.field_type)}"
        elif column.auto_generated:
            continue  # preprocessing makes it anew
        elif column.data_type != field.data_type:
            has, wants = column.data_type, field.data_type
        elif column.single_value != field.single_value:
            has, wants = _valued(column.single_value), _valued(field.single_value)
        else:
            continue
        yield f"column {field.name!r} is {has} in the segment, {wants} in the schema"


def _sort_order(layout: SegmentLayout, table_config: Mapping[str, Any]) -> Iterator[str]:
    wanted = _indexing(table_config).get("sortedColumn") or []
    first = wanted if isinstance(wanted, str) else wanted[0] if wanted else None
    column = layout.columns.get(first) if first else None
    if column is not None and not column.sorted:
        yield f"its rows are not sorted by {column.name!r}, the sorted column of the table config"


def _partition(layout: SegmentLayout, table_config: Mapping[str, Any]) -> Iterator[str]:
    configured = (_indexing(table_config).get("segmentPartitionConfig") or {}).get("columnPartitionMap") or {}
    if len(configured) != 1:  # Pinot compares only where a single column is partitioned
        return
    ((name, wanted),) = configured.items()
    column = layout.columns.get(name)
    if column is None:
        return
    function, count = str(wanted.get("functionName")), int(wanted.get("numPartitions", 0))
    if not _same_function(column, function, count):
        has = f"{column.partition_function}, {column.partition_count}" if column.partition_function else "not at all"
        yield f"column {name!r} is partitioned by {has} in the segment, by {function}, {count} in the table config"
    elif len(column.partitions) != 1:
        held = ", ".join(map(str, column.partitions)) or "none"
        yield (f"it holds rows of the partitions {held} of {name!r}, not of one: no rebuild of one segment mends that")


def _same_function(column: ColumnLayout, function: str, count: int) -> bool:
    return (column.partition_function or "").lower() == function.lower() and column.partition_count == count


def _indexing(table_config: Mapping[str, Any]) -> Mapping[str, Any]:
    return table_config.get("tableIndexConfig") or {}


def _spoken(field_type: str) -> str:
    return field_type.lower().replace("_", " ")


def _valued(single_value: bool) -> str:
    return "single-value" if single_value else "multi-value"
