"""What a table config wants of single columns, as far as preprocessing does not see to it (Pinot 1.5.1).

Each of these may be said in several places: in lists of columns, and in the entries of `fieldConfigList`, there by
`encodingType` and `properties` or, newer, below `indexes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Json = Any


def raw_columns(table_config: Mapping[str, Json]) -> set[str]:
    """Columns that are wanted without a dictionary (DictionaryIndexType)."""
    indexing = table_config.get("tableIndexConfig") or {}
    found = {*(indexing.get("noDictionaryColumns") or ()), *(indexing.get("noDictionaryConfig") or {})}
    for field in _fields(table_config):
        if field.get("encodingType") == "RAW" or _index(field, "dictionary").get("disabled") is True:
            found.add(str(field.get("name")))
    return found


def variable_length_columns(table_config: Mapping[str, Json]) -> set[str]:
    """Columns whose dictionary is wanted with values of variable length (DictionaryIndexType)."""
    found = set((table_config.get("tableIndexConfig") or {}).get("varLengthDictionaryColumns") or ())
    for field in _fields(table_config):
        if _index(field, "dictionary").get("useVarLengthDictionary") is True:
            found.add(str(field.get("name")))
    return found


def range_versions(table_config: Mapping[str, Json]) -> dict[str, int]:
    """Columns with a range index, and the format version that it is wanted in (RangeIndexType)."""
    indexing = table_config.get("tableIndexConfig") or {}
    version = int(indexing.get("rangeIndexVersion") or 2)
    found = dict.fromkeys([*(indexing.get("rangeIndexColumns") or ()), *timestamp_columns(table_config)], version)
    for field in _fields(table_config):
        index = (field.get("indexes") or {}).get("range")
        kinds = [*(field.get("indexTypes") or ()), field.get("indexType")]
        if isinstance(index, dict) and index.get("disabled") is not True:
            found[str(field.get("name"))] = int(index["version"]) if index.get("version") else version
        elif "RANGE" in kinds:
            found[str(field.get("name"))] = version
    return found


def raw_forward_versions(table_config: Mapping[str, Json]) -> dict[str, int]:
    """Columns for which a format version of the raw forward index is named (ForwardIndexConfig)."""
    found = {}
    for field in _fields(table_config):
        for section in (field.get("properties") or {}, _index(field, "forward")):
            if (version := str(section.get("rawIndexWriterVersion"))).isdecimal():
                found[str(field.get("name"))] = int(version)
    return found


def vector_columns(table_config: Mapping[str, Json]) -> set[str]:
    """Columns with a vector index (VectorIndexType)."""
    return _columns_with(table_config, "vector")


def text_columns(table_config: Mapping[str, Json]) -> set[str]:
    """Columns with a text index of their own (TextIndexType)."""
    return _columns_with(table_config, "text")


def text_only_columns(table_config: Mapping[str, Json]) -> set[str]:
    """Columns whose raw forward index is to hold a dummy, and the text index alone the text (TextIndexConfig)."""
    found = set()
    for field in _fields(table_config):
        properties = field.get("properties") or {}
        if (
            str(properties.get("noRawDataForTextIndex")).lower() == "true"
            or properties.get("rawValueForTextIndex") is not None
            or _index(field, "text").get("rawValue") is not None
        ):
            found.add(str(field.get("name")))
    return found


def text_stored_in_segment_file(table_config: Mapping[str, Json]) -> set[str]:
    """Columns whose text index is wanted among the segment's buffers, not beside them (TextIndexConfig)."""
    found = set()
    for field in _fields(table_config):
        properties = field.get("properties") or {}
        wanted = _index(field, "text").get("storeInSegmentFile")
        if wanted is True or str(properties.get("storeInSegmentFile")).lower() == "true":
            found.add(str(field.get("name")))
    return found


def timestamp_columns(table_config: Mapping[str, Json]) -> Iterator[str]:
    """The columns of timestamp indexes, which no schema names (TimestampIndexUtils)."""
    for field in _fields(table_config):
        for granularity in (field.get("timestampConfig") or {}).get("granularities") or ():
            yield f"${field.get('name')}${granularity}"


def _columns_with(table_config: Mapping[str, Json], kind: str) -> set[str]:
    found = set()
    for field in _fields(table_config):
        index = (field.get("indexes") or {}).get(kind)
        newer = isinstance(index, dict) and index.get("disabled") is not True
        if newer or kind.upper() in (*(field.get("indexTypes") or ()), field.get("indexType")):
            found.add(str(field.get("name")))
    return found


def _fields(table_config: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    return list(table_config.get("fieldConfigList") or ())


def _index(field: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    found = (field.get("indexes") or {}).get(name)
    return found if isinstance(found, dict) else {}
