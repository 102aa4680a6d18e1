from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jpype
import pytest
from tests.deep_store_sync.pinot_segments import build_segment, engine, is_stale, rows, schema, table_config

from deep_store_sync.jvm.regenerate import regenerate
from deep_store_sync.rebuilding.method import Method, choose_method
from deep_store_sync.segment.buffer_facts import read_buffer_facts
from deep_store_sync.segment.segment_files import read_layout

PARTITIONED: dict[str, Any] = {
    "segmentPartitionConfig": {"columnPartitionMap": {"code": {"functionName": "Modulo", "numPartitions": 4}}}
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not sorted by city, sorted by ts, and with all rows in one partition."""
    data = rows(300)
    random.Random(5).shuffle(data)
    for number, row in enumerate(data):
        row["code"] = row["code"] * 4 + 1
        row["ts"] = 1_700_000_000_000 + number
    return build_segment(tmp_path_factory.mktemp("built"), "s", data, table_config(**PARTITIONED))


def method_for(segment: Path, config: dict[str, Any], of: dict[str, Any]) -> Method:
    return choose_method(read_layout(segment), config, of, read_buffer_facts(segment))


def partitions(function: str, count: int, column: str = "code") -> dict[str, Any]:
    return {
        "segmentPartitionConfig": {"columnPartitionMap": {column: {"functionName": function, "numPartitions": count}}}
    }


def field(name: str, encoding: str = "DICTIONARY", **settings: Any) -> dict[str, Any]:
    return table_config(fields=[{"name": name, "encodingType": encoding} | settings])


@dataclass(frozen=True)
class Needed:
    """`seen`: whether isStale sees it, too."""

    config: dict[str, Any]
    schema: dict[str, Any]
    method: Method
    reason: str
    seen: bool = True


def columns(*names: str, time_column: str | None = None) -> Method:
    return Method(columns=names, time_column=time_column)


RAW = ["note", "doc"]
NEEDED = {
    "data type": Needed(table_config(), schema(code={"dataType": "LONG"}), columns("code"),
                        "column 'code' is INT in the segment, LONG in the schema"),
    "narrower": Needed(table_config(), schema(price={"dataType": "INT"}), columns("price"),
                       "column 'price' is DOUBLE in the segment, INT in"),
    "multi-value": Needed(table_config(), schema(city={"singleValueField": False}), columns("city"),
                          "'city' is single-value in the segment, multi-value"),
    "single-value": Needed(table_config(), schema(tags={"singleValueField": True}), columns("tags"),
                           "'tags' is multi-value in the segment, single-value"),
    "field type": Needed(table_config(),
                         schema(drop=["code"], add=[("metricFieldSpecs", {"name": "code", "dataType": "INT"})]),
                         columns("code"), "column 'code' is a dimension in the segment, a metric in the schema"),
    "time column": Needed(table_config(top={"segmentsConfig": {"timeColumnName": "code", "replication": "1"}}),
                          schema(), columns("code", time_column="code"),
                          "the time column is 'ts' in the segment, 'code' in the table config"),
    "sort order": Needed(table_config(sortedColumn=["city"]), schema(), Method(sort_by=("city",)),
                         "not sorted by 'city'"),
    "partitioned anew": Needed(table_config(**partitions("Murmur", 4, "city")), schema(), columns("city"),
                               "'city' is not partitioned in the segment, by Murmur, 4"),
    "function": Needed(table_config(**partitions("Murmur", 4)), schema(), columns("code"),
                       "is by Modulo, 4 partitioned in the segment, by Murmur, 4 in"),
    "count": Needed(table_config(**partitions("Modulo", 8)), schema(), columns("code"),
                    "is by Modulo, 4 partitioned in the segment, by Modulo, 8 in"),
    "nulls by column": Needed(table_config(), schema(city={"notNull": True}), columns("city"),
                              "column 'city' has nulls in the segment, and null handling is off", seen=False),
    "nulls of the table": Needed(table_config(), schema() | {"enableColumnBasedNullHandling": False}, columns("city"),
                                 "column 'city' has nulls in the segment, and null handling is off", seen=False),
    "sorted, raw": Needed(table_config(noDictionaryColumns=[*RAW, "ts"]), schema(), columns("ts"),
                          "column 'ts' has a dictionary, and the table config wants it without"),
    "sorted, raw by field": Needed(field("ts", "RAW"), schema(), columns("ts"), "column 'ts' has a dictionary"),
    "sorted, raw by index": Needed(field("ts", indexes={"dictionary": {"disabled": True}}), schema(), columns("ts"),
                                   "column 'ts' has a dictionary"),
    "sorted, with a range index": Needed(table_config(rangeIndexColumns=["ts"]), schema(), columns("ts"),
                                         "column 'ts' is sorted and has no range index"),
    "sorted, with a range index by field": Needed(field("ts", indexTypes=["RANGE"]), schema(), columns("ts"),
                                                  "column 'ts' is sorted and has no range index"),
    "variable length": Needed(table_config(varLengthDictionaryColumns=["city"]), schema(), columns("city"),
                              "dictionary of column 'city' is not of variable length", seen=False),
    "raw version": Needed(field("note", "RAW", properties={"rawIndexWriterVersion": "3"}), schema(), columns("note"),
                          "forward index of column 'note' is not of version 3", seen=False),
    "column removed": Needed(table_config(), schema(drop=["price"]), Method(removed=("price",)), "", seen=False),
}  # fmt: skip

NOT_NEEDED = {
    "nothing": (table_config(), schema()),
    "partition": (table_config(**partitions("modulo", 4)), schema()),
    "index": (table_config(invertedIndexColumns=["city"], noDictionaryColumns=["note", "doc", "price"]), schema()),
    "range index": (table_config(rangeIndexColumns=["code", "price"]), schema()),
    "column added": (table_config(), schema(add=[("dimensionFieldSpecs", {"name": "new", "dataType": "INT"})])),
    "sorted already": (table_config(sortedColumn=["ts"]), schema()),
    "time column no longer set": (table_config(top={"segmentsConfig": {"replication": "1"}}), schema()),
}


@pytest.mark.parametrize("case", NEEDED)
def test_what_preprocessing_cannot_do_is_stale_for_pinot_before_and_after_it(
    built: Path, tmp_path: Path, case: str
) -> None:
    needed = NEEDED[case]
    method = method_for(built, needed.config, needed.schema)
    assert replace(method, reasons=()) == needed.method
    assert needed.reason in " ".join(method.reasons)
    segment = Path(shutil.copytree(built, tmp_path / "s"))
    engine().preprocess(segment, needed.config, needed.schema)
    assert bool(is_stale(segment, needed.config, needed.schema)) == needed.seen
    assert method_for(segment, needed.config, needed.schema) == method


@pytest.mark.parametrize("case", NOT_NEEDED)
def test_what_preprocessing_does_is_not_stale_for_pinot_after_it(built: Path, tmp_path: Path, case: str) -> None:
    config, of = NOT_NEEDED[case]
    assert method_for(built, config, of) == Method()
    segment = Path(shutil.copytree(built, tmp_path / "s"))
    engine().preprocess(segment, config, of)
    assert is_stale(segment, config, of) is None
    assert method_for(segment, config, of) == Method()


def test_rows_of_several_partitions_are_incurable_once_the_segment_says_so(tmp_path: Path) -> None:
    config = table_config(**PARTITIONED)
    segment = build_segment(tmp_path, "s", rows(50), config)
    method = method_for(segment, config, schema())
    assert not method.rewrites
    assert "partitions 0, 1, 2, 3 of 'code', and not of one" in str(method.incurable)
    assert is_stale(segment, config, schema()) == "partitions changed: code"
    # Brokers leave out segments by the function that is named in them.
    assert method_for(segment, table_config(**partitions("Modulo", 3)), schema()).columns == ("code",)


def test_multi_value_column_cannot_be_sorted_by(built: Path) -> None:
    method = method_for(built, table_config(sortedColumn=["tags"]), schema())
    assert not method.rewrites
    assert "nothing can be sorted by it" in str(method.incurable)


@pytest.mark.parametrize(
    "top", [{"upsertConfig": {"mode": "FULL"}}, {"dedupConfig": {"dedupEnabled": True}}], ids=["upsert", "dedup"]
)
def test_order_of_rows_matters_to_upsert_and_dedup(built: Path, top: dict[str, Any]) -> None:
    config = table_config(top=top, sortedColumn=["city"])
    assert "in the order they were ingested" in str(method_for(built, config, schema()).refused)
    assert method_for(built, table_config(top=top), schema(code={"dataType": "LONG"})).refused is None


@pytest.mark.parametrize("top", [{"upsertConfig": {"mode": "NONE"}}, {"dedupConfig": {"dedupEnabled": False}}])
def test_order_of_rows_without_upsert_and_dedup(built: Path, top: dict[str, Any]) -> None:
    assert method_for(built, table_config(top=top, sortedColumn=["city"]), schema()).refused is None


def test_values_of_expiring_keys_are_not_written_anew(built: Path) -> None:
    top = {"upsertConfig": {"mode": "FULL", "metadataTTL": 100.0}}
    method = method_for(built, table_config(top=top), schema(code={"dataType": "LONG"}))
    assert "column 'code' is INT" in str(method.refused)
    assert "expired rows back" in str(method.refused)
    # What servers do not load anyway, or can do with, is no reason to leave the rest of a change undone.
    config = table_config(top=top, varLengthDictionaryColumns=["city"], noDictionaryColumns=[*RAW, "ts"])
    of = schema(drop=["price"], city={"notNull": True})
    assert method_for(built, config, of) == Method(removed=("price",))


def test_map_is_not_converted(built: Path) -> None:
    of = schema(drop=["doc"], add=[("complexFieldSpecs", {"name": "doc", "dataType": "MAP"})])
    assert "Pinot converts no MAP" in str(method_for(built, table_config(), of).refused)


def test_map_without_a_dictionary_is_incurable(tmp_path: Path) -> None:
    """As a segment of Pinot's own making is from its first day on."""
    engine()
    kinds = {kind: {"name": kind, "dataType": "STRING", "fieldType": "DIMENSION"} for kind in ("key", "value")}
    spec = {"name": "m", "dataType": "MAP", "fieldType": "COMPLEX", "childFieldSpecs": kinds}
    of = schema(add=[("complexFieldSpecs", spec)])
    data = [row | {"m": jpype.java.util.HashMap({"a": str(number)})} for number, row in enumerate(rows(20))]
    segment = build_segment(tmp_path, "s", data, table_config(), of)
    assert is_stale(segment, table_config(), of) == "dictionary encoding changed: m"
    assert "column 'm' is a MAP" in str(method_for(segment, table_config(), of).incurable)
    raw = table_config(noDictionaryColumns=[*RAW, "m"])
    assert is_stale(segment, raw, of) is None
    assert method_for(segment, raw, of) == Method()


def test_buffers_are_not_needed_for_what_metadata_tells(built: Path) -> None:
    layout, of = read_layout(built), schema(code={"dataType": "LONG"}, city={"notNull": True})
    assert choose_method(layout, table_config(), of).columns == ("code",)


def test_columns_of_timestamp_indexes_stay_as_long_as_they_are_asked_for(tmp_path: Path) -> None:
    config = field("ts", timestampConfig={"granularities": ["DAY"]}, indexTypes=["TIMESTAMP"])
    segment = build_segment(tmp_path, "s", rows(20), config)
    assert "$ts$DAY" in read_layout(segment).columns
    assert method_for(segment, config, schema()).removed == ()
    assert method_for(segment, table_config(), schema()).removed == ("$ts$DAY",)


def test_partition_of_several_columns_is_not_compared(built: Path) -> None:
    both = {
        "code": {"functionName": "Murmur", "numPartitions": 2},
        "city": {"functionName": "Murmur", "numPartitions": 2},
    }
    config = table_config(segmentPartitionConfig={"columnPartitionMap": both})
    assert method_for(built, config, schema()) == Method()
    assert is_stale(built, config, schema()) is None


def test_made_up_column_is_made_anew_but_keeps_its_kind(built: Path, tmp_path: Path) -> None:
    segment = Path(shutil.copytree(built, tmp_path / "s"))
    engine().preprocess(
        segment, table_config(), schema(add=[("dimensionFieldSpecs", {"name": "new", "dataType": "INT"})])
    )
    wider = schema(add=[("dimensionFieldSpecs", {"name": "new", "dataType": "LONG", "singleValueField": False})])
    assert method_for(segment, table_config(), wider) == Method()
    metric = schema(add=[("metricFieldSpecs", {"name": "new", "dataType": "INT"})])
    method = method_for(segment, table_config(), metric)
    assert method.columns == ("new",)
    assert method.reasons == ("column 'new' is a dimension in the segment, a metric in the schema",)


def test_time_column_that_left_the_schema(built: Path) -> None:
    no_time = table_config(top={"segmentsConfig": {"replication": "1"}})
    method = method_for(built, no_time, schema(drop=["ts"]))
    assert "time column 'ts' is not in the schema" in str(method.refused)
    assert method.removed == ()


VECTORS: tuple[str, dict[str, Any]] = (
    "dimensionFieldSpecs",
    {"name": "place", "dataType": "FLOAT", "singleValueField": False},
)
HNSW = {"vectorIndexType": "HNSW", "vectorDimension": "2", "vectorDistanceFunction": "EUCLIDEAN", "version": "1"}


@pytest.mark.parametrize("encoding", ["RAW", "DICTIONARY"])
def test_vector_index_of_a_raw_column_takes_more_than_preprocessing(tmp_path: Path, encoding: str) -> None:
    """Of a raw column, SegmentPreProcessor makes an index without a vector in it, and no server loads the segment."""
    of, plain = schema(add=[VECTORS]), field("place", encoding)
    config = field("place", encoding, indexTypes=["VECTOR"], properties=HNSW)
    data = [row | {"place": [float(number), 0.5]} for number, row in enumerate(rows(50))]
    segment = build_segment(tmp_path, "s", data, plain, of)
    raw = encoding == "RAW"
    assert method_for(segment, config, of).columns == (("place",) if raw else ())
    if raw:
        (tmp_path / "out").mkdir()
        segment = regenerate(engine(), segment, tmp_path / "out", config, of, columns=("place",))
    engine().preprocess(segment, config, of)
    assert method_for(segment, config, of) == Method()
    assert is_stale(segment, config, of) is None  # which loads it, too


def test_vector_index_of_a_raw_column_is_refused_where_nothing_may_be_written_anew(tmp_path: Path) -> None:
    of = schema(add=[VECTORS])
    segment = build_segment(tmp_path, "s", [row | {"place": [1.0, 2.0]} for row in rows(5)], field("place", "RAW"), of)
    config = field("place", "RAW", indexTypes=["VECTOR"], properties=HNSW)
    config["upsertConfig"] = {"mode": "FULL", "metadataTTL": 100.0}
    assert "Pinot would add an empty one" in str(method_for(segment, config, of).refused)


def test_newest_versions_are_for_values_of_fixed_width(tmp_path: Path) -> None:
    fields = [
        {"name": name, "encodingType": "RAW", "properties": {"rawIndexWriterVersion": "5"}} for name in ("note", "code")
    ]
    segment = build_segment(tmp_path, "s", rows(50), table_config(fields=fields))
    assert method_for(segment, table_config(fields=fields), schema()) == Method()


TEXT_ONLY = [
    {"indexTypes": ["TEXT"], "properties": {"noRawDataForTextIndex": "true"}},
    {"indexTypes": ["TEXT"], "properties": {"noRawDataForTextIndex": "true", "fstType": "native"}},
    {"indexes": {"text": {"rawValue": "n"}}},
]


@pytest.mark.parametrize("kind", TEXT_ONLY, ids=["Lucene", "native", "by index"])
def test_text_that_only_a_text_index_holds_is_not_written_anew(tmp_path: Path, kind: dict[str, Any]) -> None:
    """A text index is built from the forward index, in which each row holds the same dummy."""
    config = field("note", "RAW", **kind)
    segment = build_segment(tmp_path, "s", rows(50), config)
    assert method_for(segment, config, schema()) == Method()
    sort = {**config, "tableIndexConfig": {**config["tableIndexConfig"], "sortedColumn": ["code"]}}
    assert "only the text index of column 'note' holds its text" in str(method_for(segment, sort, schema()).refused)
    several = schema(note={"singleValueField": False})
    assert "only the text index of column 'note'" in str(method_for(segment, config, several).refused)
    # What leaves the text index alone is done: another column, or another index.
    assert method_for(segment, config, schema(code={"dataType": "LONG"})) == replace(
        columns("code"), reasons=("column 'code' is INT in the segment, LONG in the schema",)
    )
    indexed = {**config, "tableIndexConfig": {**config["tableIndexConfig"], "invertedIndexColumns": ["city"]}}
    assert method_for(segment, indexed, schema()) == Method()


def test_text_index_that_would_be_built_anew_by_preprocessing(tmp_path: Path) -> None:
    """Servers would do so, too, and lose the text."""
    config = field("note", "RAW", **TEXT_ONLY[0])
    segment = build_segment(tmp_path, "s", rows(50), config)
    config["fieldConfigList"][0]["properties"]["storeInSegmentFile"] = "true"
    assert "storeInSegmentFile" in str(method_for(segment, config, schema()).refused)


def test_text_index_over_the_text_itself_is_no_reason_to_refuse(built: Path) -> None:
    config = field("note", "RAW", indexTypes=["TEXT"], properties={"noRawDataForTextIndex": "true"})
    config["tableIndexConfig"]["sortedColumn"] = ["city"]
    assert method_for(built, config, schema()).refused is None  # there is no text index yet


INDEX_ONLY = {"indexTypes": ["INVERTED"], "properties": {"forwardIndexDisabled": "true"}}


def test_column_without_a_forward_index_is_not_written_anew(tmp_path: Path) -> None:
    config = field("city", **INDEX_ONLY)
    segment = build_segment(tmp_path, "s", rows(50), config)
    of = schema()
    assert method_for(segment, config, of) == Method()
    sort = {**config, "tableIndexConfig": {**config["tableIndexConfig"], "sortedColumn": ["code"]}}
    for wanted, by in (
        (sort, of),
        (config, schema(city={"singleValueField": False})),
        (config, of | {"enableColumnBasedNullHandling": False}),
    ):
        assert "column 'city' has no forward index" in str(method_for(segment, wanted, by).refused)
    assert method_for(segment, config, schema(code={"dataType": "LONG"})).refused is None
    assert method_for(segment, config, schema(drop=["city"])).refused is None
    assert method_for(segment, table_config(), of) == Method()  # preprocessing makes one of the inverted index
