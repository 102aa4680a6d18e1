from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from tests.deep_store_sync.pinot_segments import START_MS, build_segment, engine, rows, table_config

from deep_store_sync.errors import SegmentError
from deep_store_sync.segment.segment_files import (
    COLUMNS_FILE,
    INDEX_MAP,
    BufferRange,
    CreationMeta,
    files_dir,
    parse_index_map,
    parse_layout,
    parse_properties,
    read_creation_meta,
    read_index_map,
    read_layout,
    write_creation_meta,
)


@pytest.mark.parametrize("meta", [CreationMeta(7, 8), CreationMeta(2**32 - 1, 1_700_000_000_000, -(2**63))])
def test_creation_meta_survives_the_way_there_and_back(meta: CreationMeta) -> None:
    assert CreationMeta.from_bytes(meta.to_bytes()) == meta


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_creation_meta_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(SegmentError, match=f"creation.meta has {size} bytes"):
        CreationMeta.from_bytes(bytes(size))


def test_properties_as_commons_configuration_writes_them() -> None:
    text = (
        "# a comment\n! another = one\n\nplain = a value\nno\\ space\\:\\= = x\n  colon:y\nspace z\n"
        "escaped = tab\\t nul\\u0000 \\u00FC back\\\\slash\nlong = one, \\\n   two\ntwice = 1\ntwice = 2\nempty =\n"
        "col.\u00fc = \u00fc\nnot a line end = a\x0bb\x85c\n"
    )
    assert parse_properties(text.encode()) == {
        "plain": "a value",
        "no space:=": "x",
        "colon": "y",
        "space": "z",
        "escaped": "tab\t nul\0 ü back\\slash",
        "long": "one, two",
        "twice": "1,2",
        "empty": "",
        "col.ü": "ü",
        "not": "a line end = a\x0bb\x85c",
    }


def test_properties_in_the_encoding_of_an_old_jvm() -> None:
    assert parse_properties("col.ü = 1\n".encode("iso-8859-1")) == {"col.ü": "1"}


def test_properties_with_version_header_have_plain_keys() -> None:
    assert parse_properties(b"# version = 2\na b:c\\d = 1\\t2\n") == {"a b:c\\d": "1\t2"}


def test_index_map_with_dots_in_a_column() -> None:
    data = b"a.b.forward_index.startOffset = 10\na.b.forward_index.size = 20\n"
    assert parse_index_map(data) == {("a.b", "forward_index"): BufferRange(10, 20)}


@pytest.mark.parametrize("data", [b"a.forward_index.size = 20\n", b"nonsense = 1\n", b"a.b.size = x\n"])
def test_damaged_index_map_is_refused(data: bytes) -> None:
    with pytest.raises(SegmentError, match="index_map cannot be read"):
        parse_index_map(data)


@pytest.mark.parametrize("data", [b"", b"segment.name = s\n", b"segment.name = s\nsegment.total.docs = many\n"])
def test_damaged_metadata_is_refused(data: bytes) -> None:
    with pytest.raises(SegmentError, match=r"metadata\.properties cannot be read"):
        parse_layout(data)


def test_columns_whose_names_begin_alike() -> None:
    common = "dataType = INT\ncolumn.{0}.columnType = DIMENSION\ncolumn.{0}.cardinality = "
    text = "segment.name = s\nsegment.total.docs = 1\nsegment.dimension.column.names = a,a.b\n" + "".join(
        f"column.{name}.{common.format(name)}{count}\n" for name, count in (("a", 1), ("a.b", 2))
    )
    columns = parse_layout(text.encode()).columns
    assert {name: column.cardinality for name, column in columns.items()} == {"a": 1, "a.b": 2}


