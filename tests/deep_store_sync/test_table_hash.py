"""The hash moves with what changes a segment, and with nothing else."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep_store_sync.model import StampState
from deep_store_sync.table_hash import TableHashes, building_config, config_for_tier, has_tier_overrides, table_hash

SCHEMA: dict[str, Any] = {
    "schemaName": "flights",
    "dimensionFieldSpecs": [
        {"name": "origin", "dataType": "STRING"},
        {"name": "tags", "dataType": "STRING", "singleValueField": False},
    ],
    "metricFieldSpecs": [{"name": "distance", "dataType": "INT", "defaultNullValue": ""}],
    "dateTimeFieldSpecs": [
        {"name": "ts", "dataType": "LONG", "format": "1:MILLISECONDS:EPOCH", "granularity": "1:HOURS"}
    ],
}
TABLE: dict[str, Any] = {
    "tableName": "flights_OFFLINE",
    "tableType": "OFFLINE",
    "segmentsConfig": {"timeColumnName": "ts", "replication": "2", "retentionTimeUnit": "DAYS"},
    "tenants": {"broker": "DefaultTenant", "server": "DefaultTenant"},
    "tableIndexConfig": {
        "loadMode": "MMAP",
        "invertedIndexColumns": ["origin", "tags"],
        "sortedColumn": ["origin"],
        "starTreeIndexConfigs": [{"dimensionsSplitOrder": ["origin", "tags"], "maxLeafRecords": 10}],
        "nullHandlingEnabled": False,
        "tierOverwrites": {"cold": {"invertedIndexColumns": ["tags"]}},
    },
    "fieldConfigList": [
        {"name": "distance", "encodingType": "RAW", "compressionCodec": "LZ4"},
        {"name": "origin", "indexes": {"bloom": {}}, "tierOverwrites": {"cold": {"indexes": {}}}},
    ],
    "ingestionConfig": {
        "transformConfigs": [{"columnName": "x", "transformFunction": "f(y)"}],
        "continueOnError": False,
    },
    "metadata": {},
}


def edited(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with `a.b[0].c` set, or removed where the value is `...`."""
    result = deepcopy(document)
    *parents, last = [
        int(part) if part.isdigit() else part for part in path.replace("[", ".").replace("]", "").split(".")
    ]
    target: Any = result
    for part in parents:
        target = target[part] if isinstance(part, int) else target.setdefault(part, {})
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return result


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("tenants.server", "other"),
        ("quota", {"storage": "10G"}),
        ("routing", {"segmentPrunerTypes": ["time"]}),
        ("query", {"timeoutMs": 1}),
        ("task", {"taskTypeConfigsMap": {"RefreshSegmentTask": {}}}),
        ("metadata", {"customConfigs": {"a": "b"}}),
        ("instanceAssignmentConfigMap", {"OFFLINE": {}}),
        ("tierConfigs", [{"name": "cold"}]),
        ("segmentsConfig.replication", "3"),
        ("segmentsConfig.retentionTimeValue", "7"),
        ("segmentsConfig.completionConfig", {"completionMode": "DOWNLOAD"}),
        ("tableIndexConfig.loadMode", "HEAP"),
        ("tableIndexConfig.streamConfigs", {"streamType": "kafka"}),
        ("tableIndexConfig.skipSegmentPreprocess", True),
        ("tableIndexConfig.nullHandlingEnabled", ...),
        ("tableIndexConfig.rangeIndexVersion", 2),
        ("tableIndexConfig.bloomFilterColumns", None),
        ("tableIndexConfig.invertedIndexColumns", ["tags", "origin"]),
        ("tableIndexConfig.tierOverwrites.cold", {"invertedIndexColumns": []}),
        ("fieldConfigList[1].encodingType", "DICTIONARY"),
        ("fieldConfigList[1].indexTypes", []),
        ("fieldConfigList[0].properties", None),
        ("ingestionConfig.streamIngestionConfig", {"streamConfigMaps": []}),
        ("ingestionConfig.segmentTimeValueCheck", True),
    ],
)
def test_the_hash_stays(path: str, value: Any) -> None:
    assert table_hash(edited(TABLE, path, value), SCHEMA) == table_hash(TABLE, SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("segmentsConfig.timeColumnName", "other"),
        ("tableIndexConfig.invertedIndexColumns", ["origin"]),
        ("tableIndexConfig.sortedColumn", ["tags"]),
        ("tableIndexConfig.starTreeIndexConfigs[0].dimensionsSplitOrder", ["tags", "origin"]),
        ("tableIndexConfig.starTreeIndexConfigs[0].maxLeafRecords", 11),
        ("tableIndexConfig.nullHandlingEnabled", True),
        ("tableIndexConfig.rangeIndexVersion", 1),
        ("tableIndexConfig.segmentFormatVersion", "v3"),
        ("tableIndexConfig.aSettingOfTomorrow", 1),
        ("aSectionOfTomorrow", {"x": 1}),
        ("fieldConfigList[0].compressionCodec", "ZSTANDARD"),
        ("fieldConfigList[1].indexes", {"bloom": {"fpp": 0.1}}),
        ("fieldConfigList[0].indexTypes", ["TEXT"]),
        ("ingestionConfig.transformConfigs[0].transformFunction", "g(y)"),
        ("ingestionConfig.segmentTimeValueCheck", False),
    ],
)
def test_the_hash_moves(path: str, value: Any) -> None:
    assert table_hash(edited(TABLE, path, value), SCHEMA) != table_hash(TABLE, SCHEMA)


