"""The engine on the segment libraries of several Pinot versions, each in a process of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.deep_store_sync.pinot_segments import schema, table_config
from tests.deep_store_sync.processes import in_a_process

from deep_store_sync.errors import RebuildError
from deep_store_sync.jvm.jars import JarSet, read_jars
from deep_store_sync.jvm.process import EngineProcess
from deep_store_sync.segment.fingerprint import take_fingerprint
from deep_store_sync.segment.segment_files import files_dir, read_creation_meta, read_index_map, read_layout
from deep_store_sync.segment.verify import compare
from pinot_sandbox.toolchain import ensure_jars, ensure_library, pinot_version

VERSIONS = ("1.3.0", "1.4.0", "1.5.1")

# Indexes of every kind that all these versions know and that a segment may get after it was built.
FIELDS = [
    {"name": "city", "encodingType": "DICTIONARY", "indexes": {"fst": {}, "inverted": {"enabled": "true"}}},
    {"name": "note", "encodingType": "RAW", "indexTypes": ["TEXT"]},
    {"name": "ts", "encodingType": "DICTIONARY", "timestampConfig": {"granularities": ["MINUTE"]}},
]
STAR_TREE = {"dimensionsSplitOrder": ["code"], "functionColumnPairs": ["SUM__price"], "maxLeafRecords": 10}
INDEXES = {
    "rangeIndexColumns": ["price"],
    "bloomFilterColumns": ["code"],
    "jsonIndexColumns": ["doc"],
    "starTreeIndexConfigs": [STAR_TREE],
    "enableDynamicStarTreeCreation": True,
    # What a newer controller prints though nobody has set it.
    "skipSegmentPreprocess": False,
    "aSettingOfTheFuture": False,
    "anotherOne": {"columns": [], "enabled": False},
}
ADDED = {
    ("city", "fst_index"),
    ("city", "inverted_index"),
    ("price", "range_index"),
    ("code", "bloom_filter"),
    ("doc", "json_index"),
    ("$ts$MINUTE", "forward_index"),
}


def jars(version: str) -> JarSet:
    folder = ensure_jars() if version == pinot_version() else ensure_library(version)
    return read_jars(folder, str(folder))


_BUILD = """
import json, sys
from pathlib import Path
from tests.deep_store_sync.pinot_segments import build_segment, rows
out, wanted = Path(sys.argv[1]), json.loads(sys.argv[2])
for name, (config, schema) in wanted.items():
    build_segment(out, name, rows(500, seed=2 if name == "other_values" else 1), config, schema)
print("built")
"""


def build(version: str, out: Path, **wanted: tuple[dict[str, Any], dict[str, Any]]) -> Path:
    done = in_a_process(_BUILD, str(out), json.dumps(wanted), PINOT_LIBRARY=version)
    assert done.stdout == "built\n", done.stderr
    return out


@dataclass(frozen=True)
class Library:
    version: str
    built: Path
    engine: EngineProcess

    def segment(self, folder: Path, name: str = "s") -> Path:
        return Path(shutil.copytree(self.built / name, folder / name))


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of segments by each version; the newest's holds some that the older do not know."""
    newest = {
        "in_file": (table_config(fields=[text(storeInSegmentFile=True)]), schema()),
        "ifst": (table_config(fields=[city(indexes={"ifst": {}})]), schema()),
        "multi_column": (table_config(noDictionaryColumns=[], **MULTI_COLUMN), schema()),
    }
    return {
        version: build(
            version,
            tmp_path_factory.mktemp(version),
            s=(table_config(), schema()),
            other_values=(table_config(), schema()),
            old_format=(table_config(segmentFormatVersion="v1"), schema()),
            **(newest if version == VERSIONS[-1] else {}),
        )
        for version in VERSIONS
    }


@pytest.fixture(scope="module", params=VERSIONS)
def library(
    request: pytest.FixtureRequest, segments: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Library]:
    engine = EngineProcess(jars(request.param), 512 << 20, temp_dir=tmp_path_factory.mktemp("java"), watch=lambda: None)
    try:
        yield Library(request.param, segments[request.param], engine)
    finally:
        engine.close()


def text(**settings: Any) -> dict[str, Any]:
    return {"name": "note", "encodingType": "RAW", "indexes": {"text": settings}}


def city(**settings: Any) -> dict[str, Any]:
    return {"name": "city", "encodingType": "DICTIONARY"} | settings


MULTI_COLUMN = {"multiColumnTextIndexConfig": {"columns": ["city", "note"]}}


def test_crc_is_what_the_library_itself_wrote(library: Library) -> None:
    built = library.built / "s"
    assert library.engine.crc(built) == read_creation_meta(built).crc


def test_indexes_are_added_and_nothing_else_is_touched(library: Library, tmp_path: Path) -> None:
    segment = library.segment(tmp_path)
    original, crc = take_fingerprint(segment), library.engine.crc(segment)
    config = table_config(fields=FIELDS, **INDEXES)
    assert library.engine.preprocess(segment, config, schema()) is True
    assert set(read_index_map(segment)) >= ADDED
    assert any(path.name.startswith("note.lucene") for path in files_dir(segment).iterdir())
    assert (files_dir(segment) / "star_tree_index").exists()
    changes = compare(original, take_fingerprint(segment), lambda columns: pytest.fail(f"{columns} were rewritten"))
    assert len(changes.changes) >= len(ADDED)
    assert library.engine.crc(segment) != crc
    assert library.engine.preprocess(segment, config, schema()) is False  # needProcess


