from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tests.deep_store_sync.pinot_segments import SCHEMA, build_segment, engine, is_stale, rows, schema, table_config

from deep_store_sync.errors import SegmentError, VerificationError
from deep_store_sync.jvm.regenerate import regenerate
from deep_store_sync.jvm.values import compare_values
from deep_store_sync.segment.fingerprint import take_fingerprint
from deep_store_sync.segment.segment_files import (
    CreationMeta,
    files_dir,
    read_creation_meta,
    read_index_map,
    write_creation_meta,
)
from deep_store_sync.segment.verify import Changes, Regenerated, Rewrite, compare

Row = dict[str, Any]

COUNT = 400
ZSTD = table_config(fields=[{"name": "note", "encodingType": "RAW", "compressionCodec": "ZSTANDARD"}])
TREE = {"dimensionsSplitOrder": ["city"], "functionColumnPairs": ["SUM__price"], "maxLeafRecords": 10}
MULTI_TEXT = {"columns": ["note", "city"]}


@pytest.fixture(scope="module")
def data() -> list[Row]:
    return rows(COUNT)


@pytest.fixture(scope="module")
def built(data: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_segment(tmp_path_factory.mktemp("built"), "s", data, table_config())


@pytest.fixture
def segment(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "s"))


def verify(before: Path, after: Path, regenerated: Regenerated | None = None) -> Changes:
    sort_by = regenerated.sorted_by if regenerated else ()

    def values(columns: tuple[str, ...]) -> Mapping[str, Rewrite]:
        return compare_values(engine(), before, after, columns, sort_by)

    return compare(take_fingerprint(before), take_fingerprint(after), values, regenerated)


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
    "native text": (
        {},
        {},
        {"fields": [text("note", properties={"fstType": "native"})]},
        {},
        ["note: text_index added"],
        [],
    ),
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


