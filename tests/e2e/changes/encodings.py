"""Changes of how values are stored, and of what the metadata says of them."""

from __future__ import annotations

from tests.e2e.changes.case import CITY_3, CODES, EVERYTHING, Case, configured, count, groups, indexing
from tests.e2e.changes.rows import RAW_COLUMNS, Layout
from tests.e2e.changes.segment_checks import (
    archive_without_min_max,
    dictionary_of_variable_length,
    forward_index_version,
    has_min_max,
)

from deep_store_sync.model import Outcome

BEFORE_MIN_MAX, MIN_MAX = (indexing(columnMinMaxValueGeneratorMode=mode) for mode in ("NONE", "ALL"))
OLD_WRITER, NEW_WRITER = ({"rawIndexWriterVersion": version} for version in ("2", "4"))
ZSTD = {"name": "note", "encodingType": "RAW", "compressionCodec": "ZSTANDARD"}
TO_ZSTD = ("note: forward_index rewritten (LZ4 → ZSTANDARD)",)

ENCODINGS = [
    Case("codec of a raw column", Layout(fields=[ZSTD]), TO_ZSTD, (EVERYTHING,)),
    Case(
        "codec of dictionary ids",
        configured("tags", compressionCodec="MV_ENTRY_DICT"),
        ("tags: forward_index rewritten (dictionary → dictionary, MV_ENTRY_DICT)",),
        (count("tags = 't4'", lambda row: "t4" in row["tags"]),),
    ),
    Case(
        "raw index version",
        configured("note", "RAW", properties=NEW_WRITER),
        ("note: written anew",),
        before=configured("note", "RAW", properties=OLD_WRITER),
        check=forward_index_version("note", 4),
    ),
    Case(
        "codec and raw index version",
        configured("note", "RAW", compressionCodec="SNAPPY", properties=NEW_WRITER),
        ("note: forward_index rewritten (LZ4 → SNAPPY)",),
        before=configured("note", "RAW", properties=OLD_WRITER),
        check=forward_index_version("note", 4),
    ),
    Case(
        "dictionary off",
        indexing(noDictionaryColumns=[*RAW_COLUMNS, "city", "code", "tags"]),
        ("city: dictionary removed", "code: dictionary removed", "tags: dictionary removed"),
        (CITY_3, CODES),
    ),
    Case(
        "dictionary off for a sorted column",
        indexing(noDictionaryColumns=[*RAW_COLUMNS, "id"]),
        ("id: dictionary removed",),
        (EVERYTHING,),
    ),
    Case(
        "dictionary on",
        indexing(noDictionaryColumns=["doc", "place", "embedding"]),
        ("body: dictionary added", "note: dictionary added"),
        (count("body like '%alpha%'", lambda row: "alpha" in row["body"]),),
    ),
    Case(
        "var-length dictionary",
        indexing(varLengthDictionaryColumns=["digits"]),
        ("digits: written anew",),
        (groups("digits", lambda row: row["digits"]),),
        check=dictionary_of_variable_length("digits"),
    ),
    Case(
        "var-length dictionary for a raw column",
        indexing(noDictionaryColumns=["doc", "place", "embedding"], varLengthDictionaryColumns=["note", "body"]),
        ("body: dictionary added", "note: dictionary added"),
        (EVERYTHING,),
        check=dictionary_of_variable_length("note"),
    ),
    Case(
        "min and max of a segment without",
        MIN_MAX,
        ("code: min/max values added",),
        (CODES,),
        before=BEFORE_MIN_MAX,
        prepare=archive_without_min_max("code"),
        check=has_min_max("code"),
    ),
    Case(
        "min and max of a segment that has them", MIN_MAX, (), (CODES,), before=BEFORE_MIN_MAX, outcome=Outcome.STAMPED
    ),
    Case(
        "an index with skipSegmentPreprocess",
        indexing(skipSegmentPreprocess=True, invertedIndexColumns=["city"]),
        ("city: inverted_index added",),
        (CITY_3,),
    ),
    Case(
        "a codec with skipSegmentPreprocess",
        Layout(indexing={"skipSegmentPreprocess": True}, fields=[ZSTD]),
        TO_ZSTD,
        (EVERYTHING,),
    ),
]
