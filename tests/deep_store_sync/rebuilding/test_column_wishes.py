from __future__ import annotations

from typing import Any

from tests.deep_store_sync.pinot_segments import table_config

from deep_store_sync.rebuilding.column_wishes import (
    range_versions,
    raw_columns,
    raw_forward_versions,
    text_only_columns,
    text_stored_in_segment_file,
    timestamp_columns,
    variable_length_columns,
)


def fields(*found: dict[str, Any], **indexing: Any) -> dict[str, Any]:
    return table_config(fields=found, noDictionaryColumns=None, **indexing)


def test_raw_columns() -> None:
    config = fields(
        {"name": "b", "encodingType": "RAW"},
        {"name": "c", "indexes": {"dictionary": {"disabled": True}}},
        {"name": "d", "encodingType": "DICTIONARY", "indexes": {"dictionary": {}}},
        noDictionaryConfig={"e": "SNAPPY"},
    )
    assert raw_columns(config | {}) == {"b", "c", "e"}
    assert raw_columns(table_config()) == {"note", "doc"}


def test_variable_length_columns() -> None:
    config = fields(
        {"name": "b", "indexes": {"dictionary": {"useVarLengthDictionary": True}}},
        {"name": "c", "indexes": {"dictionary": {"useVarLengthDictionary": False}}},
        varLengthDictionaryColumns=["d"],
    )
    assert variable_length_columns(config) == {"b", "d"}


def test_range_versions() -> None:
    config = fields(
        {"name": "b", "indexTypes": ["RANGE"]},
        {"name": "c", "indexType": "RANGE"},
        {"name": "d", "indexes": {"range": {"version": 2}}},
        {"name": "e", "indexes": {"range": {"disabled": True}}},
        {"name": "ts", "timestampConfig": {"granularities": ["DAY"]}},
        rangeIndexColumns=["f"],
        rangeIndexVersion=1,
    )
    assert range_versions(config) == {"b": 1, "c": 1, "d": 2, "f": 1, "$ts$DAY": 1}
    assert range_versions(table_config(rangeIndexColumns=["f"])) == {"f": 2}


def test_raw_forward_versions() -> None:
    config = fields(
        {"name": "b", "properties": {"rawIndexWriterVersion": "3"}},
        {"name": "c", "indexes": {"forward": {"rawIndexWriterVersion": 5}}},
        {"name": "d", "indexes": {"forward": {"rawIndexWriterVersion": None}}, "properties": None},
    )
    assert raw_forward_versions(config) == {"b": 3, "c": 5}


def test_timestamp_columns() -> None:
    config = fields({"name": "ts", "timestampConfig": {"granularities": ["DAY", "WEEK"]}}, {"name": "b"})
    assert list(timestamp_columns(config)) == ["$ts$DAY", "$ts$WEEK"]


def test_columns_whose_text_is_in_the_text_index_only() -> None:
    config = fields(
        {"name": "b", "properties": {"noRawDataForTextIndex": "True"}},
        {"name": "c", "properties": {"rawValueForTextIndex": ""}},
        {"name": "d", "indexes": {"text": {"rawValue": "x"}}},
        {"name": "e", "properties": {"noRawDataForTextIndex": "false"}, "indexes": {"text": {"rawValue": None}}},
    )
    assert text_only_columns(config) == {"b", "c", "d"}


def test_columns_whose_text_index_is_stored_in_the_segment_file() -> None:
    config = fields(
        {"name": "b", "properties": {"storeInSegmentFile": "true"}},
        {"name": "c", "indexes": {"text": {"storeInSegmentFile": True}}},
        {"name": "d", "properties": {"storeInSegmentFile": "no"}, "indexes": {"text": {}}},
    )
    assert text_stored_in_segment_file(config) == {"b", "c"}
