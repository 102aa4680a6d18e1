from __future__ import annotations

import shutil
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.deep_store_sync.pinot_segments import SCHEMA, build_segment, engine, is_stale, rows, schema, table_config

from deep_store_sync.errors import SegmentError, VerificationError
from deep_store_sync.segment.segment_files import (
    CreationMeta,
    files_dir,
    read_creation_meta,
    read_index_map,
    write_creation_meta,
)
from deep_store_sync.segment.values import compare_values
from deep_store_sync.segment.verify import Changes, Rewrite, compare, take_fingerprint

COUNT = 400
ZSTD = table_config(fields=[{"name": "note", "encodingType": "RAW", "compressionCodec": "ZSTANDARD"}])
TREE = {"dimensionsSplitOrder": ["city"], "functionColumnPairs": ["SUM__price"], "maxLeafRecords": 10}
MULTI_TEXT = {"columns": ["note", "city"]}


@pytest.fixture(scope="module")
def data() -> list[dict[str, Any]]:
    return rows(COUNT)


@pytest.fixture(scope="module")
def built(data: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_segment(tmp_path_factory.mktemp("built"), "s", data, table_config())


@pytest.fixture
def segment(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "s"))


def verify(before: Path, after: Path) -> Changes:
    def values(columns: tuple[str, ...]) -> Mapping[str, Rewrite]:
        return compare_values(engine(), before, after, columns)

    return compare(take_fingerprint(before), take_fingerprint(after), values)


def text(column: str, **more: Any) -> dict[str, Any]:
    return {"name": column, "encodingType": "RAW", "indexTypes": ["TEXT"]} | more