def test_rewritten_columns_hold_the_same_values(library: Library, tmp_path: Path) -> None:
    segment = library.segment(tmp_path)
    before = Path(shutil.copytree(segment, tmp_path / "before" / "s"))
    fields = [
        {"name": "note", "encodingType": "RAW", "compressionCodec": "ZSTANDARD"},
        {"name": "tags", "encodingType": "RAW"},
    ]
    config = table_config(fields=fields, noDictionaryColumns=["note", "doc", "tags", "price", "city"])
    assert library.engine.preprocess(segment, config, schema()) is True
    found = library.engine.compare_values(before, segment, ("note", "tags", "price", "city"))
    assert [rewrite.difference for rewrite in found.values()] == [None] * 4
    assert (found["note"].before, found["note"].after) == ("LZ4", "ZSTANDARD")
    assert all(rewrite.before != rewrite.after for rewrite in found.values())


def test_changed_value_is_found(library: Library, tmp_path: Path) -> None:
    other = library.segment(tmp_path, "other_values")
    found = library.engine.compare_values(library.segment(tmp_path), other, ("city", "tags", "ts"))
    assert all("was changed" in str(found[name].difference) for name in ("city", "tags"))
    assert found["ts"].difference is None


def test_columns_are_added_and_old_formats_converted(library: Library, tmp_path: Path) -> None:
    segment = library.segment(tmp_path, "old_format")
    assert read_layout(segment).version == "v1"
    of = schema(add=[("dimensionFieldSpecs", {"name": "up", "dataType": "STRING"})])
    derived = {"transformConfigs": [{"columnName": "up", "transformFunction": "upper(city)"}]}
    config = table_config(segmentFormatVersion="v3", top={"ingestionConfig": derived})
    assert library.engine.preprocess(segment, config, of) is True
    layout = read_layout(segment)
    assert layout.version == "v3"
    assert layout.columns["up"].cardinality == layout.columns["city"].cardinality


def test_tier_decides(library: Library, tmp_path: Path) -> None:
    segment = library.segment(tmp_path)
    config = table_config(fields=[city(tierOverwrites={"cold": {"indexes": {"inverted": {}}}})])
    assert library.engine.preprocess(segment, config, schema(), "hot") is False
    assert library.engine.preprocess(segment, config, schema(), "cold") is True


# What a config or schema may ask for, the words of its refusal, and the versions that refuse it.
ASKED = {
    "multi-column text": (table_config(**MULTI_COLUMN), {}, r"tableIndexConfig\.multiColumnTextIndexConfig", "1.3.0"),
    "ifst": (table_config(fields=[city(indexes={"ifst": {}})]), {}, r"\[city\]\.indexes\.ifst", "1.3.0 1.4.0"),
    "ifst by type": (table_config(fields=[city(indexTypes=["IFST"])]), {}, 'Cannot deserialize.*"IFST"', "1.3.0 1.4.0"),
    "codec": (
        table_config(
            fields=[{"name": "code", "encodingType": "RAW", "compressionCodec": "DELTA"}],
            noDictionaryColumns=["note", "doc", "code"],
        ),
        {},
        'Cannot deserialize.*"DELTA"',
        "1.3.0 1.4.0",
    ),
    "text in the segment file": (
        table_config(fields=[text(storeInSegmentFile=True)]),
        {},
        r"\[note\]\.indexes\.text\.storeInSegmentFile",
        "1.3.0 1.4.0",
    ),
    "text in the segment file, by properties": (
        table_config(
            fields=[
                {
                    "name": "note",
                    "encodingType": "RAW",
                    "indexTypes": ["TEXT"],
                    "properties": {"storeInSegmentFile": "true"},
                }
            ]
        ),
        {},
        r"\[note\]\.properties\.storeInSegmentFile",
        "1.3.0 1.4.0",
    ),
    "JSON size": (
        table_config(jsonIndexConfigs={"doc": {"maxBytesSize": 1000000}}),
        {},
        r"jsonIndexConfigs\[doc\]\.maxBytesSize",
        "1.3.0",
    ),
    "trailing zeros": (
        table_config(),
        {"add": [("metricFieldSpecs", {"name": "sum", "dataType": "BIG_DECIMAL", "allowTrailingZeros": True})]},
        r"metricFieldSpecs\[sum\]\.allowTrailingZeros",
        "1.3.0",
    ),
    "inverted index on a raw column": (
        table_config(invertedIndexColumns=["note"]),
        {},
        "does not build inverted_index of column note",
        "1.3.0 1.4.0",
    ),
    "raw version": (
        table_config(
            fields=[{"name": "code", "encodingType": "RAW", "indexes": {"forward": {"rawIndexWriterVersion": 99}}}],
            noDictionaryColumns=["note", "doc"],
        ),
        {},
        "rawIndexWriterVersion 99",
        "1.3.0 1.4.0 1.5.1",
    ),
    "index type of a plug-in": (
        table_config(fields=[city(indexes={"ours": {"enabled": True}})]),
        {},
        r"\[city\]\.indexes\.ours",
        "1.3.0 1.4.0 1.5.1",
    ),
    "on its tier": (
        table_config(tierOverwrites={"cold": MULTI_COLUMN}),
        {},
        r"tableIndexConfig\.multiColumnTextIndexConfig",
        "1.3.0",
    ),
}


