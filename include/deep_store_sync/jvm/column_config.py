"""Of a table config, what concerns some columns only: what Pinot needs to write just these."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

# Over several columns, or about the order of rows, or about the table as a whole: preprocessing sees to what is left of
# it afterwards.
_SPANNING = frozenset(
    (
        "aggregateMetrics",
        "enableDefaultStarTree",
        "multiColumnTextIndexConfig",
        "segmentFormatVersion",
        "segmentPartitionConfig",
        "sortedColumn",
        "starTreeIndexConfigs",
        "streamConfigs",
        "tierOverwrites",
    )
)
# These keep a column's values out of the segment. Whether they may go, preprocessing and verification decide.
_WITHOUT_VALUES = frozenset(("forwardIndexDisabled", "noRawDataForTextIndex", "rawValueForTextIndex"))


def config_of_columns(
    table_config: Mapping[str, Any], columns: Collection[str], *, time_column: str | None = None
) -> dict[str, Any]:
    """The config for a segment of these columns only: no other column's indexes, no transforms, filters or sorting.

    Args:
        table_config: with the overrides of the segment's tier applied.
        columns: the columns.
        time_column: the segment's time column, if it is one of them.
    """
    configured = table_config.get("tableIndexConfig") or {}
    indexing = {name: _of(columns, value) for name, value in configured.items() if name not in _SPANNING}
    partitions = _of(columns, (configured.get("segmentPartitionConfig") or {}).get("columnPartitionMap") or {})
    if partitions:
        indexing["segmentPartitionConfig"] = {"columnPartitionMap": partitions}
    # Left to itself, the driver leaves inverted indexes to the servers.
    indexing["createInvertedIndexDuringSegmentGeneration"] = True
    fields = [_field(field) for field in table_config.get("fieldConfigList") or () if field.get("name") in columns]
    segments: dict[str, Any] = {"replication": "1"}
    if time_column:
        segments["timeColumnName"] = time_column
    check_time = (table_config.get("ingestionConfig") or {}).get("segmentTimeValueCheck") is not False
    return {
        "tableName": table_config["tableName"],
        "tableType": table_config["tableType"],
        "segmentsConfig": segments,
        "tenants": {},
        "tableIndexConfig": indexing,
        "fieldConfigList": fields,
        "ingestionConfig": {"segmentTimeValueCheck": check_time},
        "metadata": {},
    }


def _of(columns: Collection[str], value: Any) -> Any:
    """A list or mapping of columns without the others; anything else as it is."""
    if isinstance(value, list):
        return [member for member in value if member in columns]
    if isinstance(value, dict):
        return {name: member for name, member in value.items() if name in columns}
    return value


def _field(field: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in field.items() if name not in ("tierOverwrites", "timestampConfig")}
    if isinstance(properties := kept.get("properties"), dict):
        kept["properties"] = {name: value for name, value in properties.items() if name not in _WITHOUT_VALUES}
    if isinstance(indexes := kept.get("indexes"), dict):
        kept["indexes"] = {name: _without_loss(name, index) for name, index in indexes.items()}
    return kept


def _without_loss(name: str, index: Any) -> Any:
    lossy = {"forward": "disabled", "text": "rawValue"}.get(name)
    return {key: value for key, value in index.items() if key != lossy} if isinstance(index, dict) else index