# case: config before, schema before, config after, schema after, changes, invisible of them
CHANGES: dict[str, tuple[Any, Any, Any, Any, list[str], list[int]]] = {
    "indexes": (
        {},
        {},
        {"invertedIndexColumns": ["city", "tags"], "rangeIndexColumns": ["price"], "bloomFilterColumns": ["city"]},
        {},
        [
            "city: bloom_filter added",
            "city: inverted_index added",
            "price: range_index added",
            "tags: inverted_index added",
        ],
        [],
    ),
    "index removed": ({"bloomFilterColumns": ["city"]}, {}, {}, {}, ["city: bloom_filter removed"], []),
    "json": ({}, {}, {"jsonIndexColumns": ["doc"]}, {}, ["doc: json_index added"], []),
    "fst": ({}, {}, {"fields": [{"name": "city", "indexes": {"fst": {}}}]}, {}, ["city: fst_index added"], []),
    "text": ({}, {}, {"fields": [text("note")]}, {}, ["note: text_index added"], []),
    "text removed": ({"fields": [text("note")]}, {}, {}, {}, ["note: text_index removed"], []),
    "text over several columns": (
        {},
        {},
        {"multiColumnTextIndexConfig": MULTI_TEXT},
        {},
        ["multi-column text index added"],
        [],
    ),
    "star-tree": (
        {},
        {},
        {"starTreeIndexConfigs": [TREE], "enableDynamicStarTreeCreation": True},
        {},
        ["star-tree added"],
        [],
    ),
    "star-tree changed": (
        {"starTreeIndexConfigs": [TREE], "enableDynamicStarTreeCreation": True},
        {},
        {"starTreeIndexConfigs": [TREE | {"maxLeafRecords": 5}], "enableDynamicStarTreeCreation": True},
        {},
        ["star-tree rebuilt"],
        [],
    ),
    "codec": (
        {},
        {},
        {"fields": [{"name": "note", "encodingType": "RAW", "compressionCodec": "ZSTANDARD"}]},
        {},
        ["note: forward_index rewritten (LZ4 → ZSTANDARD)"],
        [0],
    ),
    "codec of multi-values": (
        {},
        {},
        {"fields": [{"name": "tags", "encodingType": "DICTIONARY", "compressionCodec": "MV_ENTRY_DICT"}]},
        {},
        ["tags: forward_index rewritten (dictionary → dictionary, MV_ENTRY_DICT)"],
        [0],
    ),
    "dictionary off": (
        {},
        {},
        {"noDictionaryColumns": ["note", "doc", "city", "code", "tags", "price"]},
        {},
        [
            "city: dictionary removed",
            "code: dictionary removed",
            "price: dictionary removed",
            "tags: dictionary removed",
        ],
        [],
    ),
    "dictionary on": ({}, {}, {"noDictionaryColumns": ["doc"]}, {}, ["note: dictionary added"], []),
    "forward index off": (
        {},
        {},
        {"fields": [{"name": "code", "indexTypes": ["INVERTED"], "properties": {"forwardIndexDisabled": "true"}}]},
        {},
        ["code: forward_index removed", "code: inverted_index added"],
        [0],
    ),
    "forward index on": (
        {"fields": [{"name": "code", "indexTypes": ["INVERTED"], "properties": {"forwardIndexDisabled": "true"}}]},
        {},
        {"fields": [{"name": "code", "indexTypes": ["INVERTED"]}]},
        {},
        ["code: forward_index added"],
        [0],
    ),
    "min and max": (
        {"columnMinMaxValueGeneratorMode": "NONE"},
        {},
        {"columnMinMaxValueGeneratorMode": "ALL"},
        {},
        [],
        [],
    ),
    "column added": (
        {},
        {},
        {},
        {"add": [("dimensionFieldSpecs", {"name": "new", "dataType": "STRING"})]},
        ["new: column added (STRING)"],
        [],
    ),
    "made-up column removed": (
        {},
        {"add": [("dimensionFieldSpecs", {"name": "new", "dataType": "STRING"})]},
        {},
        {},
        ["new: column removed"],
        [0],
    ),
    "default value": (
        {},
        {"add": [("dimensionFieldSpecs", {"name": "new", "dataType": "STRING"})]},
        {},
        {"add": [("dimensionFieldSpecs", {"name": "new", "dataType": "STRING", "defaultNullValue": "x"})]},
        ["new: default value 'null' → 'x'"],
        [0],
    ),
    "type of a made-up column": (
        {},
        {"add": [("metricFieldSpecs", {"name": "new", "dataType": "INT"})]},
        {},
        {"add": [("metricFieldSpecs", {"name": "new", "dataType": "DOUBLE"})]},
        ["new: data type INT → DOUBLE", "new: default value '0' → '0.0'"],
        [1],
    ),
    "multi-value of a made-up column": (
        {},
        {"add": [("dimensionFieldSpecs", {"name": "new", "dataType": "INT"})]},
        {},
        {"add": [("dimensionFieldSpecs", {"name": "new", "dataType": "INT", "singleValueField": False})]},
        ["new: single-value → multi-value"],
        [],
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_changes_are_named_and_is_stale_sees_those_that_are_said_to_be_visible(
    built: Path, tmp_path: Path, case: str
) -> None:
    config_before, schema_before, config_after, schema_after, expected, invisible = CHANGES[case]
    before, after = tmp_path / "before" / "s", tmp_path / "after" / "s"
    shutil.copytree(built, before)
    engine().preprocess(before, table_config(**config_before), schema(**schema_before))
    shutil.copytree(before, after)
    config, of = table_config(**config_after), schema(**schema_after)
    assert engine().preprocess(after, config, of) is bool(expected)
    assert verify(before, after) == Changes(tuple(expected), tuple(expected[i] for i in invisible))
    visible = len(expected) > len(invisible)
    assert (is_stale(before, config, of) is not None) is visible
    assert is_stale(after, config, of) is None


def test_generated_min_and_max_are_a_change(segment: Path, tmp_path: Path) -> None:
    before = Path(shutil.copytree(segment, tmp_path / "before"))
    metadata = before / "v3" / "metadata.properties"
    lines = metadata.read_text().splitlines(keepends=True)
    metadata.write_text(
        "".join(line for line in lines if not line.startswith(("column.code.minV", "column.code.maxV")))
    )
    after = Path(shutil.copytree(before, tmp_path / "after"))
    assert engine().preprocess(after, table_config(columnMinMaxValueGeneratorMode="ALL"), SCHEMA) is True
    assert verify(before, after) == Changes(("code: min/max values added",), ("code: min/max values added",))


@pytest.mark.parametrize("index", ["forward_index", "dictionary", "nullvalue_vector"])
def test_flipped_byte_in_an_untouched_column_is_found(segment: Path, built: Path, index: str) -> None:
    engine().preprocess(segment, table_config(bloomFilterColumns=["code"]), SCHEMA)
    flip(segment, "city", index)
    with pytest.raises(VerificationError, match=f"column 'city', {index}"):
        verify(built, segment)


def test_flipped_byte_of_a_file_beside_is_found(built: Path, tmp_path: Path) -> None:
    for name in ("before", "after"):
        folder = Path(shutil.copytree(built, tmp_path / name))
        (folder / "v3" / "validdocids.bitmap.snapshot").write_bytes(name.encode())
    with pytest.raises(VerificationError, match=r"file validdocids\.bitmap\.snapshot was changed"):
        verify(tmp_path / "before", tmp_path / "after")


def flip(segment: Path, column: str, index: str) -> None:
    at = read_index_map(segment)[column, index]
    with (segment / "v3" / "columns.psf").open("r+b") as file:
        file.seek(at.offset + at.size - 1)
        byte = file.read(1)[0]
        file.seek(at.offset + at.size - 1)
        file.write(bytes([byte ^ 1]))


def test_missing_row_is_found(built: Path, data: list[dict[str, Any]], tmp_path: Path) -> None:
    after = rebuilt_from(data[:-1], built, tmp_path, table_config())
    with pytest.raises(VerificationError, match=f"had {COUNT} rows and has {COUNT - 1}"):
        verify(built, after)


def test_missing_row_in_a_rewritten_column_is_found(built: Path, data: list[dict[str, Any]], tmp_path: Path) -> None:
    changed = deepcopy(data)
    del changed[17:18]
    assert values_differ(built, [*changed, data[17]], tmp_path, "note") == "the value in row 17 was changed"


def values_differ(built: Path, changed: list[dict[str, Any]], tmp_path: Path, column: str) -> str | None:
    after = rebuilt_from(
        changed, built, tmp_path, table_config(noDictionaryColumns=["note", "doc", "city", "code", "tags", "price"])
    )
    return compare_values(engine(), built, after, (column,))[column].difference


def rebuilt_from(data: list[dict[str, Any]], built: Path, tmp_path: Path, config: dict[str, Any]) -> Path:
    after = build_segment(tmp_path / "out", "s", data, config)
    write_creation_meta(after, replace(read_creation_meta(after), creation_ms=read_creation_meta(built).creation_ms))
    return after


@pytest.mark.parametrize("column", ["city", "code", "tags", "note", "doc", "price", "ts"])
def test_same_values_in_another_encoding_are_the_same(
    built: Path, data: list[dict[str, Any]], tmp_path: Path, column: str
) -> None:
    assert values_differ(built, data, tmp_path, column) is None


@pytest.mark.parametrize("column", ["city", "code", "tags", "note", "doc", "price"])
def test_swapped_rows_of_a_rewritten_column_are_found(
    built: Path, data: list[dict[str, Any]], tmp_path: Path, column: str
) -> None:
    changed = deepcopy(data)
    first = next(i for i in range(100, COUNT) if data[i][column] != data[i + 1][column])
    changed[first][column], changed[first + 1][column] = data[first + 1][column], data[first][column]
    assert values_differ(built, changed, tmp_path, column) == f"the value in row {first} was changed"


def test_swapped_rows_refuse_the_segment(built: Path, data: list[dict[str, Any]], tmp_path: Path) -> None:
    changed = deepcopy(data)
    changed[10]["note"], changed[11]["note"] = data[11]["note"], data[10]["note"]
    after = rebuilt_from(changed, built, tmp_path, ZSTD)
    with pytest.raises(VerificationError, match="column 'note', forward_index: the value in row 10 was changed"):
        verify(built, after)


def test_column_that_was_rewritten_without_a_reason_is_found(
    built: Path, data: list[dict[str, Any]], tmp_path: Path
) -> None:
    old_version = {"name": "note", "encodingType": "RAW", "properties": {"rawIndexWriterVersion": "2"}}
    after = rebuilt_from(data, built, tmp_path, table_config(fields=[old_version]))
    with pytest.raises(VerificationError, match="column 'note', forward_index: changed, although it is still LZ4"):
        verify(built, after)


def test_swapped_multi_values_are_found(built: Path, data: list[dict[str, Any]], tmp_path: Path) -> None:
    changed = deepcopy(data)
    row = next(i for i in range(COUNT) if len(data[i]["tags"]) > 1 and data[i]["tags"][0] != data[i]["tags"][1])
    changed[row]["tags"][:2] = reversed(data[row]["tags"][:2])
    assert values_differ(built, changed, tmp_path, "tags") == f"the value in row {row} was changed"


def test_row_that_became_null_is_found(built: Path, data: list[dict[str, Any]], tmp_path: Path) -> None:
    changed = deepcopy(data)
    row = next(i for i in range(COUNT) if data[i]["city"] is None)
    changed[row]["city"] = "null"  # what Pinot stores for a null string
    after = rebuilt_from(changed, built, tmp_path, table_config())
    with pytest.raises(VerificationError, match="column 'city', nullvalue_vector: which rows are null was changed"):
        verify(built, after)


def test_values_are_compared_without_touching_either_folder(segment: Path, built: Path, tmp_path: Path) -> None:
    config = table_config(
        fields=[text("note", compressionCodec="ZSTANDARD")], multiColumnTextIndexConfig={"columns": ["city", "tags"]}
    )
    engine().preprocess(segment, config, SCHEMA)
    before = {path: path.stat().st_mtime_ns for path in [*built.rglob("*"), *segment.rglob("*")]}
    assert compare_values(engine(), built, segment, ("note",))["note"].difference is None
    assert {path: path.stat().st_mtime_ns for path in [*built.rglob("*"), *segment.rglob("*")]} == before
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_more_rows_than_are_read_at_once(tmp_path: Path) -> None:
    data = [{"code": n % 7, "ts": 1_700_000_000_000 + n} for n in range(25_000)]
    one = build_segment(tmp_path / "one", "s", data, table_config(noDictionaryColumns=["code"]))
    data[24_990]["code"] += 1
    two = build_segment(tmp_path / "two", "s", data, table_config())
    assert compare_values(engine(), one, two, ("code", "ts")) == {
        "code": Rewrite("LZ4", "dictionary", "the value in row 24990 was changed"),
        "ts": Rewrite("dictionary", "dictionary", None),
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("segment.end.time = ", "segment.end.time = 9", "the segment's time range was"),
        ("segment.total.docs = 400", "segment.total.docs = 399", "had 400 rows and has 399"),
        (
            "segment.table.name = events",
            "segment.table.name = other",
            r"metadata\.properties: segment\.table\.name was",
        ),
        (
            "column.city.dataType = STRING",
            "column.city.dataType = JSON",
            "column 'city': its dataType was 'STRING' and is",
        ),
        ("column.code.cardinality = ", "column.code.cardinality = 9", "column 'code': its cardinality was"),
        ("column.code.minValue = ", "column.code.minValue = 9", "column 'code': its minValue was"),
        ("names = city,code,", "names = city,", "column 'code' is gone"),
    ],
)
def test_changed_metadata_is_found(segment: Path, built: Path, old: str, new: str, message: str) -> None:
    metadata = segment / "v3" / "metadata.properties"
    content = metadata.read_text()
    assert old in content
    metadata.write_text(content.replace(old, new))
    with pytest.raises(VerificationError, match=message):
        verify(built, segment)


def test_changed_creation_time_is_found(segment: Path, built: Path) -> None:
    write_creation_meta(segment, replace(read_creation_meta(segment), creation_ms=1))
    with pytest.raises(VerificationError, match="creation time was"):
        verify(built, segment)


def test_changed_crc_alone_is_nothing(segment: Path, built: Path) -> None:
    meta = read_creation_meta(segment)
    write_creation_meta(segment, CreationMeta(1, meta.creation_ms, meta.data_crc))
    assert verify(built, segment) == Changes()


def test_column_that_is_new_and_not_made_up_is_found(built: Path, data: list[dict[str, Any]], tmp_path: Path) -> None:
    before = build_segment(tmp_path / "before", "s", data, table_config(), schema(drop=["code"]))
    write_creation_meta(before, read_creation_meta(built))
    with pytest.raises(VerificationError, match="column 'code' is new and not marked as made up"):
        verify(before, built)


def test_forward_index_whose_values_would_be_lost(segment: Path, built: Path) -> None:
    field = {"name": "tags", "indexTypes": ["INVERTED"], "properties": {"forwardIndexDisabled": "true"}}
    engine().preprocess(segment, table_config(fields=[field]), SCHEMA)
    with pytest.raises(VerificationError, match="column 'tags', forward_index: the table config disables it"):
        verify(built, segment)


def test_file_that_appears_is_found(segment: Path, built: Path) -> None:
    (files_dir(segment) / "leftover.tmp").write_bytes(b"")
    with pytest.raises(VerificationError, match=r"file leftover\.tmp was added"):
        verify(built, segment)


def test_old_segment_format_is_refused(tmp_path: Path) -> None:
    segment = build_segment(tmp_path, "s", rows(20), table_config(segmentFormatVersion="v1"))
    with pytest.raises(SegmentError, match="format v1, and only v3 can be verified"):
        take_fingerprint(segment)
