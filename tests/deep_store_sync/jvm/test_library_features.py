from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.deep_store_sync.pinot_segments import build_segment, engine, rows, schema, table_config

from deep_store_sync.jvm.library_features import (
    Each,
    LibraryFeatures,
    Settings,
    raw_versions,
    unknown_settings,
)

FIELD = Settings({"name": None, "indexes": Settings({"text": Settings({"fst": None}), "inverted": None}, by_name=True)})
TABLE = Settings({"tableName": None, "fields": Each(FIELD), "byColumn": Each(Settings({"depth": None}))})


@pytest.mark.parametrize(
    ("value", "unknown"),
    [
        ({"tableName": {"anything": 1}}, []),
        ({"newSection": {"on": True}}, ["newSection"]),
        ({"newSection": {"on": False, "list": [], "text": "", "deeper": {"none": None}}}, []),
        ({"newSection": 0}, ["newSection"]),
        ({"byColumn": {"a": {"depth": 1}, "b": {"width": 1}}}, ["byColumn[b].width"]),
        ({"fields": [{"name": "a", "new": 1}, {"new": 1}]}, ["fields[a].new", "fields[1].new"]),
        ({"fields": [{"name": "a", "indexes": {"inverted": {"any": 1}, "text": {}}}]}, []),
        ({"fields": [{"name": "a", "indexes": {"text": {"new": True}}}]}, ["fields[a].indexes.text.new"]),
        ({"fields": [{"name": "a", "indexes": {"ours": {}}}]}, ["fields[a].indexes.ours"]),
        ({"fields": [{"name": "a", "indexes": {"ours": {"disabled": True}, "other": None}}]}, []),
        ({"fields": "not what it should be"}, []),
    ],
)
def test_unknown_settings(value: Any, unknown: list[str]) -> None:
    assert list(unknown_settings(value, TABLE)) == unknown


def test_raw_versions() -> None:
    fields = [
        {"name": "a", "indexes": {"forward": {"rawIndexWriterVersion": 5}}},
        {"name": "b", "properties": {"rawIndexWriterVersion": "4"}},
        {"name": "c", "indexes": {"text": {}}},
    ]
    assert raw_versions({"fieldConfigList": fields}) == {4, 5}
    assert raw_versions({}) == set()


def asked(of_cluster: bool, **field: Any) -> tuple[str, ...]:
    engine()
    config = table_config(fields=[{"name": "city", "encodingType": "DICTIONARY"} | field])
    return LibraryFeatures(of_cluster=of_cluster).unknown_in_config(config, schema(), None)


@pytest.mark.parametrize("of_cluster", [False, True])
def test_index_type_that_is_not_registered(of_cluster: bool) -> None:
    assert asked(of_cluster, indexes={"ours": {}}) == ("fieldConfigList[city].indexes.ours",)


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ({"indexes": {"bloom": {"new": 1}}}, "indexes.bloom.new"),
        ({"properties": {"new": "1"}}, "properties.new"),
    ],
)
def test_what_a_controller_keeps_word_for_word(field: dict[str, Any], path: str) -> None:
    assert asked(False, **field) == (f"fieldConfigList[city].{path}",)
    assert asked(True, **field) == ()  # the cluster's servers do not know it either


@pytest.mark.parametrize(
    "field",
    [
        {"indexes": {"inverted": {"enabled": "true"}, "h3": {"resolution": [5]}, "bloom": {"fpp": 0.1}}},
        {"indexTypes": ["TEXT"], "properties": {"noRawDataForTextIndex": "true", "caseSensitive": "true"}},
        {"indexTypes": ["H3"], "properties": {"resolutions": "5"}},
        {"indexTypes": ["VECTOR"], "properties": {"vectorIndexType": "HNSW", "a.setting.of.the.codec": "1"}},
        {"indexes": {"vector": {}}, "properties": {"a.setting.of.the.codec": "1"}},
        {"properties": {"rawIndexWriterVersion": "4", "deriveNumDocsPerChunkForRawIndex": "true"}},
        {"timestampConfig": {"granularities": ["DAY"]}, "compressionCodec": "LZ4"},
    ],
)
def test_all_that_the_library_knows_passes(field: dict[str, Any]) -> None:
    assert asked(False, **field) == ()


def test_indexes_that_no_version_builds_on_a_sorted_column_are_not_left_out(tmp_path: Path) -> None:
    segment = build_segment(tmp_path, "s", rows(20), table_config())  # sorted by ts
    config = table_config(invertedIndexColumns=["ts", "city"], rangeIndexColumns=["ts", "price"])
    loading = engine()._loading_config(config, schema(), None)
    before = engine()._left_out(segment, loading)
    engine().preprocess(segment, config, schema())
    assert before == ("inverted_index of column city", "range_index of column price")
    assert engine()._left_out(segment, engine()._loading_config(config, schema(), None)) == ()