@pytest.mark.parametrize(("written", "ids"), [("3", (3,)), ("0,2", (0, 2)), ("[1 3],[5 5]", (1, 2, 3, 5))])
def test_partitions_in_old_and_new_notation(written: str, ids: tuple[int, ...]) -> None:
    text = (
        "segment.name = s\nsegment.total.docs = 1\nsegment.dimension.column.names = a\ncolumn.a.dataType = INT\n"
        f"column.a.columnType = DIMENSION\ncolumn.a.cardinality = 1\ncolumn.a.partitionValues = {written}\n"
    )
    assert parse_layout(text.encode()).columns["a"].partitions == ids


@pytest.fixture(scope="module")
def odd_segment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by Pinot, with column names that its files have to escape."""
    of = {
        "schemaName": "events",
        "dimensionFieldSpecs": [{"name": name, "dataType": "STRING"} for name in ("a b", "c:d=e", "ü.x", "f.g")],
        "dateTimeFieldSpecs": [
            {"name": "ts", "dataType": "LONG", "format": "EPOCH|MILLISECONDS", "granularity": "1:MILLISECONDS"}
        ],
    }
    partitions = {"columnPartitionMap": {"a b": {"functionName": "Murmur", "numPartitions": 4}}}
    config = table_config(noDictionaryColumns=[], segmentPartitionConfig=partitions)
    data = [{"a b": " x,y ", "c:d=e": "v", "ü.x": f"ü\\{n}", "f.g": "w", "ts": START_MS + n} for n in range(10)]
    return build_segment(tmp_path_factory.mktemp("odd"), "odd name", data, config, of)


def test_layout_of_a_real_segment(odd_segment: Path) -> None:
    layout = read_layout(odd_segment)
    assert (layout.name, layout.version, layout.rows, layout.time_column) == ("odd name", "v3", 10, "ts")
    assert (layout.start_time, layout.end_time, layout.time_unit) == (str(START_MS), str(START_MS + 9), "MILLISECONDS")
    assert set(layout.columns) == {"a b", "c:d=e", "ü.x", "f.g", "ts"}
    column = layout.columns["a b"]
    assert (column.partition_function, column.partition_count, len(column.partitions)) == ("Murmur", 4, 1)
    assert (column.data_type, column.field_type, column.cardinality, column.sorted) == ("STRING", "DIMENSION", 1, True)
    assert layout.columns["ts"].field_type == "DATE_TIME"
    assert layout.columns["ü.x"].cardinality == 10


def test_index_map_of_a_real_segment_covers_columns_psf(odd_segment: Path) -> None:
    buffers = read_index_map(odd_segment)
    assert {column for column, _ in buffers} == set(read_layout(odd_segment).columns)
    ranges = sorted((at.offset, at.offset + at.size) for at in buffers.values())
    assert ranges[0][0] == 0
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(ranges))
    assert ranges[-1][1] == (odd_segment / "v3" / COLUMNS_FILE).stat().st_size


def test_creation_meta_of_a_real_segment(odd_segment: Path) -> None:
    meta = read_creation_meta(odd_segment)
    assert meta.crc == engine().crc(odd_segment)
    assert meta.data_crc is not None
    write_creation_meta(odd_segment, meta)
    assert read_creation_meta(odd_segment) == meta


def test_columns_psf_that_was_cut_off(tmp_path: Path) -> None:
    segment = build_segment(tmp_path, "s", rows(5), table_config())
    columns = files_dir(segment) / COLUMNS_FILE
    columns.write_bytes(columns.read_bytes()[:-1])
    with pytest.raises(SegmentError, match=r"column '\w+': its \w+ lies at .* cut off or damaged"):
        read_index_map(segment)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SegmentError, match=INDEX_MAP):
        read_index_map(tmp_path)


def test_white_space_is_javas() -> None:
    name = "\u3000wide\u00a0"
    text = f"segment.name = s\nsegment.total.docs = 1\nsegment.dimension.column.names = a, {name}\n" + "".join(
        f"column.{column}.{what}\n"
        for column in ("a", name)
        for what in ("dataType = INT", "columnType = DIMENSION", "cardinality = 1")
    )
    assert set(parse_layout(text.encode()).columns) == {"a", name}