@pytest.mark.parametrize("what", ASKED)
def test_what_the_library_lacks_is_refused(library: Library, what: str, tmp_path: Path) -> None:
    config, of, words, by = ASKED[what]
    segment = library.segment(tmp_path)
    if library.version not in by.split():
        assert library.engine.preprocess(segment, config, schema(**of), "cold") is True
        return
    refusal = rf"segment library of Pinot {library.version} \(.*{words}.*jars of the version that the cluster runs"
    with pytest.raises(RebuildError, match=refusal):
        library.engine.preprocess(segment, config, schema(**of), "cold")


# Sections that no segment is rebuilt from.
SERVED = {
    "routing": {"instanceSelectorType": "balanced", "new": 1},
    "upsertConfig": {"mode": "FULL", "new": 1},
    "ingestionConfig": {"streamIngestionConfig": {"new": 1}, "filterConfig": {"new": "x"}, "rowTimeValueCheck": True},
    "tableSamplers": [{"name": "small", "type": "firstN", "new": 1}],
}


def test_what_no_segment_depends_on_is_no_matter(library: Library, tmp_path: Path) -> None:
    config = table_config(top=SERVED, streamConfigs={"new": "1"})
    assert library.engine.preprocess(library.segment(tmp_path), config, schema()) is False


@pytest.mark.parametrize(
    ("name", "config", "holds", "by"),
    [
        ("in_file", table_config(), "text_index of column note", "1.3.0 1.4.0"),
        ("ifst", table_config(invertedIndexColumns=["city"]), "ifst_index of column city", "1.3.0 1.4.0"),
        ("multi_column", table_config(), "multi-column text index", "1.3.0"),
    ],
)
def test_segment_of_a_newer_library(
    library: Library,
    segments: dict[str, Path],
    name: str,
    config: dict[str, Any],
    holds: str,
    by: str,
    tmp_path: Path,
) -> None:
    segment = Path(shutil.copytree(segments[VERSIONS[-1]] / name, tmp_path / name))
    if library.version not in by.split():
        assert library.engine.preprocess(segment, config, schema()) is True
        return
    with pytest.raises(RebuildError, match=f"{library.version} .* does not know what the segment holds: {holds}:"):
        library.engine.preprocess(segment, config, schema())


@pytest.mark.parametrize("by", VERSIONS)
def test_segment_of_another_library_is_rebuilt(
    library: Library, segments: dict[str, Path], by: str, tmp_path: Path
) -> None:
    segment = Path(shutil.copytree(segments[by] / "s", tmp_path / "s"))
    before = Path(shutil.copytree(segment, tmp_path / "before" / "s"))
    config = table_config(fields=FIELDS, noDictionaryColumns=["doc"], **INDEXES)
    assert library.engine.crc(segment) == read_creation_meta(segment).crc
    assert library.engine.preprocess(segment, config, schema()) is True
    assert library.engine.preprocess(segment, config, schema()) is False
    assert set(read_index_map(segment)) >= ADDED
    found = library.engine.compare_values(before, segment, tuple(sorted(read_layout(before).columns)))
    assert {rewrite.difference for rewrite in found.values()} == {None}


def test_columns_are_regenerated(library: Library, tmp_path: Path) -> None:
    segment = library.segment(tmp_path)
    of = schema(code={"dataType": "LONG"}, price={"dataType": "STRING"})
    config = table_config(invertedIndexColumns=["code"], noDictionaryColumns=["note", "doc", "price"])
    (tmp_path / "out").mkdir()
    new = library.engine.regenerate(segment, tmp_path / "out", config, of, columns=("code", "price"))
    library.engine.preprocess(new, config, of)
    assert library.engine.preprocess(new, config, of) is False
    columns = read_layout(new).columns
    assert (columns["code"].data_type, columns["price"].data_type) == ("LONG", "STRING")
    found = library.engine.compare_values(segment, new, tuple(columns))
    assert {rewrite.difference for rewrite in found.values()} == {None}


def test_rows_are_sorted(library: Library, tmp_path: Path) -> None:
    segment = library.segment(tmp_path)
    config = table_config(sortedColumn=["city"])
    (tmp_path / "out").mkdir()
    new = library.engine.regenerate(segment, tmp_path / "out", config, schema(), sort_by=("city",))
    library.engine.preprocess(new, config, schema())
    assert read_layout(new).columns["city"].sorted
    found = library.engine.compare_values(segment, new, tuple(read_layout(new).columns), ("city",))
    assert {rewrite.difference for rewrite in found.values()} == {None}
