"""Changes of columns: which there are, their types, and their nulls."""

from __future__ import annotations

from typing import Any

from tests.e2e.changes.case import (
    BIG_ONES,
    BY_CODE,
    CITY_3,
    CODES,
    EVERYTHING,
    NULL_CITIES,
    Case,
    Query,
    columns,
    count,
    indexing,
    shown_city,
)
from tests.e2e.changes.rows import RAW_COLUMNS, Layout

from deep_store_sync.model import Outcome

UPPER = {"transformConfigs": [{"columnName": "upper", "transformFunction": "upper(city)"}]}
NULL_SCORES = count("score is null", lambda row: row["score"] is None)
NO_NULL_SCORES = count("score is null", lambda _: False, kept=False)
RAW_BIG = {"noDictionaryColumns": [*RAW_COLUMNS, "big"]}


INT, LONG, DOUBLE, STRING = str(-(2**31)), str(-(2**63)), "-Infinity", "null"


def default(column: str, was: str, now: str) -> str:
    """What goes with another type: its own default for nulls."""
    return f"{column}: default value '{was}' → '{now}'"


def extra(data_type: str, default: Any, **more: Any) -> Layout:
    """With a column that the rows do not have."""
    return columns(extra={"dataType": data_type, "defaultNullValue": default} | more)


COLUMNS = [
    Case(
        "column added",
        extra("STRING", "none"),
        ("extra: column added (STRING)",),
        (count("extra = 'none'", lambda _: True, kept=False),),
        values={"extra": lambda _: "none"},
    ),
    Case(
        "metric added",
        extra("DOUBLE", 2.5, kind="metric"),
        ("extra: column added (DOUBLE)",),
        (Query("select sum(extra) from {t}", lambda rows: [[2.5 * len(rows)]], kept=False),),
        values={"extra": lambda _: 2.5},
    ),
    Case(
        "multi-value column added",
        extra("INT", 7, singleValueField=False),
        ("extra: column added (INT)",),
        (count("extra = 7", lambda _: True, kept=False),),
        values={"extra": lambda _: [7]},
    ),
    Case(
        "derived column added",
        Layout(columns={"upper": {"dataType": "STRING"}}, top={"ingestionConfig": UPPER}),
        ("upper: column added (STRING)",),
        (count("upper = 'CITY 03'", lambda row: row["city"] == "city 03", kept=False),),
        values={"upper": lambda row: shown_city(row).upper()},
    ),
    Case(
        "default value of an added column",
        extra("STRING", "b"),
        ("extra: default value 'a' → 'b'",),
        (count("extra = 'b'", lambda _: True, kept=False),),
        before=extra("STRING", "a"),
        built=Layout(),
        synced=True,
        values={"extra": lambda _: "b"},
        old_values={"extra": lambda _: "a"},
    ),
    Case(
        "type of an added column",
        extra("LONG", 1),
        ("extra: data type INT → LONG",),
        (count("extra = 1", lambda _: True),),
        before=extra("INT", 1),
        built=Layout(),
        synced=True,
        values={"extra": lambda _: 1},
        old_values={"extra": lambda _: 1},
    ),
    Case("column removed", columns(digits=None), ("digits: column removed",), (CITY_3,)),
    Case(
        "added column removed",
        Layout(),
        ("extra: column removed",),
        (CITY_3,),
        before=extra("STRING", "a"),
        built=Layout(),
        synced=True,
        old_values={"extra": lambda _: "a"},
    ),
]

NULLS = [
    Case(
        "null handling off",
        indexing(nullHandlingEnabled=False),
        ("city: nullvalue_vector removed", "score: nullvalue_vector removed"),
        (NO_NULL_SCORES, CITY_3),
    ),
    Case(
        "null handling on",
        Layout(),
        (),
        (NO_NULL_SCORES, CITY_3),
        before=indexing(nullHandlingEnabled=False),
        outcome=Outcome.STAMPED,
    ),
    Case(
        "null handling by column on",
        Layout(schema={"enableColumnBasedNullHandling": True}, indexing={"nullHandlingEnabled": False}),
        (),
        (NO_NULL_SCORES, CITY_3),
        before=indexing(nullHandlingEnabled=False),
        outcome=Outcome.STAMPED,
    ),
    Case(
        "null handling by column off for one",
        Layout(
            columns={"score": {"notNull": True}},
            schema={"enableColumnBasedNullHandling": True},
            indexing={"nullHandlingEnabled": False},
        ),
        ("score: nullvalue_vector removed",),
        (NULL_CITIES, NO_NULL_SCORES),
    ),
]

