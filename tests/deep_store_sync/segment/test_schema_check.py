from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.deep_store_sync.pinot_segments import build_segment, engine, is_stale, rows, schema, table_config

from deep_store_sync.segment.schema_check import reasons_to_regenerate, schema_fields
from deep_store_sync.segment.segment_files import read_layout

PARTITIONED = {
    "segmentPartitionConfig": {"columnPartitionMap": {"code": {"functionName": "Modulo", "numPartitions": 4}}}
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not sorted by city, and with all rows in one partition."""
    data = rows(300)
    random.Random(5).shuffle(data)
    for row in data:
        row["code"] = row["code"] * 4 + 1
    return build_segment(tmp_path_factory.mktemp("built"), "s", data, table_config(**PARTITIONED))


def partitions(function: str, count: int, column: str = "code") -> dict[str, Any]:
    return {
        "segmentPartitionConfig": {"columnPartitionMap": {column: {"functionName": function, "numPartitions": count}}}
    }


NEEDED = {
    "data type": (
        table_config(),
        schema(code={"dataType": "LONG"}),
        "column 'code' is INT in the segment, LONG in the schema",
    ),
    "narrower": (table_config(), schema(price={"dataType": "INT"}), "column 'price' is DOUBLE in the segment, INT in"),
    "multi-value": (
        table_config(),
        schema(city={"singleValueField": False}),
        "'city' is single-value in the segment, multi-value",
    ),
    "single-value": (
        table_config(),
        schema(tags={"singleValueField": True}),
        "'tags' is multi-value in the segment, single-value",
    ),
    "field type": (
        table_config(),
        schema(drop=["code"], add=[("metricFieldSpecs", {"name": "code", "dataType": "INT"})]),
        "column 'code' is a dimension in the segment, a metric in the schema",
    ),
    "time column": (
        table_config(top={"segmentsConfig": {"timeColumnName": "code", "replication": "1"}}),
        schema(),
        "the time column is 'ts' in the segment, 'code' in the table config",
    ),
    "sort order": (table_config(sortedColumn=["city"]), schema(), "not sorted by 'city'"),
    "partitioned anew": (
        table_config(**partitions("Murmur", 4, "city")),
        schema(),
        "'city' is partitioned by not at all in the segment, by Murmur, 4",
    ),
    "function": (table_config(**partitions("Murmur", 4)), schema(), "by Modulo, 4 in the segment, by Murmur, 4 in"),
    "count": (table_config(**partitions("Modulo", 8)), schema(), "by Modulo, 4 in the segment, by Modulo, 8 in"),
}

NOT_NEEDED = {
    "nothing": (table_config(), schema()),
    "partition": (table_config(**partitions("modulo", 4)), schema()),
    "index": (table_config(invertedIndexColumns=["city"], noDictionaryColumns=["note", "doc", "price"]), schema()),
    "column added": (table_config(), schema(add=[("dimensionFieldSpecs", {"name": "new", "dataType": "INT"})])),
    "column removed": (table_config(), schema(drop=["code"])),
    "time column no longer set": (table_config(top={"segmentsConfig": {"replication": "1"}}), schema()),
}


@pytest.mark.parametrize("case", NEEDED)
def test_what_preprocessing_cannot_do_is_stale_for_pinot_before_and_after_it(
    built: Path, tmp_path: Path, case: str
) -> None:
    config, of, expected = NEEDED[case]
    reasons = reasons_to_regenerate(read_layout(built), config, of)
    assert len(reasons) == 1
    assert expected in reasons[0]
    segment = Path(shutil.copytree(built, tmp_path / "s"))
    engine().preprocess(segment, config, of)
    assert is_stale(segment, config, of)
    assert reasons_to_regenerate(read_layout(segment), config, of) == reasons


@pytest.mark.parametrize("case", NOT_NEEDED)
def test_what_preprocessing_does_is_not_stale_for_pinot_after_it(built: Path, tmp_path: Path, case: str) -> None:
    config, of = NOT_NEEDED[case]
    assert reasons_to_regenerate(read_layout(built), config, of) == ()
    segment = Path(shutil.copytree(built, tmp_path / "s"))
    engine().preprocess(segment, config, of)
    assert is_stale(segment, config, of) is None


def test_rows_of_several_partitions(tmp_path: Path) -> None:
    config = table_config(**PARTITIONED)
    segment = build_segment(tmp_path, "s", rows(50), config)
    (reason,) = reasons_to_regenerate(read_layout(segment), config, schema())
    assert "partitions 0, 1, 2, 3 of 'code', not of one" in reason
    assert is_stale(segment, config, schema()) == "partitions changed: code"


def test_partition_of_several_columns_is_not_compared(built: Path) -> None:
    both = {
        "code": {"functionName": "Murmur", "numPartitions": 2},
        "city": {"functionName": "Murmur", "numPartitions": 2},
    }
    config = table_config(segmentPartitionConfig={"columnPartitionMap": both})
    assert reasons_to_regenerate(read_layout(built), config, schema()) == ()
    assert is_stale(built, config, schema()) is None


def test_made_up_column_is_made_anew_but_keeps_its_kind(built: Path, tmp_path: Path) -> None:
    segment = Path(shutil.copytree(built, tmp_path / "s"))
    engine().preprocess(
        segment, table_config(), schema(add=[("dimensionFieldSpecs", {"name": "new", "dataType": "INT"})])
    )
    layout = read_layout(segment)
    wider = schema(add=[("dimensionFieldSpecs", {"name": "new", "dataType": "LONG", "singleValueField": False})])
    assert reasons_to_regenerate(layout, table_config(), wider) == ()
    metric = schema(add=[("metricFieldSpecs", {"name": "new", "dataType": "INT"})])
    (reason,) = reasons_to_regenerate(layout, table_config(), metric)
    assert "column 'new' is a dimension in the segment, a metric in the schema" in reason


def test_time_column_that_left_the_schema(built: Path) -> None:
    no_time = table_config(top={"segmentsConfig": {"replication": "1"}})
    (reason,) = reasons_to_regenerate(read_layout(built), no_time, schema(drop=["ts"]))
    assert "time column 'ts' is not in the schema" in reason


def test_time_spec_of_old_schemas() -> None:
    spec = {"incomingGranularitySpec": {"name": "day", "dataType": "INT", "timeType": "DAYS"}}
    field = schema_fields({"timeFieldSpec": spec})["day"]
    assert (field.field_type, field.data_type, field.single_value) == ("TIME", "INT", True)
