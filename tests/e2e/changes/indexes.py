"""Changes of indexes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tests.e2e.changes.case import (
    BY_CODE,
    CITY_3,
    CODES,
    EVERYTHING,
    Answer,
    Case,
    Query,
    configured,
    count,
    groups,
    indexing,
)
from tests.e2e.changes.rows import DAY_MS, NEW_YORK, RAW_COLUMNS, Layout, Row, point
from tests.e2e.changes.segment_checks import range_index_version

PRICES = count("price between 500 and 900", lambda row: 500 <= row["price"] <= 900)
T_4 = count("tags = 't4'", lambda row: "t4" in row["tags"])
ALPHA = count("text_match(body, 'alpha')", lambda row: "alpha" in row["body"].split(), kept=False)
OMEGA = count("text_match(note, 'omega')", lambda row: "omega" in row["note"], kept=False)
BY_MEMBER = groups("member", lambda row: row["member"])

TEXT = configured("body", "RAW", indexTypes=["TEXT"])
NATIVE_TEXT = configured("body", "RAW", indexTypes=["TEXT"], properties={"fstType": "native"})
H3 = configured("place", "RAW", indexTypes=["H3"], properties={"resolutions": "5,7"})
DAYS = configured("moment", indexTypes=["TIMESTAMP"], timestampConfig={"granularities": ["DAY"]})
MULTI_TEXT = indexing(multiColumnTextIndexConfig={"columns": ["note", "body"]})
TREE = {
    "dimensionsSplitOrder": ["code", "member"],
    "functionColumnPairs": ["COUNT__*", "SUM__qty"],
    "maxLeafRecords": 10,
}
OTHER_TREE = TREE | {"functionColumnPairs": ["COUNT__*", "SUM__qty", "MAX__price"]}
HNSW = {"vectorIndexType": "HNSW", "vectorDimension": "4", "vectorDistanceFunction": "EUCLIDEAN", "version": "1"}


def trees(*configs: dict[str, Any]) -> Layout:
    """Star-trees that servers build, too."""
    return indexing(enableDynamicStarTreeCreation=True, starTreeIndexConfigs=list(configs))


def vectors(encoding: str) -> Layout:
    return Layout(
        indexing={"noDictionaryColumns": raw_but_for(encoding)},
        fields=[{"name": "embedding", "encodingType": encoding, "indexTypes": ["VECTOR"], "properties": HNSW}],
    )


def raw_but_for(encoding: str) -> list[str]:
    return [name for name in RAW_COLUMNS if name != "embedding" or encoding == "RAW"]


def nearest(target: Sequence[float], top: int) -> Query:
    """The nearest vectors, by Euclid."""

    def distance(row: Row) -> float:
        return math.dist(row["embedding"], target)

    def answer(rows: Sequence[Row]) -> Answer:
        return [[number] for number in sorted(row["id"] for row in sorted(rows, key=distance)[:top])]

    near = f"vector_similarity(embedding, ARRAY[{', '.join(map(str, target))}], {top})"
    return Query(f"select id from {{t}} where {near} order by id limit {top}", answer, kept=False)


def day(row: Row) -> int:
    moment: int = row["moment"]
    return moment - moment % DAY_MS


BY_DAY = groups("CAST(dateTrunc('DAY', moment) AS LONG)", day)

INDEXES = [
    Case(
        "inverted added",
        indexing(invertedIndexColumns=["city", "tags"]),
        ("city: inverted_index added", "tags: inverted_index added"),
        (CITY_3, T_4),
    ),
    Case(
        "inverted removed",
        Layout(),
        ("city: inverted_index removed",),
        (CITY_3,),
        before=indexing(invertedIndexColumns=["city"]),
    ),
    *(
        Case(
            f"range version {version} added",
            indexing(rangeIndexColumns=["price", "code"], rangeIndexVersion=version),
            ("code: range_index added", "price: range_index added"),
            (PRICES, CODES),
            check=range_index_version("code", version),
        )
        for version in (1, 2)
    ),
    Case(
        "range version 1 to 2",
        indexing(rangeIndexColumns=["code"], rangeIndexVersion=2),
        ("code: range_index rebuilt",),
        (CODES,),
        before=indexing(rangeIndexColumns=["code"], rangeIndexVersion=1),
        check=range_index_version("code", 2),
    ),
    Case(
        "range removed",
        Layout(),
        ("code: range_index removed",),
        (CODES,),
        before=indexing(rangeIndexColumns=["code"]),
    ),
    Case(
        "bloom added",
        indexing(bloomFilterColumns=["digits"]),
        ("digits: bloom_filter added",),
        (count("digits = '17'", lambda row: row["digits"] == "17"),),
    ),
    Case(
        "json added",
        indexing(jsonIndexColumns=["doc"]),
        ("doc: json_index added",),
        (count("""json_match(doc, '"$.a.b" = 3')""", lambda row: '"b":3' in row["doc"], kept=False),),
    ),
    Case("text added", TEXT, ("body: text_index added",), (ALPHA,)),
    Case("text removed", Layout(), ("body: text_index removed",), (EVERYTHING,), before=TEXT),
    Case(
        "native text added",
        NATIVE_TEXT,
        ("body: text_index added",),
        (count("text_contains(body, 'alpha')", lambda row: "alpha" in row["body"].split(), kept=False),),
    ),
    Case("native text removed", Layout(), ("body: text_index removed",), (EVERYTHING,), before=NATIVE_TEXT),
    Case("multi-column text added", MULTI_TEXT, ("multi-column text index added",), (ALPHA, OMEGA)),
    Case(
        "multi-column text changed",
        MULTI_TEXT,
        ("multi-column text index rebuilt",),
        (ALPHA, OMEGA),
        before=indexing(multiColumnTextIndexConfig={"columns": ["note"]}),
    ),
    Case("multi-column text removed", Layout(), ("multi-column text index removed",), (EVERYTHING,), before=MULTI_TEXT),
    Case(
        "fst added",
        configured("city", indexTypes=["FST"]),
        ("city: fst_index added",),
        (count("regexp_like(city, 'city 1.*')", lambda row: (row["city"] or "").startswith("city 1")),),
    ),
    Case(
        "h3 added",
        H3,
        ("place: h3_index added",),
        (count("ST_Distance(place, ST_Point(-74.01, 40.71, 1)) < 5000", lambda row: row["place"] == point(NEW_YORK)),),
    ),
    *(
        Case(
            f"vector added to a {encoding} column",
            vectors(encoding),
            ("embedding: vector_index added",),
            (nearest((1.0, 2.0, -3.0, 0.5), 5),),
            before=indexing(noDictionaryColumns=raw_but_for(encoding)),
        )
        for encoding in ("DICTIONARY", "RAW")
    ),
    Case("vector removed", Layout(), ("embedding: vector_index removed",), (EVERYTHING,), before=vectors("RAW")),
    Case(
        "timestamp index added",
        DAYS,
        ("$moment$DAY: column added (TIMESTAMP)",),
        (BY_DAY, groups('CAST("$moment$DAY" AS LONG)', day, kept=False)),
    ),
    Case("timestamp index removed", Layout(), ("$moment$DAY: column removed",), (BY_DAY,), before=DAYS),
    Case("star-tree added", trees(TREE), ("star-tree added",), (BY_CODE, BY_MEMBER)),
    Case("star-tree changed", trees(OTHER_TREE), ("star-tree rebuilt",), (BY_CODE,), before=trees(TREE)),
    Case("star-tree removed", trees(), ("star-tree removed",), (BY_CODE,), before=trees(TREE)),
    Case(
        "star-tree that servers do not build", indexing(starTreeIndexConfigs=[TREE]), ("star-tree added",), (BY_CODE,)
    ),
]