TYPES = [
    Case(
        "INT to LONG",
        columns(code={"dataType": "LONG"}),
        ("code: data type INT → LONG", default("code", INT, LONG)),
        (CODES, BY_CODE),
    ),
    Case(
        "INT with nulls to LONG",
        columns(score={"dataType": "LONG"}),
        ("score: data type INT → LONG", default("score", INT, LONG)),
        (NULL_SCORES, count("score = 17", lambda row: row["score"] == 17)),
    ),
    Case(
        "FLOAT to DOUBLE",
        columns(ratio={"dataType": "DOUBLE"}),
        ("ratio: data type FLOAT → DOUBLE",),
        (count("ratio > 60", lambda row: row["ratio"] > 60),),
    ),
    Case(
        "INT to DOUBLE with an index",
        Layout(columns={"code": {"dataType": "DOUBLE"}}, indexing={"rangeIndexColumns": ["code"]}),
        ("code: data type INT → DOUBLE", "code: range_index added", default("code", INT, DOUBLE)),
        (CODES,),
        values={"code": lambda row: float(row["code"])},
    ),
    Case(
        "INT to STRING",
        columns(code={"dataType": "STRING"}),
        ("code: data type INT → STRING", default("code", INT, STRING)),
        (count("code = '117'", lambda row: row["code"] == 117, kept=False),),
        values={"code": lambda row: str(row["code"])},
    ),
    Case(
        "STRING to INT",
        columns(digits={"dataType": "INT"}),
        ("digits: data type STRING → INT", default("digits", STRING, INT)),
        (count("digits between 100 and 150", lambda row: 100 <= int(row["digits"]) <= 150, kept=False),),
        values={"digits": lambda row: int(row["digits"])},
    ),
    Case(
        "LONG to INT",
        columns(big={"dataType": "INT"}),
        ("big: data type LONG → INT", default("big", LONG, INT)),
        (BIG_ONES,),
    ),
    Case(
        "LONG to TIMESTAMP",
        columns(updated={"dataType": "TIMESTAMP", "format": "TIMESTAMP"}),
        (
            "updated: data type LONG → TIMESTAMP",
            default("updated", LONG, "0"),
            "updated: datetimeFormat EPOCH|MILLISECONDS → TIMESTAMP",
        ),
        (EVERYTHING,),
    ),
    Case(
        "DOUBLE to BIG_DECIMAL",
        columns(price={"dataType": "BIG_DECIMAL"}),
        ("price: data type DOUBLE → BIG_DECIMAL", default("price", "0.0", "0")),
        (count("price between 500 and 900", lambda row: 500 <= row["price"] <= 900),),
        values={"price": lambda row: f"{row['price']:g}"},
    ),
    Case("LONG to INT that does not fit", columns(huge={"dataType": "INT"}), queries=(EVERYTHING,), refused="huge"),
    Case("STRING to INT that is no number", columns(city={"dataType": "INT"}), queries=(EVERYTHING,), refused="city"),
    Case(
        "single to multi value",
        columns(city={"singleValueField": False}),
        ("city: single-value → multi-value",),
        (CITY_3, NULL_CITIES),
        values={"city": lambda row: [shown_city(row)]},
    ),
    Case(
        "single to multi value of a raw number",
        Layout(columns={"big": {"singleValueField": False}}, indexing=RAW_BIG),
        ("big: single-value → multi-value",),
        (BIG_ONES,),
        before=Layout(indexing=RAW_BIG),
        values={"big": lambda row: [row["big"]]},
    ),
    Case("multi to single value", columns(tags={"singleValueField": True}), queries=(EVERYTHING,), refused="tags"),
    Case(
        "dimension to metric",
        columns(code={"kind": "metric"}),
        ("code: field type DIMENSION → METRIC", default("code", INT, "0")),
        (CODES,),
    ),
    Case(
        "dimension with nulls to metric",
        columns(score={"kind": "metric"}),
        ("score: field type DIMENSION → METRIC", default("score", INT, "0")),
        (NULL_SCORES, Query("select max(score) from {t}", lambda rows: [[max(float(r["score"] or 0) for r in rows)]])),
    ),
]