@pytest.mark.parametrize(
    ("path", "value", "moves"),
    [
        ("schemaName", "other", False),
        ("dimensionFieldSpecs[0].singleValueField", True, False),
        ("dimensionFieldSpecs[0].notNull", False, False),
        ("dimensionFieldSpecs[0].defaultNullValue", None, False),
        ("complexFieldSpecs", [], False),
        ("enableColumnBasedNullHandling", False, False),
        ("dimensionFieldSpecs[1].singleValueField", True, True),
        ("dimensionFieldSpecs[0].dataType", "INT", True),
        ("dimensionFieldSpecs[0].defaultNullValue", "", True),
        ("metricFieldSpecs[0].defaultNullValue", ..., True),
        ("metricFieldSpecs[0].defaultNullValue", "0", True),
        ("enableColumnBasedNullHandling", True, True),
        ("primaryKeyColumns", ["origin"], False),
    ],
)
def test_the_schema(path: str, value: Any, moves: bool) -> None:
    assert (table_hash(TABLE, edited(SCHEMA, path, value)) != table_hash(TABLE, SCHEMA)) is moves


def test_false_is_no_zero_and_zero_no_false() -> None:
    assert table_hash(edited(TABLE, "tableIndexConfig.optimizeDictionary", 0), SCHEMA) != table_hash(TABLE, SCHEMA)


@given(st.randoms())
def test_the_order_of_keys_and_of_named_members_does_not_count(random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            keys = list(value)
            random.shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return deepcopy(value)

    table, schema = shuffled(TABLE), shuffled(SCHEMA)
    random.shuffle(table["fieldConfigList"])
    random.shuffle(schema["dimensionFieldSpecs"])
    assert table_hash(table, schema) == table_hash(TABLE, SCHEMA)


def test_a_tier_is_hashed_with_its_overrides() -> None:
    assert table_hash(TABLE, SCHEMA, "cold") != table_hash(TABLE, SCHEMA)
    assert table_hash(TABLE, SCHEMA, "warm") == table_hash(TABLE, SCHEMA)
    assert has_tier_overrides(TABLE, "cold")
    assert not has_tier_overrides(TABLE, "warm")
    assert not has_tier_overrides(TABLE, None)


def test_an_override_replaces_whole_values_and_leaves_its_input_alone() -> None:
    before = json.dumps(TABLE)
    cold = config_for_tier(TABLE, "cold")
    assert cold["tableIndexConfig"]["invertedIndexColumns"] == ["tags"]
    assert cold["tableIndexConfig"]["sortedColumn"] == ["origin"]
    assert cold["fieldConfigList"][1]["indexes"] == {}
    assert json.dumps(TABLE) == before


def test_the_input_is_never_changed() -> None:
    before = json.dumps([TABLE, SCHEMA])
    table_hash(TABLE, SCHEMA, "cold")
    assert json.dumps([TABLE, SCHEMA]) == before


def test_the_hash_of_today_is_pinned() -> None:
    # Whoever changes this value makes every stamp in every cluster outdated: that takes a new hash version.
    assert table_hash(TABLE, SCHEMA) == "v1:33ff9557c9bfe46857142b6adaca95378abdf0e0bc768e4f54c06d3b71eec2a9"


def test_stamps_are_held_against_the_hash_of_their_own_version() -> None:
    hashes = TableHashes(TABLE, SCHEMA)
    current = hashes.current(None)
    assert current.startswith("v1:")
    assert hashes.state(current, None) is StampState.CURRENT
    assert hashes.state(current, "cold") is StampState.OUTDATED
    assert hashes.state(None, None) is StampState.NONE
    assert hashes.state("", None) is StampState.NONE
    assert hashes.state("v1:" + "0" * 64, None) is StampState.OUTDATED
    assert hashes.state("v999:" + "0" * 64, None) is StampState.OUTDATED


def test_a_run_remembers_no_credentials_and_the_hash_is_the_same() -> None:
    secret = "do-not-store"
    table = deepcopy(TABLE)
    table["task"] = {"taskTypeConfigsMap": {"SegmentGenerationAndPushTask": {"input.fs.prop.secretKey": secret}}}
    table["tableIndexConfig"]["streamConfigs"] = {"sasl.jaas.config": secret}
    table["ingestionConfig"]["streamIngestionConfig"] = {"streamConfigMaps": [{"sasl.jaas.config": secret}]}
    table["ingestionConfig"]["batchIngestionConfig"] = {"batchConfigMaps": [{"secretKey": secret}]}
    table["metadata"] = {"customConfigs": {"token": secret}}
    kept = building_config(table)
    assert secret not in json.dumps(kept)
    for tier in (None, "cold"):
        assert table_hash(kept, SCHEMA, tier) == table_hash(table, SCHEMA, tier)
    assert kept["tableName"] == "flights_OFFLINE"
    assert "tenants" in kept