@pytest.fixture(scope="module")
def indexed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With an index of every kind."""
    folder = Path(shutil.copytree(built, tmp_path_factory.mktemp("indexed") / "s"))
    config = table_config(
        fields=[{"name": "city", "encodingType": "DICTIONARY", "indexes": {"fst": {}, "inverted": {}}}, text("note")],
        rangeIndexColumns=["price"],
        bloomFilterColumns=["city", "code"],
        jsonIndexColumns=["doc"],
        invertedIndexColumns=["tags"],
        starTreeIndexConfigs=[TREE],
        enableDynamicStarTreeCreation=True,
        multiColumnTextIndexConfig={"columns": ["city", "tags"]},
    )
    engine().preprocess(folder, config, SCHEMA)
    return folder


BUFFERS = [
    ("city", "bloom_filter"),
    ("city", "dictionary"),
    ("city", "forward_index"),
    ("city", "fst_index"),
    ("city", "inverted_index"),
    ("city", "nullvalue_vector"),
    ("doc", "json_index"),
    ("note", "forward_index"),
    ("price", "range_index"),
    ("tags", "forward_index"),
    ("tags", "inverted_index"),
    ("ts", "forward_index"),
]


@pytest.mark.parametrize(("column", "index"), BUFFERS)
def test_flipped_byte_in_an_untouched_column_is_found(indexed: Path, tmp_path: Path, column: str, index: str) -> None:
    after = Path(shutil.copytree(indexed, tmp_path / "s"))
    flip(after, column, index)
    with pytest.raises(VerificationError, match=f"column '{column}', {index}: "):
        verify(indexed, after)


def test_no_kind_of_buffer_is_missing_here(indexed: Path) -> None:
    assert {index for _, index in read_index_map(indexed)} == {index for _, index in BUFFERS}


@pytest.mark.parametrize("name", ["star_tree_index", "star_tree_index_map", "multi_col_text_idx.*"])
def test_flipped_byte_of_an_index_over_several_columns_is_found(indexed: Path, tmp_path: Path, name: str) -> None:
    after = Path(shutil.copytree(indexed, tmp_path / "s"))
    flip_file(
        next(path for path in [*sorted((after / "v3").glob(f"{name}/**/*")), after / "v3" / name] if path.is_file())
    )
    with pytest.raises(VerificationError, match="its files were changed, although it is defined as it was"):
        verify(indexed, after)


def test_flipped_byte_of_a_text_index_is_a_change(indexed: Path, tmp_path: Path) -> None:
    """Pinot builds one again when its config was changed."""
    after = Path(shutil.copytree(indexed, tmp_path / "s"))
    flip_file(next(path for path in (after / "v3").glob("note.lucene*/*") if path.is_file() and path.stat().st_size))
    assert verify(indexed, after) == Changes(("note: text_index rebuilt",), ("note: text_index rebuilt",))


def test_flipped_byte_of_a_file_beside_is_found(built: Path, tmp_path: Path) -> None:
    for name in ("before", "after"):
        folder = Path(shutil.copytree(built, tmp_path / name))
        (folder / "v3" / "validdocids.bitmap.snapshot").write_bytes(name.encode())
    with pytest.raises(VerificationError, match=r"file validdocids\.bitmap\.snapshot was changed"):
        verify(tmp_path / "before", tmp_path / "after")


def flip(segment: Path, column: str, index: str, *, middle: bool = False) -> None:
    at = read_index_map(segment)[column, index]
    flip_file(segment / "v3" / "columns.psf", at.offset + (at.size // 2 if middle else at.size - 1))


def flip_file(path: Path, at: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def test_missing_row_is_found(built: Path, data: list[Row], tmp_path: Path) -> None:
    after = rebuilt_from(data[:-1], built, tmp_path, table_config())
    with pytest.raises(VerificationError, match=f"had {COUNT} rows and has {COUNT - 1}"):
        verify(built, after)


def rebuilt_from(data: list[Row], built: Path, tmp_path: Path, config: dict[str, Any]) -> Path:
    after = build_segment(tmp_path / "out", "s", data, config)
    write_creation_meta(after, replace(read_creation_meta(after), creation_ms=read_creation_meta(built).creation_ms))
    return after


def test_swapped_rows_refuse_the_segment(built: Path, data: list[Row], tmp_path: Path) -> None:
    changed = deepcopy(data)
    changed[10]["note"], changed[11]["note"] = data[11]["note"], data[10]["note"]
    after = rebuilt_from(changed, built, tmp_path, ZSTD)
    with pytest.raises(VerificationError, match="column 'note', forward_index: the value in row 10 was changed"):
        verify(built, after)


def test_column_that_was_rewritten_without_a_reason_is_found(built: Path, data: list[Row], tmp_path: Path) -> None:
    old_version = {"name": "note", "encodingType": "RAW", "properties": {"rawIndexWriterVersion": "2"}}
    after = rebuilt_from(data, built, tmp_path, table_config(fields=[old_version]))
    with pytest.raises(VerificationError, match="column 'note', forward_index: changed, although it is still LZ4"):
        verify(built, after)


def test_row_that_became_null_is_found(built: Path, data: list[Row], tmp_path: Path) -> None:
    changed = deepcopy(data)
    row = next(i for i in range(COUNT) if data[i]["city"] is None)
    changed[row]["city"] = "null"  # what Pinot stores for a null string
    after = rebuilt_from(changed, built, tmp_path, table_config())
    with pytest.raises(VerificationError, match="column 'city', nullvalue_vector: which rows are null was changed"):
        verify(built, after)


# --- what was meant to be written anew -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Anew:
    """A segment as an ingestion job writes it for another config or schema, from the same rows."""

    meant: Regenerated
    changes: list[str]
    invisible: list[int]
    unmeant: str
    config: dict[str, Any] = field(default_factory=table_config)
    schema: dict[str, Any] = field(default_factory=schema)
    rows: Callable[[list[Row]], list[Row]] = lambda data: data


def only(*columns: str) -> Regenerated:
    return Regenerated(frozenset(columns))


MODULO = {"columnPartitionMap": {"code": {"functionName": "Modulo", "numPartitions": 1}}}
DAY = {"name": "day", "dataType": "LONG", "format": "EPOCH|DAYS", "granularity": "1:DAYS"}
ANEW = {
    "data type": Anew(
        only("code"),
        ["code: data type INT → LONG", "code: default value '-2147483648' → '-9223372036854775808'"],
        [1],
        "column 'code': its dataType was 'INT' and is",
        schema=schema(code={"dataType": "LONG"}),
    ),
    "data type of the same bytes": Anew(
        only("doc"),
        ["doc: data type JSON → STRING"],
        [],
        "column 'doc': its dataType was 'JSON' and is",
        schema=schema(doc={"dataType": "STRING"}),
        rows=lambda data: [row | {"doc": row["doc"].replace(" ", "")} for row in data],  # as a JSON column holds it
    ),
    "single to multi value, with nulls": Anew(
        only("city"),
        ["city: single-value → multi-value"],
        [],
        "column 'city': its isSingleValues was 'true' and is",
        schema=schema(city={"singleValueField": False}),
    ),
    "dimension to metric": Anew(
        only("code"),
        ["code: field type DIMENSION → METRIC", "code: default value '-2147483648' → '0'"],
        [1],
        "column 'code': its columnType was 'DIMENSION' and is",
        schema=schema(drop=["code"], add=[("metricFieldSpecs", {"name": "code", "dataType": "INT"})]),
    ),
    "null handling off": Anew(
        only("city"),
        ["city: nullvalue_vector removed"],
        [0],
        "column 'city', nullvalue_vector: which rows are null was changed",
        schema=schema() | {"enableColumnBasedNullHandling": False},
    ),
    "partition function": Anew(
        only("code"),
        ["code: partitioned by nothing → Modulo, 1"],
        [],
        "column 'code': its numPartitions was None and is '1'",
        config=table_config(segmentPartitionConfig=MODULO),
    ),
    "time column": Anew(
        Regenerated(frozenset(["ts"]), time_column="day"),
        ["time column ts → day"],
        [],
        "the segment's time range was",
        config=table_config(top={"segmentsConfig": {"timeColumnName": "day", "replication": "1"}}),
    ),
    "sort column": Anew(
        Regenerated(sorted_by=("city",)),
        ["rows in another order (sorted by city)"],
        [],
        "column 'city', nullvalue_vector: which rows are null was changed",
        rows=lambda data: sorted(data, key=lambda row: row["city"] or "null"),
        config=table_config(sortedColumn=["city"]),
    ),
    "sort column and a type": Anew(
        Regenerated(frozenset(["price"]), sorted_by=("city",)),
        [
            "rows in another order (sorted by city)",
            "price: data type DOUBLE → STRING",
            "price: default value '0.0' → 'null'",
        ],
        [2],
        "column 'city', nullvalue_vector: which rows are null was changed",
        rows=lambda data: sorted(data, key=lambda row: row["city"] or "null"),
        schema=schema(price={"dataType": "STRING"}),
        config=table_config(sortedColumn=["city"]),
    ),
    "column removed": Anew(
        Regenerated(removed=frozenset(["note"])),
        ["note: column removed"],
        [0],
        "column 'note' is gone",
        schema=schema(drop=["note"]),
        config=table_config(noDictionaryColumns=["doc"]),
    ),
}


@pytest.fixture(scope="module")
def with_days(data: list[Row]) -> list[Row]:
    return [row | {"day": 19_000 + number % 7} for number, row in enumerate(data)]


@pytest.fixture(scope="module")
def anew(with_days: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """The segment before and after a case."""
    folder = tmp_path_factory.mktemp("anew")
    before = build_segment(folder / "before", "s", with_days, table_config(), with_day(SCHEMA))

    @functools.cache
    def build(case: str) -> tuple[Path, Path]:
        change = ANEW[case]
        of = with_day(change.schema)
        after = build_segment(folder / str(list(ANEW).index(case)), "s", change.rows(with_days), change.config, of)
        write_creation_meta(after, read_creation_meta(before))
        return before, after

    return build


def with_day(of: dict[str, Any]) -> dict[str, Any]:
    return of | {"dateTimeFieldSpecs": [*of["dateTimeFieldSpecs"], DAY]}


@pytest.mark.parametrize("case", ANEW)
def test_what_was_meant_is_named_and_what_was_not_is_refused(
    anew: Callable[[str], tuple[Path, Path]], case: str
) -> None:
    before, after = anew(case)
    change, of = ANEW[case], with_day(ANEW[case].schema)
    expected = Changes(tuple(change.changes), tuple(change.changes[i] for i in change.invisible))
    assert verify(before, after, change.meant) == expected
    with pytest.raises(VerificationError, match=re.escape(change.unmeant)):
        verify(before, after)
    visible = len(change.changes) > len(change.invisible)
    assert (is_stale(before, change.config, of) is not None) is visible
    assert is_stale(after, change.config, of) is None


@pytest.mark.parametrize("case", ["data type", "sort column and a type", "single to multi value, with nulls"])
@pytest.mark.parametrize(
    ("column", "index"),
    [("code", "forward_index"), ("city", "forward_index"), ("city", "nullvalue_vector"), ("tags", "forward_index"),
     ("tags", "dictionary"), ("note", "forward_index"), ("price", "dictionary")],
)  # fmt: skip
def test_flipped_byte_beside_what_was_meant_is_found(
    anew: Callable[[str], tuple[Path, Path]], tmp_path: Path, case: str, column: str, index: str
) -> None:
    before, after = anew(case)
    after = Path(shutil.copytree(after, tmp_path / "s"))
    flip(after, column, index, middle=True)  # at the end are bits that mean nothing
    with pytest.raises(VerificationError, match=f"column '{column}'|Pinot cannot read"):
        verify(before, after, ANEW[case].meant)


def test_same_bytes_that_are_no_values_of_the_new_type_are_found(segment: Path, built: Path) -> None:
    metadata = segment / "v3" / "metadata.properties"
    content = metadata.read_text()
    metadata.write_text(content.replace("column.code.dataType = INT", "column.code.dataType = BOOLEAN"))
    with pytest.raises(VerificationError, match="column 'code', forward_index: the value in row 0 does not fit"):
        verify(built, segment, only("code"))


def test_time_range_that_is_not_the_new_time_columns_is_found(
    anew: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    before, after = anew("time column")
    after = Path(shutil.copytree(after, tmp_path / "s"))
    metadata = after / "v3" / "metadata.properties"
    metadata.write_text(metadata.read_text().replace("segment.end.time = 19006", "segment.end.time = 19007"))
    with pytest.raises(VerificationError, match="column 'day', forward_index: the segment's time range is"):
        verify(before, after, ANEW["time column"].meant)
    with pytest.raises(VerificationError, match="the segment's time column is 'day', not 'ts'"):
        verify(before, after, Regenerated(time_column="ts"))


def test_null_vector_that_is_lost_in_sorting_is_found(anew: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> None:
    before, after = anew("sort column")
    after = Path(shutil.copytree(after, tmp_path / "s"))
    index_map = after / "v3" / "index_map"
    lines = index_map.read_text().splitlines(keepends=True)
    index_map.write_text("".join(line for line in lines if "city.nullvalue_vector" not in line))
    with pytest.raises(VerificationError, match="column 'city', nullvalue_vector: which rows are null was changed"):
        verify(before, after, ANEW["sort column"].meant)


TWICE_OF_CODE = table_config(
    top={
        "ingestionConfig": {
            "transformConfigs": [{"columnName": "twice", "transformFunction": "concat(code, code, '-')"}]
        }
    }
)
FOLLOWING = [("dimensionFieldSpecs", {"name": name, "dataType": "STRING"}) for name in ("twice", "same")]


@pytest.fixture
def followed(built: Path, tmp_path: Path) -> Path:
    """With a column that follows another one, and one that is made up, too, and does not."""
    before = Path(shutil.copytree(built, tmp_path / "followed" / "s"))
    engine().preprocess(before, TWICE_OF_CODE, schema(add=FOLLOWING))
    return before


def following(*columns: str, **more: Any) -> Regenerated:
    return Regenerated(frozenset(columns), made_anew=frozenset({"twice"}), **more)


@pytest.fixture
def after_double(followed: Path, tmp_path: Path) -> Path:
    of = schema(add=FOLLOWING, code={"dataType": "DOUBLE"})
    (tmp_path / "out").mkdir()
    after = regenerate(engine(), followed, tmp_path / "out", TWICE_OF_CODE, of, columns=["code"])
    engine().preprocess(after, TWICE_OF_CODE, of)
    return after


def test_column_that_follows_one_that_was_written_anew(followed: Path, after_double: Path) -> None:
    changes = (
        "code: data type INT → DOUBLE",
        "code: default value '-2147483648' → '-Infinity'",
        "twice: values derived anew",
    )
    assert verify(followed, after_double, following("code")) == Changes(changes, changes[1:])
    with pytest.raises(VerificationError, match="column 'twice', dictionary: changed"):
        verify(followed, after_double, only("code"))
    with pytest.raises(VerificationError, match="column 'twice', forward_index: the value in row"):
        verify(followed, after_double, only("code", "twice"))
    flip(after_double, "same", "dictionary")
    with pytest.raises(VerificationError, match="column 'same', dictionary: changed"):
        verify(followed, after_double, following("code"))


def test_derived_column_that_was_to_keep_its_values_under_another_definition(followed: Path, tmp_path: Path) -> None:
    other = [
        (kind, spec | {"defaultNullValue": "none"} if spec["name"] == "twice" else spec) for kind, spec in FOLLOWING
    ]
    of = schema(add=other, code={"dataType": "DOUBLE"})
    (tmp_path / "out").mkdir()
    after = regenerate(engine(), followed, tmp_path / "out", TWICE_OF_CODE, of, columns=["code"])
    engine().preprocess(after, TWICE_OF_CODE, of)
    assert "twice: default value 'null' → 'none'" in verify(followed, after, following("code")).changes
    with pytest.raises(VerificationError, match="column 'twice', forward_index: the value in row"):
        verify(followed, after, only("code", "twice"))


@pytest.mark.parametrize("moved", [False, True])
def test_nulls_that_came_into_a_derived_column_are_found(followed: Path, after_double: Path, moved: bool) -> None:
    meant = following("code", sorted_by=("ts",) if moved else ())
    after = take_fingerprint(after_double)
    after = replace(after, buffers={**after.buffers, ("twice", "nullvalue_vector"): b"some"})
    with pytest.raises(VerificationError, match="column 'twice', nullvalue_vector: it was derived anew"):
        compare(take_fingerprint(followed), after, lambda _: {}, meant)


def test_derived_column_that_was_emptied_is_found(followed: Path, tmp_path: Path) -> None:
    """As Pinot does where what it was derived from is gone."""
    of = schema(add=FOLLOWING, drop=["code"])
    (tmp_path / "out").mkdir()
    left_out = {"dimensionFieldSpecs": [spec for spec in of["dimensionFieldSpecs"] if spec["name"] != "twice"]}
    removed = ["code", "twice"]
    after = regenerate(engine(), followed, tmp_path / "out", TWICE_OF_CODE, of | left_out, removed=removed)
    engine().preprocess(after, TWICE_OF_CODE, of)
    gone = frozenset({"code"})
    with pytest.raises(VerificationError, match=r"column 'twice': it held 3\d\d values, and Pinot made it anew"):
        verify(followed, after, following(removed=gone))
    with pytest.raises(VerificationError, match="column 'twice', dictionary: changed"):
        verify(followed, after, Regenerated(removed=gone))


def test_made_up_column_that_was_emptied_with_its_definition_changed_is_found(followed: Path, tmp_path: Path) -> None:
    after = Path(shutil.copytree(followed, tmp_path / "s"))
    other = [(kind, spec | {"dataType": "JSON"}) for kind, spec in FOLLOWING]
    engine().preprocess(after, table_config(), schema(add=other))
    with pytest.raises(VerificationError, match=r"column 'twice': it held 3\d\d values, and Pinot made it anew"):
        verify(followed, after)


@pytest.mark.parametrize(
    ("index", "indexing"),
    [
        (
            "star-tree",
            {
                "starTreeIndexConfigs": [TREE | {"functionColumnPairs": ["SUM__m"]}],
                "enableDynamicStarTreeCreation": True,
            },
        ),
        ("multi-column text index", {"multiColumnTextIndexConfig": {"columns": ["note", "m"]}}),
    ],
)
def test_index_that_still_holds_what_a_column_was_is_found(
    segment: Path, tmp_path: Path, index: str, indexing: dict[str, Any]
) -> None:
    """Pinot changes the column, and leaves what spans it."""
    config = table_config(**indexing)
    kind = {"dataType": "INT", "default": 1} if index == "star-tree" else {"dataType": "STRING", "default": "1"}
    section = "metricFieldSpecs" if index == "star-tree" else "dimensionFieldSpecs"

    def of(default: Any) -> dict[str, Any]:
        spec = {"name": "m", "dataType": kind["dataType"], "defaultNullValue": default}
        return schema(add=[(section, spec)])

    engine().preprocess(segment, config, of(kind["default"]))
    after = Path(shutil.copytree(segment, tmp_path / "after" / "s"))
    engine().preprocess(after, config, of(5 if index == "star-tree" else "5"))
    with pytest.raises(VerificationError, match=f"column 'm', {index}: the column was made anew"):
        verify(segment, after)


# --- metadata and files ----------------------------------------------------------------------------------------------


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


def test_column_that_is_new_and_not_made_up_is_found(built: Path, data: list[Row], tmp_path: Path) -> None:
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
