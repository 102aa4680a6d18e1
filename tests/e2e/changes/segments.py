"""Changes that concern a segment as a whole: the order of its rows, its partition, its time, its tier."""

from __future__ import annotations

from typing import Any

from tests.e2e.changes.case import CITY_3, CODES, EVERYTHING, MEMBER_41, Case, count, indexing
from tests.e2e.changes.columns import INT, LONG, default
from tests.e2e.changes.encodings import TO_ZSTD
from tests.e2e.changes.rows import DAY_MS, START_MS, Layout

from deep_store_sync.model import Outcome

NOON = START_MS + 30 * DAY_MS + DAY_MS // 2
NO_INVERTED_INDEX = "inverted index changed on unsorted column: city"


def partitioned(column: str, number: int) -> Layout:
    by = {column: {"functionName": "Modulo", "numPartitions": number}}
    return indexing(segmentPartitionConfig={"columnPartitionMap": by})


def on_cold(**overrides: Any) -> Layout:
    return indexing(tierOverwrites={"cold": overrides})


COLD_INVERTED = on_cold(invertedIndexColumns=["city"])

SEGMENTS = [
    Case(
        "sort column",
        indexing(sortedColumn=["code"]),
        ("rows in another order (sorted by code)",),
        (CODES,),
        order=lambda row: row["code"],
    ),
    Case("sort column that is sorted already", indexing(sortedColumn=["id"]), (), (CITY_3,), outcome=Outcome.STAMPED),
    Case(
        "partition function",
        partitioned("member", 4),
        ("member: partitioned by nothing → Modulo, 4",),
        (MEMBER_41,),
    ),
    Case(
        "partition function changed",
        partitioned("member", 2),
        ("member: partitioned by Modulo, 4 → Modulo, 2",),
        (MEMBER_41,),
        before=partitioned("member", 4),
    ),
    Case("partition function over several partitions", partitioned("code", 4), queries=(CODES,), incurable="partition"),
    Case(
        "time column",
        Layout(top={"segmentsConfig": {"timeColumnName": "updated"}}),
        ("time column ts → updated",),
        (count(f"updated >= {NOON}", lambda row: row["updated"] >= NOON),),
        time_column="updated",
    ),
    Case(
        "several at once",
        Layout(
            columns={
                "code": {"dataType": "LONG"},
                "digits": None,
                "extra": {"dataType": "INT", "defaultNullValue": 3},
            },
            indexing={"invertedIndexColumns": ["code"], "bloomFilterColumns": ["city"]},
        ),
        (
            "city: bloom_filter added",
            "code: data type INT → LONG",
            default("code", INT, LONG),
            "code: inverted_index added",
            "digits: column removed",
            "extra: column added (INT)",
        ),
        (CODES, CITY_3),
        values={"extra": lambda _: 3},
    ),
]

TIERS = [
    Case(
        "tier override",
        COLD_INVERTED,
        ("city: inverted_index added",),
        (CITY_3,),
        tier="cold",
        stale_says=NO_INVERTED_INDEX,
    ),
    Case(
        "tier override of a codec",
        Layout(
            fields=[
                {
                    "name": "note",
                    "encodingType": "RAW",
                    "tierOverwrites": {"cold": {"compressionCodec": "ZSTANDARD"}},
                }
            ]
        ),
        TO_ZSTD,
        (EVERYTHING,),
        tier="cold",
    ),
    Case("override of another tier", COLD_INVERTED, (), (CITY_3,), tier="hot", outcome=Outcome.STAMPED),
    Case(
        "tier move alone",
        COLD_INVERTED,
        ("city: inverted_index added",),
        (CITY_3,),
        before=COLD_INVERTED,
        synced=True,
        tier="cold",
        stale_says=NO_INVERTED_INDEX,
    ),
]
