"""What comes out of a regenerated segment is held against what an ingestion job writes from the same rows."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jpype
import pytest
from tests.deep_store_sync import pinot_segments
from tests.deep_store_sync.pinot_segments import START_MS, build_segment, engine, is_stale, table_config

from deep_store_sync.errors import RebuildError
from deep_store_sync.jvm.regenerate import regenerate
from deep_store_sync.rebuilding.method import choose_method
from deep_store_sync.segment.buffer_facts import read_buffer_facts
from deep_store_sync.segment.data_crc import compute_data_crc
from deep_store_sync.segment.segment_files import (
    COLUMNS_FILE,
    SegmentLayout,
    files_dir,
    read_creation_meta,
    read_index_map,
    read_layout,
)

Row = dict[str, Any]

_MORE: list[tuple[str, dict[str, Any]]] = [
    ("dimensionFieldSpecs", {"name": "flag", "dataType": "BOOLEAN"}),
    ("dimensionFieldSpecs", {"name": "digits", "dataType": "STRING"}),
    ("dimensionFieldSpecs", {"name": "long", "dataType": "LONG"}),
    ("dimensionFieldSpecs", {"name": "longs", "dataType": "LONG", "singleValueField": False}),
    ("dimensionFieldSpecs", {"name": "hash", "dataType": "BYTES"}),
    ("dimensionFieldSpecs", {"name": "one", "dataType": "INT", "singleValueField": False}),
    ("dimensionFieldSpecs", {"name": "many.words", "dataType": "STRING"}),
    ("dimensionFieldSpecs", {"name": "many", "dataType": "STRING"}),
    ("metricFieldSpecs", {"name": "exact", "dataType": "BIG_DECIMAL"}),
    ("dateTimeFieldSpecs", {"name": "seen", "dataType": "TIMESTAMP", "format": "TIMESTAMP", "granularity": "1:DAYS"}),
    ("dateTimeFieldSpecs", {"name": "day", "dataType": "INT", "format": "EPOCH|DAYS", "granularity": "1:DAYS"}),
]  # fmt: skip


def schema(**changed: Any) -> dict[str, Any]:
    """The schema, with columns changed by name, or dropped where the change is None."""
    found = pinot_segments.schema(add=deepcopy(_MORE))
    for section in [key for key in found if key.endswith("FieldSpecs")]:
        for spec in list(found[section]):
            if (change := changed.get(spec["name"], {})) is None:
                found[section].remove(spec)
                continue
            change = dict(change)
            if kind := change.pop("kind", None):
                found[section].remove(spec)
                found[kind].append(spec)
            spec |= change
    return found


def rows() -> list[Row]:
    dice = random.Random(7)
    found = pinot_segments.rows(300)
    for number, row in enumerate(found):
        row |= {
            "flag": dice.choice([0, 1, None]),
            "digits": str(dice.randrange(100)),
            "long": dice.randrange(10**6),
            "longs": [dice.randrange(50) for _ in range(dice.randrange(1, 4))],
            "hash": dice.randbytes(dice.randrange(4)).hex(),
            "one": [dice.randrange(9)],
            "many.words": f"word {dice.randrange(30)}",
            "many": f"many {dice.randrange(30)}",
            "exact": jpype.JClass("java.math.BigDecimal")(f"{dice.randrange(10**9)}.{dice.randrange(100):02}"),
            "seen": START_MS - dice.randrange(10**9),
            "day": 19_000 + number % 11,
        }
    dice.shuffle(found)
    return found


RAW = ["note", "doc", "long", "longs"]


@pytest.fixture(scope="module")
def data() -> list[Row]:
    engine()
    return rows()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, data: list[Row]) -> Path:
    """The segment that the changes are made to."""
    return build_segment(tmp_path_factory.mktemp("built"), "s", data, before(), schema())


def before(**indexing: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"noDictionaryColumns": RAW, "nullHandlingEnabled": True}
    return table_config(**(settings | indexing))


@dataclass(frozen=True)
class Change:
    """`rows` puts the rows as an ingestion job would get them for the new config, where that is not as they are."""

    config: dict[str, Any] = field(default_factory=before)
    schema: dict[str, Any] = field(default_factory=schema)
    rows: Callable[[list[Row]], list[Row]] = lambda rows: rows


def partitioned(column: str, function: str, count: int) -> dict[str, Any]:
    by = {column: {"functionName": function, "numPartitions": count}}
    return {"segmentPartitionConfig": {"columnPartitionMap": by}}


def of_time(column: str) -> dict[str, Any]:
    return before() | {"segmentsConfig": {"timeColumnName": column, "replication": "1"}}


TREE = {"dimensionsSplitOrder": ["digits"], "functionColumnPairs": ["SUM__price"], "maxLeafRecords": 10}

CHANGES = {
    "INT to LONG": Change(schema=schema(code={"dataType": "LONG"})),
    "INT to STRING": Change(schema=schema(code={"dataType": "STRING"})),
    "STRING to INT": Change(schema=schema(digits={"dataType": "INT"})),
    "DOUBLE to FLOAT": Change(schema=schema(price={"dataType": "FLOAT"})),
    "raw LONG to INT": Change(schema=schema(long={"dataType": "INT"})),
    "raw LONG to DOUBLE with a dictionary": Change(
        before(noDictionaryColumns=["note", "doc", "longs"]), schema(long={"dataType": "DOUBLE"})
    ),
    "LONGs to STRINGs": Change(schema=schema(longs={"dataType": "STRING"})),
    "STRING with nulls to STRINGs": Change(schema=schema(city={"singleValueField": False})),
    "raw LONG to LONGs": Change(schema=schema(long={"singleValueField": False})),
    "INTs to INT": Change(schema=schema(one={"singleValueField": True})),
    "BOOLEAN to INT": Change(schema=schema(flag={"dataType": "INT"})),
    "BIG_DECIMAL to DOUBLE": Change(schema=schema(exact={"dataType": "DOUBLE"})),
    "DOUBLE to BIG_DECIMAL": Change(schema=schema(price={"dataType": "BIG_DECIMAL"})),
    "TIMESTAMP to LONG": Change(schema=schema(seen={"dataType": "LONG", "format": "EPOCH|MILLISECONDS"})),
    "time column LONG to TIMESTAMP": Change(schema=schema(ts={"dataType": "TIMESTAMP", "format": "TIMESTAMP"})),
    "BYTES to STRING": Change(schema=schema(hash={"dataType": "STRING"})),
    # As a JSON column the segment holds it without spaces.
    "JSON to STRING": Change(schema=schema(doc={"dataType": "STRING"}),
                             rows=lambda rows: [row | {"doc": row["doc"].replace(" ", "")} for row in rows]),
    "raw STRING with a variable-length dictionary": Change(
        before(noDictionaryColumns=["doc", "long", "longs"], varLengthDictionaryColumns=["many", "note"]),
        schema(many={"singleValueField": False}),
    ),
    "name with a dot": Change(schema=schema(**{"many.words": {"singleValueField": False}})),
    "name before a dot": Change(schema=schema(many={"singleValueField": False})),
    "dimension to metric": Change(schema=schema(code={"kind": "metricFieldSpecs"})),
    "metric to dimension": Change(schema=schema(price={"kind": "dimensionFieldSpecs"})),
    "dimension to date time": Change(
        schema=schema(long={"kind": "dateTimeFieldSpecs", "format": "EPOCH|SECONDS", "granularity": "1:SECONDS"})
    ),
    "null handling off": Change(before(nullHandlingEnabled=False), schema() | {"enableColumnBasedNullHandling": False}),
    "not null": Change(schema=schema(city={"notNull": True})),
    "partition function": Change(before(**partitioned("code", "Modulo", 1))),
    "time column": Change(of_time("day")),
    "time column and its type": Change(
        of_time("seen"), schema(seen={"dataType": "LONG", "format": "EPOCH|MILLISECONDS"})
    ),
    "raw sorted column": Change(
        before(noDictionaryColumns=[*RAW, "ts"], sortedColumn=["ts"]),
        rows=lambda rows: sorted(rows, key=lambda row: row["ts"]),
    ),
    "sort column": Change(before(sortedColumn=["ts"]), rows=lambda rows: sorted(rows, key=lambda row: row["ts"])),
    "sort column, raw": Change(before(sortedColumn=["note"], noDictionaryColumns=["note", "doc", "long", "longs"]),
                               rows=lambda rows: sorted(rows, key=lambda row: row["note"])),
    "sort column and its type": Change(before(sortedColumn=["ts"]), schema(ts={"dataType": "STRING"}),
                                       rows=lambda rows: sorted(rows, key=lambda row: str(row["ts"]))),
    "column removed": Change(schema=schema(digits=None)),
    "all at once": Change(
        before(
            sortedColumn=["ts"], invertedIndexColumns=["digits"], bloomFilterColumns=["city"],
            starTreeIndexConfigs=[TREE], enableDynamicStarTreeCreation=True, **partitioned("long", "Modulo", 1),
        ),
        schema(digits={"dataType": "INT"}, city={"singleValueField": False}, one=None),
        rows=lambda rows: sorted(rows, key=lambda row: row["ts"]),
    ),
}  # fmt: skip


def bring(segment_dir: Path, out: Path, config: Mapping[str, Any], of: Mapping[str, Any]) -> Path:
    """Regenerate a segment as its method says, and preprocess it."""
    method = choose_method(read_layout(segment_dir), config, of, read_buffer_facts(segment_dir))
    assert method.rewrites, "preprocessing would do"
    assert (method.refused, method.incurable) == (None, None)
    out.mkdir()
    new = regenerate(
        engine(),
        segment_dir,
        out,
        config,
        of,
        columns=method.columns,
        removed=method.removed,
        sort_by=method.sort_by,
        time_column=method.time_column,
    )
    engine().preprocess(new, config, of)
    return new


@pytest.mark.parametrize("name", CHANGES)
def test_it_is_what_an_ingestion_job_writes(built: Path, data: list[Row], tmp_path: Path, name: str) -> None:
    change = CHANGES[name]
    untouched = digests(built)
    new = bring(built, tmp_path / "new", change.config, change.schema)
    assert digests(built) == untouched
    assert is_stale(new, change.config, change.schema) is None
    method = choose_method(read_layout(new), change.config, change.schema, read_buffer_facts(new))
    assert not method.rewrites
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["s"]

    # Inverted indexes are left to the servers by default.
    config = deepcopy(change.config)
    config["tableIndexConfig"]["createInvertedIndexDuringSegmentGeneration"] = True
    ingested = build_segment(tmp_path / "ingested", "s", change.rows(data), config, change.schema)
    assert values_of(new) == values_of(ingested)
    old, layout, expected = read_layout(built), read_layout(new), read_layout(ingested)
    assert facts(layout) == facts(expected)
    for column in expected.columns:
        assert layout.columns[column].properties == expected.columns[column].properties
    assert read_creation_meta(ingested).data_crc in (compute_data_crc(new), None)  # None before Pinot 1.5
    assert {key: value for key, value in old.properties.items() if key.startswith("custom.")} == {
        key: value for key, value in layout.properties.items() if key.startswith("custom.")
    }
    assert read_creation_meta(new).creation_ms == read_creation_meta(built).creation_ms


def values_of(segment_dir: Path) -> dict[tuple[str, str], str]:
    """What holds the values: dictionaries, forward indexes and null vectors, as digests."""
    found = {}
    data = (files_dir(segment_dir) / COLUMNS_FILE).read_bytes()
    for (column, index), at in read_index_map(segment_dir).items():
        if index in ("dictionary", "forward_index", "nullvalue_vector"):
            found[column, index] = hashlib.sha256(data[at.offset : at.offset + at.size]).hexdigest()
    return found


def facts(layout: SegmentLayout) -> dict[str, Any]:
    lists = {
        key: sorted(filter(None, value.split(",")))
        for key, value in layout.properties.items()
        if key.endswith(".column.names")
    }
    time = (layout.time_column, layout.start_time, layout.end_time, layout.time_unit)
    return lists | {"time": time, "rows": layout.rows}


def digests(segment_dir: Path) -> dict[str, str]:
    return {
        path.relative_to(segment_dir).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in segment_dir.rglob("*")
        if path.is_file()
    }


def test_sorted_column_loses_its_dictionary(data: list[Row], tmp_path: Path) -> None:
    """Preprocessing leaves a sorted column its dictionary, and servers call it stale for ever."""
    by_time = sorted(data, key=lambda row: row["ts"])
    segment = build_segment(tmp_path, "s", by_time, before(), schema())
    raw = before(noDictionaryColumns=[*RAW, "ts"])
    kept = Path(shutil.copytree(segment, tmp_path / "kept" / "s"))
    engine().preprocess(kept, raw, schema())
    assert is_stale(kept, raw, schema()) == "dictionary encoding changed: ts"
    new = bring(segment, tmp_path / "new", raw, schema())
    assert is_stale(new, raw, schema()) is None
    ingested = build_segment(tmp_path / "ingested", "s", by_time, raw, schema())
    assert values_of(new) == values_of(ingested)
    assert read_layout(new).columns["ts"].sorted


def test_made_up_column_loses_its_dictionary_and_stays_made_up(built: Path, tmp_path: Path) -> None:
    """A default value always gets a dictionary from preprocessing, and servers call it stale for ever."""
    segment = Path(shutil.copytree(built, tmp_path / "s"))
    new_column = {"name": "new", "dataType": "LONG", "defaultNullValue": 5}
    of = schema()
    of["dimensionFieldSpecs"].append(new_column)
    raw = before(noDictionaryColumns=[*RAW, "new"])
    engine().preprocess(segment, raw, of)
    assert is_stale(segment, raw, of) == "dictionary encoding changed: new"
    new = bring(segment, tmp_path / "new", raw, of)
    assert is_stale(new, raw, of) is None
    assert read_layout(new).columns["new"].auto_generated
    new_column["defaultNullValue"] = 6
    assert engine().preprocess(new, raw, of)
    assert read_layout(new).columns["new"].default_null_value == "6"


def test_made_up_column_becomes_another_kind_of_field(built: Path, tmp_path: Path) -> None:
    segment = Path(shutil.copytree(built, tmp_path / "s"))
    of = schema()
    of["dimensionFieldSpecs"].append({"name": "new", "dataType": "INT"})
    engine().preprocess(segment, before(), of)
    of["dimensionFieldSpecs"].pop()
    of["metricFieldSpecs"].append({"name": "new", "dataType": "INT"})
    new = bring(segment, tmp_path / "new", before(), of)
    assert is_stale(new, before(), of) is None
    assert read_layout(new).columns["new"].default_null_value == "0"


def test_what_is_made_from_a_column_is_made_anew_with_it(built: Path, tmp_path: Path) -> None:
    """Derived columns, star-trees and indexes over several columns, and all indexes of the column."""
    multi = {"columns": ["city", "note"]}
    derive = [{"columnName": "backwards", "transformFunction": "reverse(code)"},
              {"columnName": "shout", "transformFunction": "upper(city)"}]  # fmt: skip
    fields = [
        {"name": "code", "encodingType": "DICTIONARY", "indexes": {"bloom": {}, "range": {}}},
        {"name": "ts", "encodingType": "DICTIONARY", "timestampConfig": {"granularities": ["DAY"]}},
        {"name": "many", "encodingType": "DICTIONARY", "indexes": {"text": {}}},
    ]
    tree = {"dimensionsSplitOrder": ["code"], "functionColumnPairs": ["COUNT__*"], "maxLeafRecords": 10}
    config = table_config(
        fields=fields,
        top={"ingestionConfig": {"transformConfigs": derive}},
        noDictionaryColumns=RAW, nullHandlingEnabled=True, starTreeIndexConfigs=[tree],
        enableDynamicStarTreeCreation=True, multiColumnTextIndexConfig=multi,
    )  # fmt: skip
    of = schema()
    of["dimensionFieldSpecs"] += [{"name": "backwards", "dataType": "STRING"}, {"name": "shout", "dataType": "STRING"}]
    old = Path(shutil.copytree(built, tmp_path / "s"))
    engine().preprocess(old, config, of)

    changed = deepcopy(of)
    for spec in changed["dimensionFieldSpecs"]:
        if spec["name"] == "code":
            spec["dataType"] = "DOUBLE"
    new = bring(old, tmp_path / "new", config, changed)
    assert is_stale(new, config, changed) is None
    assert engine().preprocess(new, config, changed) is False
    was, now = values_of(old), values_of(new)
    rewritten = {column for column, _ in was if {k: v for k, v in was.items() if k[0] == column} != {
        k: v for k, v in now.items() if k[0] == column}}  # fmt: skip
    assert rewritten == {"code", "backwards"}
    assert read_layout(new).columns["backwards"].auto_generated
    assert read_layout(new).columns["backwards"].properties["maxValue"].startswith("0.")
    loaded = ".mapping"  # what Pinot adds when it loads a segment
    beside = {path.name for path in files_dir(old).iterdir() if path.suffix != loaded}
    assert {"star_tree_index", "many.lucene.v912.index", "multi_col_text_idx.lucene.v912.index"} <= beside
    assert {path.name for path in files_dir(new).iterdir() if path.suffix != loaded} == beside
    same = {"many.lucene.v912.index", "multi_col_text_idx.lucene.v912.index"}
    assert {name: digests(files_dir(new) / name) for name in same} == {
        name: digests(files_dir(old) / name) for name in same
    }


def test_derived_column_is_kept_where_it_cannot_be_derived_anew(built: Path, tmp_path: Path) -> None:
    """One of its arguments is gone: it keeps its values, even if it becomes another kind of field."""
    config = before() | {
        "ingestionConfig": {"transformConfigs": [{"columnName": "sum", "transformFunction": "plus(code, long)"}]}
    }
    total = {"name": "sum", "dataType": "DOUBLE"}
    segment = Path(shutil.copytree(built, tmp_path / "s"))
    of = schema()
    of["dimensionFieldSpecs"].append(total)
    engine().preprocess(segment, config, of)
    assert read_layout(segment).columns["sum"].cardinality > 1

    of = schema(code={"dataType": "STRING"}, long=None)
    of["metricFieldSpecs"].append(total)
    new = bring(segment, tmp_path / "new", config, of)
    assert is_stale(new, config, of) is None
    was, now = values_of(segment), values_of(new)
    assert {key: now[key] for key in now if key[0] == "sum"} == {key: was[key] for key in was if key[0] == "sum"}
    assert read_layout(new).columns["sum"].auto_generated
    assert read_layout(new).columns["sum"].field_type == "METRIC"


def test_columns_that_are_derived_from_one_another_are_refused(built: Path, tmp_path: Path) -> None:
    transforms = [{"columnName": "a", "transformFunction": "plus(b, code)"},
                  {"columnName": "b", "transformFunction": "plus(a, code)"}]  # fmt: skip
    config = before() | {"ingestionConfig": {"transformConfigs": transforms}}
    added = [{"name": name, "dataType": "DOUBLE"} for name in ("a", "b")]
    segment = Path(shutil.copytree(built, tmp_path / "s"))
    of = schema()
    of["dimensionFieldSpecs"] += added
    engine().preprocess(segment, config, of)
    of = schema(code={"dataType": "LONG"})
    of["dimensionFieldSpecs"] += added
    with pytest.raises(RebuildError, match="derived from one another: "):
        bring(segment, tmp_path / "new", config, of)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (schema(city={"dataType": "INT"}), "city"),
        (schema(tags={"singleValueField": True}), "tags"),
        (schema(digits={"maxLength": 1}, city={"dataType": "INT"}), "city"),
    ],
)
def test_what_cannot_be_converted_is_refused(built: Path, tmp_path: Path, of: dict[str, Any], message: str) -> None:
    untouched = digests(built)
    with pytest.raises(RebuildError, match=message):
        bring(built, tmp_path / "new", before(), of)
    assert digests(built) == untouched
    assert list((tmp_path / "new").iterdir()) == []


def test_values_that_would_be_cut_off_are_refused(built: Path, tmp_path: Path) -> None:
    of = schema(long={"dataType": "STRING", "maxLength": 3})
    with pytest.raises(RebuildError, match="of 300 rows with a value that is longer than the schema's maxLength"):
        bring(built, tmp_path / "new", before(), of)


def test_time_column_without_valid_times_is_refused(built: Path, tmp_path: Path) -> None:
    of = schema(long={"kind": "dateTimeFieldSpecs", "format": "EPOCH|DAYS", "granularity": "1:DAYS"})
    with pytest.raises(RebuildError, match="Invalid segment start/end time"):
        bring(built, tmp_path / "new", of_time("long"), of)


@pytest.mark.skipif("PINOT_LIBRARY" in os.environ, reason="this is the process for one")
@pytest.mark.parametrize("version", ["1.3.0", "1.4.0"])
def test_with_older_libraries(version: str) -> None:
    """In a process of its own: one has one JVM."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__, "-k", "ingestion_job"]
    done = subprocess.run(command, env=os.environ | {"PINOT_LIBRARY": version}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
