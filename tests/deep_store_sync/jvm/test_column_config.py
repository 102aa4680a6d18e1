from __future__ import annotations

from tests.deep_store_sync.pinot_segments import table_config

from deep_store_sync.jvm.column_config import config_of_columns

PARTITIONS = {
    name: {"functionName": "Murmur", "numPartitions": 2}
    for name in ("city", "code")
}  # fmt: skip


def test_only_what_concerns_the_columns() -> None:
    config = table_config(
        fields=[{"name": "city", "encodingType": "RAW"}, {"name": "code", "encodingType": "RAW"}],
        top={"ingestionConfig": {"filterConfig": {"filterFunction": "x"}}, "upsertConfig": {"mode": "FULL"}},
        invertedIndexColumns=["city", "code"],
        noDictionaryConfig={"city": "LZ4", "code": "LZ4"},
        segmentPartitionConfig={"columnPartitionMap": PARTITIONS},
        nullHandlingEnabled=True,
        sortedColumn=["city"],
        starTreeIndexConfigs=[{"dimensionsSplitOrder": ["city"]}],
    )
    assert config_of_columns(config, ["city"]) == {
        "tableName": "events_OFFLINE",
        "tableType": "OFFLINE",
        "segmentsConfig": {"replication": "1"},
        "tenants": {},
        "tableIndexConfig": {
            "noDictionaryColumns": [],
            "invertedIndexColumns": ["city"],
            "noDictionaryConfig": {"city": "LZ4"},
            "segmentPartitionConfig": {"columnPartitionMap": {"city": PARTITIONS["city"]}},
            "nullHandlingEnabled": True,
            "createInvertedIndexDuringSegmentGeneration": True,
        },
        "fieldConfigList": [{"name": "city", "encodingType": "RAW"}],
        "ingestionConfig": {"segmentTimeValueCheck": True},
        "metadata": {},
    }


def test_time_column() -> None:
    config = table_config(top={"ingestionConfig": {"segmentTimeValueCheck": False}})
    found = config_of_columns(config, ["ts"], time_column="ts")
    assert found["segmentsConfig"]["timeColumnName"] == "ts"
    assert found["ingestionConfig"] == {"segmentTimeValueCheck": False}


def test_values_are_kept() -> None:
    """What a config keeps out of a segment is not for the driver to leave out: preprocessing may do so."""
    config = table_config(
        fields=[
            {
                "name": "note",
                "timestampConfig": {},
                "properties": {"forwardIndexDisabled": "true", "rawValueForTextIndex": "n", "fstType": "native"},
                "indexes": {"forward": {"disabled": True, "compressionCodec": "LZ4"}, "text": {"rawValue": "n"}},
            }
        ]
    )
    assert config_of_columns(config, ["note"])["fieldConfigList"] == [
        {
            "name": "note",
            "properties": {"fstType": "native"},
            "indexes": {"forward": {"compressionCodec": "LZ4"}, "text": {}},
        }
    ]
