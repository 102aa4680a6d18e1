from __future__ import annotations

import itertools
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jpype
import pytest
from tests.deep_store_sync.pinot_segments import START_MS, build_segment, engine, rows, schema, table_config

from deep_store_sync.errors import VerificationError
from deep_store_sync.jvm.values import compare_values
from deep_store_sync.segment.verify import Rewrite

Row = dict[str, Any]

COUNT = 400
RAW = ["note", "doc", "city", "code", "tags", "price"]
INT_MIN, LONG_MAX = -(2**31), 2**63 - 1
OTHER = "the value in row {} is not the same one in the new data type"
LOST = "the value in row {} does not fit the new data type without loss"
CHANGED = "the value in row {} was changed"


@pytest.fixture(scope="module")
def data() -> list[Row]:
    return rows(COUNT)


@pytest.fixture(scope="module")
def built(data: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_segment(tmp_path_factory.mktemp("built"), "s", data, table_config())


def difference(before: Path, after: Path, column: str, *sort_by: str) -> str | None:
    return compare_values(engine(), before, after, (column,), sort_by)[column].difference


# --- the same type ---------------------------------------------------------------------------------------------------


def values_differ(built: Path, changed: list[Row], tmp_path: Path, column: str) -> str | None:
    after = build_segment(tmp_path / "out", "s", changed, table_config(noDictionaryColumns=RAW))
    return difference(built, after, column)


@pytest.mark.parametrize("column", ["city", "code", "tags", "note", "doc", "price", "ts"])
def test_same_values_in_another_encoding_are_the_same(
    built: Path, data: list[Row], tmp_path: Path, column: str
) -> None:
    assert values_differ(built, data, tmp_path, column) is None


@pytest.mark.parametrize("column", ["city", "code", "tags", "note", "doc", "price"])
def test_swapped_rows_of_a_rewritten_column_are_found(
    built: Path, data: list[Row], tmp_path: Path, column: str
) -> None:
    changed = deepcopy(data)
    first = next(
        i
        for i in range(100, COUNT)
        if data[i][column] != data[i + 1][column] and data[i]["city"] and data[i + 1]["city"]
    )
    changed[first][column], changed[first + 1][column] = data[first + 1][column], data[first][column]
    assert values_differ(built, changed, tmp_path, column) == CHANGED.format(first)


def test_swapped_rows_in_the_same_encoding_are_found(built: Path, data: list[Row], tmp_path: Path) -> None:
    """Where the dictionaries hold the same, the ids tell."""
    changed = deepcopy(data)
    first = next(i for i in range(COUNT) if data[i]["code"] != data[i + 1]["code"])
    changed[first]["code"], changed[first + 1]["code"] = data[first + 1]["code"], data[first]["code"]
    after = build_segment(tmp_path, "s", changed, table_config())
    assert difference(built, after, "code") == CHANGED.format(first)


def test_missing_row_in_a_rewritten_column_is_found(built: Path, data: list[Row], tmp_path: Path) -> None:
    assert values_differ(built, [*data[:17], *data[18:], data[17]], tmp_path, "note") == CHANGED.format(17)
    shorter = build_segment(tmp_path / "shorter", "s", data[:-1], table_config())
    assert difference(built, shorter, "note") == f"it had {COUNT} rows and has {COUNT - 1}"


def test_swapped_multi_values_are_found(built: Path, data: list[Row], tmp_path: Path) -> None:
    changed = deepcopy(data)
    row = next(i for i in range(COUNT) if len(data[i]["tags"]) > 1 and data[i]["tags"][0] != data[i]["tags"][1])
    changed[row]["tags"][:2] = reversed(data[row]["tags"][:2])
    assert values_differ(built, changed, tmp_path, "tags") == CHANGED.format(row)


def test_multi_value_that_moved_to_the_next_row_is_found(built: Path, data: list[Row], tmp_path: Path) -> None:
    changed = deepcopy(data)
    row = next(i for i in range(COUNT) if len(data[i]["tags"]) > 1)
    changed[row + 1]["tags"].insert(0, changed[row]["tags"].pop())
    assert values_differ(built, changed, tmp_path, "tags") == f"the number of values in row {row} was changed"


def test_more_rows_than_are_read_at_once(tmp_path: Path) -> None:
    data = [{"code": n % 7, "ts": START_MS + n} for n in range(25_000)]
    one = build_segment(tmp_path / "one", "s", data, table_config(noDictionaryColumns=["code"]))
    data[24_990]["code"] += 1
    two = build_segment(tmp_path / "two", "s", data, table_config())
    assert compare_values(engine(), one, two, ("code", "ts")) == {
        "code": Rewrite("LZ4", "dictionary", CHANGED.format(24_990)),
        "ts": Rewrite("dictionary", "dictionary", None),
    }


# --- another type ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conversion:
    """Values of a column in its old and in its new data type; `wrong` says what is wrong with the last one."""

    old: str
    was: list[Any]
    new: str
    now: list[Any]
    wrong: str | None = None


def decimal(text: str) -> Any:
    engine()
    return lambda: jpype.JClass("java.math.BigDecimal")(text)


TIME = "2023-11-14 22:13:20.5"
TIME_MS = 1_700_000_000_500
FLOAT = 0.10000000149011612  # of 0.1

CONVERSIONS = {
    "INT to LONG": Conversion("INT", [7, INT_MIN], "LONG", [7, INT_MIN]),
    "INT to LONG, changed": Conversion("INT", [7, 8], "LONG", [7, 9], CHANGED),
    "LONG to INT": Conversion("LONG", [7, 2**31 - 1], "INT", [7, 2**31 - 1]),
    "LONG to INT, cut": Conversion("LONG", [7, 2**32 + 5], "INT", [7, 5], LOST),
    "LONG to INT, stopped at the end": Conversion("LONG", [7, 2**40], "INT", [7, 2**31 - 1], CHANGED),
    "INT to FLOAT": Conversion("INT", [7, 2**24], "FLOAT", [7.0, float(2**24)]),
    "INT to FLOAT, rounded": Conversion("INT", [7, 2**24 + 1], "FLOAT", [7.0, float(2**24)], LOST),
    "INT to FLOAT, rounded up to where casts stop": Conversion("INT", [7, 2**31 - 1], "FLOAT", [7.0, 2.0**31], LOST),
    "INT to DOUBLE": Conversion("INT", [7, INT_MIN], "DOUBLE", [7.0, -(2.0**31)]),
    "LONG to DOUBLE": Conversion("LONG", [7, 2**60], "DOUBLE", [7.0, 2.0**60]),
    "LONG to DOUBLE, rounded": Conversion("LONG", [7, 2**53 + 1], "DOUBLE", [7.0, 2.0**53], LOST),
    "LONG to DOUBLE, rounded up to where casts stop": Conversion("LONG", [7, LONG_MAX], "DOUBLE", [7.0, 2.0**63], LOST),
    "DOUBLE to LONG": Conversion("DOUBLE", [7.0, -(2.0**63)], "LONG", [7, -(2**63)]),
    "DOUBLE to LONG, stopped at the end": Conversion("DOUBLE", [7.0, 2.0**63], "LONG", [7, LONG_MAX], LOST),
    "DOUBLE to INT, a fraction cut off": Conversion("DOUBLE", [7.0, 1.5], "INT", [7, 1], LOST),
    "FLOAT to INT, stopped at the end": Conversion("FLOAT", [7.0, 2.0**31], "INT", [7, 2**31 - 1], LOST),
    "FLOAT to DOUBLE": Conversion("FLOAT", [0.5, 0.1], "DOUBLE", [0.5, FLOAT]),
    "FLOAT to DOUBLE, by its digits": Conversion("FLOAT", [0.5, 0.1], "DOUBLE", [0.5, 0.1], CHANGED),
    "DOUBLE to FLOAT": Conversion("DOUBLE", [0.5, FLOAT], "FLOAT", [0.5, 0.1]),
    "DOUBLE to FLOAT, rounded": Conversion("DOUBLE", [0.5, 0.1], "FLOAT", [0.5, 0.1], LOST),
    "BOOLEAN to INT": Conversion("BOOLEAN", [0, 1], "INT", [0, 1]),
    "INT to BOOLEAN": Conversion("INT", [1, 0], "BOOLEAN", [1, 0]),
    "INT to BOOLEAN, neither 0 nor 1": Conversion("INT", [1, 5], "BOOLEAN", [1, 1], CHANGED),
    "LONG to TIMESTAMP": Conversion("LONG", [0, TIME_MS], "TIMESTAMP", [0, TIME_MS]),
    "INT to STRING": Conversion("INT", [7, -10, 9], "STRING", ["7", "-10", "9"]),
    "INT to STRING, changed": Conversion("INT", [7, -10, 9], "STRING", ["7", "-10", "09"], CHANGED),
    "DOUBLE to STRING": Conversion("DOUBLE", [0.1, 1e300], "STRING", ["0.1", "1.0E300"]),
    "FLOAT to STRING": Conversion("FLOAT", [0.5, 0.1], "STRING", ["0.5", "0.1"]),
    "STRING to INT": Conversion("STRING", ["7", "007", " 12 "], "INT", [7, 7, 12]),
    "STRING to INT, no number": Conversion("STRING", ["7", "seven"], "INT", [7, 0], OTHER),
    "STRING to INT, a fraction cut off": Conversion("STRING", ["7", "1.5"], "INT", [7, 1], OTHER),
    "STRING to DOUBLE": Conversion("STRING", ["1.50", "1e3"], "DOUBLE", [1.5, 1000.0]),
    "STRING to DOUBLE, digits lost": Conversion(
        "STRING", ["7", "3.14159265358979323846"], "DOUBLE", [7.0, 3.141592653589793], OTHER
    ),
    "STRING to FLOAT": Conversion("STRING", ["7", "0.10"], "FLOAT", [7.0, 0.1]),
    "STRING to FLOAT, digits lost": Conversion("STRING", ["7", "0.123456789"], "FLOAT", [7.0, 0.123456789], OTHER),
    "STRING to BIG_DECIMAL": Conversion("STRING", ["7.50", "1e3"], "BIG_DECIMAL", [decimal("7.50"), decimal("1000")]),
    "BIG_DECIMAL to STRING": Conversion("BIG_DECIMAL", [decimal("7.5"), decimal("1E+3")], "STRING", ["7.5", "1000"]),
    "BIG_DECIMAL to LONG": Conversion("BIG_DECIMAL", [decimal("7.0"), decimal("1E+3")], "LONG", [7, 1000]),
    "BIG_DECIMAL to LONG, a fraction cut off": Conversion(
        "BIG_DECIMAL", [decimal("7"), decimal("1.5")], "LONG", [7, 1], OTHER
    ),
    "BIG_DECIMAL to DOUBLE, digits lost": Conversion(
        "BIG_DECIMAL", [decimal("7.25"), decimal("0.1000000000000000000001")], "DOUBLE", [7.25, 0.1], OTHER
    ),
    "DOUBLE to BIG_DECIMAL": Conversion("DOUBLE", [0.5, 0.1], "BIG_DECIMAL", [decimal("0.5"), decimal("0.1")]),
    "BOOLEAN to STRING": Conversion("BOOLEAN", [1, 0], "STRING", ["true", "false"]),
    "BOOLEAN to STRING, as it is stored": Conversion("BOOLEAN", [1, 0], "STRING", ["1", "0"]),
    "BOOLEAN to STRING, changed": Conversion("BOOLEAN", [1, 0], "STRING", ["true", "true"], OTHER),
    "STRING to BOOLEAN": Conversion("STRING", ["TRUE", "0", "false", "1"], "BOOLEAN", [1, 0, 0, 1]),
    "STRING to BOOLEAN, another word": Conversion("STRING", ["true", "yes"], "BOOLEAN", [1, 0], OTHER),
    "TIMESTAMP to STRING, as it is stored": Conversion("TIMESTAMP", [0, TIME_MS], "STRING", ["0", str(TIME_MS)]),
    "TIMESTAMP to STRING, changed": Conversion("TIMESTAMP", [0, TIME_MS], "STRING", ["0", str(TIME_MS + 1)], CHANGED),
    "STRING to TIMESTAMP": Conversion("STRING", ["7", str(TIME_MS)], "TIMESTAMP", [7, TIME_MS]),
    "STRING to TIMESTAMP, no time": Conversion("STRING", ["7", "soon"], "TIMESTAMP", [7, 0], OTHER),
    "STRING to JSON": Conversion("STRING", ['{"a": 1}', "no json"], "JSON", ['{"a":1}', '"no json"']),
    "STRING to JSON, changed": Conversion("STRING", ['{"a": 1}', '{"b": 1}'], "JSON", ['{"a":1}', '{"b":2}'], OTHER),
    "JSON to STRING": Conversion("JSON", ['{"a":1}', "[]"], "STRING", ['{"a":1}', "[]"]),
    "BYTES to STRING": Conversion("BYTES", ["00ff", "7a"], "STRING", ["00ff", "7a"]),
    "STRING to BYTES": Conversion("STRING", ["00FF", "7a"], "BYTES", ["00ff", "7a"]),
    "STRING to BYTES, changed": Conversion("STRING", ["00ff", "7a"], "BYTES", ["00ff", "7b"], OTHER),
}  # fmt: skip
ROWS = 12
NOT_IN_LISTS = {"BIG_DECIMAL", "JSON"}


def name_of(case: str) -> str:
    return "".join(part if part.isalnum() else "_" for part in case)


def column_of(case: str, *, multi: bool) -> str:
    return f"{name_of(case)}_{'s' if multi else ''}"


def in_lists(conversion: Conversion) -> bool:
    return NOT_IN_LISTS.isdisjoint((conversion.old, conversion.new))


@pytest.fixture(scope="module", params=["dictionary", "raw", "dictionary to raw"])
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A segment with a column for each conversion, and one for its lists, before and after."""
    folder = tmp_path_factory.mktemp("converted")
    built = []
    for side, raw in (("before", request.param == "raw"), ("after", request.param != "dictionary")):
        specs, columns = [], []
        for case, conversion in CONVERSIONS.items():
            data_type, values = (
                (conversion.old, conversion.was) if side == "before" else (conversion.new, conversion.now)
            )
            for multi in (False, True)[: 1 + in_lists(conversion)]:
                name = column_of(case, multi=multi)
                specs.append(
                    ("dimensionFieldSpecs", {"name": name, "dataType": data_type, "singleValueField": not multi})
                )
                columns.append((name, _padded(values), multi))
        made = [
            {"ts": START_MS + row}
            | {name: [values[row], values[0]] if multi else values[row] for name, values, multi in columns}
            for row in range(ROWS)
        ]
        of = schema(add=specs, drop=["city", "code", "tags", "note", "doc", "price"])
        config = table_config(noDictionaryColumns=[name for name, _, _ in columns] if raw else [])
        built.append(build_segment(folder / side, "s", made, config, of))
    return built[0], built[1]


def _padded(values: list[Any]) -> list[Any]:
    """The values, and then the first one over and over."""
    made = [value() if isinstance(value, Callable) else value for value in values]  # type: ignore[arg-type]
    return list(itertools.islice(itertools.chain(made, itertools.repeat(made[0])), ROWS))


@pytest.mark.parametrize("case", CONVERSIONS)
def test_converted_values(converted: tuple[Path, Path], case: str) -> None:
    conversion = CONVERSIONS[case]
    wrong = conversion.wrong and conversion.wrong.format(len(conversion.was) - 1)
    assert difference(*converted, column_of(case, multi=False)) == wrong
    if in_lists(conversion):
        assert difference(*converted, column_of(case, multi=True)) == wrong


def test_types_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    one, two = (
        build_segment(tmp_path / data_type, "s", [{"x": "00", "ts": START_MS}], table_config(), _schema_of_x(data_type))
        for data_type in ("BYTES", "JSON")
    )
    assert difference(one, two, "x") == "BYTES and JSON values cannot be compared"


def _schema_of_x(data_type: str, **spec: Any) -> dict[str, Any]:
    return schema(add=[("dimensionFieldSpecs", {"name": "x", "dataType": data_type} | spec)])


# --- single and multi values, nulls ----------------------------------------------------------------------------------


def segment_of_x(folder: Path, values: list[Any], data_type: str, *, raw: bool = False, **spec: Any) -> Path:
    made = [{"x": value, "ts": START_MS + row} for row, value in enumerate(values)]
    config = table_config(noDictionaryColumns=["x"] if raw else [])
    return build_segment(folder, "s", made, config, _schema_of_x(data_type, **spec))


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    ("was", "now", "wrong"),
    [
        ([5, 6, 5], [[5], [6], [5]], None),
        ([5, 6, 5], [[5], [6], [7]], CHANGED.format(2)),
        ([5, 6, 5], [[5], [6, 6], [5]], "the number of values in row 1 was changed"),
    ],
)
def test_single_values_and_lists_of_one(
    tmp_path: Path, was: list[int], now: list[list[int]], wrong: str | None, raw: bool
) -> None:
    single = segment_of_x(tmp_path / "single", was, "INT", raw=raw)
    multi = segment_of_x(tmp_path / "multi", now, "INT", raw=raw, singleValueField=False)
    longs = segment_of_x(tmp_path / "longs", now, "LONG", raw=raw, singleValueField=False)
    assert difference(single, multi, "x") == wrong
    assert difference(multi, single, "x") == wrong
    assert difference(single, longs, "x") == wrong


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    ("now", "wrong"),
    [
        ([5, None, 7, None], None),
        ([5, None, 8, None], OTHER.format(2)),
        ([5, 6, 7, None], "whether row 1 is null was changed"),
        ([None, None, 7, None], "whether row 0 is null was changed"),
    ],
)
def test_nulls_hold_the_new_default(tmp_path: Path, now: list[int | None], wrong: str | None, raw: bool) -> None:
    before = segment_of_x(tmp_path / "before", [None if n is None else str(n) for n in [5, None, 7, None]], "STRING")
    assert difference(before, segment_of_x(tmp_path / "after", now, "INT", raw=raw), "x") == wrong
    lists = [None if n is None else [n] for n in now]
    assert difference(before, segment_of_x(tmp_path / "m", lists, "INT", raw=raw, singleValueField=False), "x") == wrong


def test_null_that_holds_another_value_is_found(tmp_path: Path) -> None:
    """Its null vector is gone, so that it is a value like others now."""
    before = segment_of_x(tmp_path / "before", ["5", None, "7"], "STRING")
    spec = {"notNull": True, "defaultNullValue": -1}
    assert difference(before, segment_of_x(tmp_path / "good", [5, -1, 7], "INT", **spec), "x") is None
    found = difference(before, segment_of_x(tmp_path / "bad", [5, -2, 7], "INT", **spec), "x")
    assert found == "row 1 is null and holds neither the default value nor what it held"


# --- rows in another order -------------------------------------------------------------------------------------------


def by_city(found: list[Row]) -> list[Row]:
    return sorted(found, key=lambda row: row["city"] or "null")


@pytest.mark.parametrize("raw", [(), tuple(RAW)])
def test_sorted_rows(built: Path, data: list[Row], tmp_path: Path, raw: tuple[str, ...]) -> None:
    after = build_segment(tmp_path, "s", by_city(data), table_config(noDictionaryColumns=list(raw)))
    columns = tuple(data[0])
    found = compare_values(engine(), built, after, columns, ("city",))
    assert {rewrite.difference for rewrite in found.values()} == {None}
    found = compare_values(engine(), after, after, columns, ("city",))
    assert {rewrite.difference for rewrite in found.values()} == {None}
    with pytest.raises(VerificationError, match="the rows are not in the order of 'code'"):
        compare_values(engine(), built, after, columns, ("code",))


def test_sorted_by_a_converted_raw_column(tmp_path: Path) -> None:
    """As STRING 10 comes before 9; a null becomes `null`, which comes last."""
    before = segment_of_x(tmp_path / "before", [9, None, 10, 9, 100], "INT", raw=True)
    made = [{"x": x, "ts": START_MS + row} for x, row in [("10", 2), ("100", 4), ("9", 0), ("9", 3), (None, 1)]]
    after = build_segment(tmp_path / "after", "s", made, table_config(), _schema_of_x("STRING"))
    found = compare_values(engine(), before, after, ("x", "ts"), ("x",))
    assert {rewrite.difference for rewrite in found.values()} == {None}


def swapped(found: list[Row], *columns: str) -> list[Row]:
    """Two neighbours in the same city, one of them with another value."""
    at = next(
        i
        for i in range(150, COUNT)
        if found[i]["city"] == found[i + 1]["city"]
        and all(found[i][column] != found[i + 1][column] for column in columns)
    )
    one, two = found[at], found[at + 1]
    found[at] = one | {column: two[column] for column in columns}
    found[at + 1] = two | {column: one[column] for column in columns}
    return found


@pytest.mark.parametrize("column", ["code", "tags", "note", "price", "ts"])
@pytest.mark.parametrize("raw", [(), tuple(RAW)])
def test_swapped_values_in_sorted_rows_are_found(
    built: Path, data: list[Row], tmp_path: Path, column: str, raw: tuple[str, ...]
) -> None:
    changed = swapped(by_city(data), column)
    after = build_segment(tmp_path, "s", changed, table_config(noDictionaryColumns=list(raw)))
    assert (difference(built, after, column, "city") or "").endswith("was changed")
    assert difference(built, after, "city", "city") is None


def test_wrong_rows_in_sorted_rows_are_found(built: Path, data: list[Row], tmp_path: Path) -> None:
    good = by_city(data)
    first = next(i for i in range(COUNT) if good[i]["city"] != good[i + 1]["city"])
    doubled = [*good[:first], good[first + 1], *good[first + 1 :]]
    order = [*good[:first], good[first + 1], good[first], *good[first + 2 :]]
    whole = swapped(list(good), *good[0].keys() - {"city"})
    for name, wrong in {"doubled": doubled, "whole rows swapped": whole}.items():
        after = build_segment(tmp_path / name, "s", wrong, table_config())
        found = compare_values(engine(), built, after, tuple(data[0]), ("city",))
        assert {rewrite.difference for rewrite in found.values()} != {None}, name
    after = build_segment(tmp_path / "order", "s", order, table_config())
    with pytest.raises(VerificationError, match="the rows are not in the order of 'city'"):
        compare_values(engine(), built, after, tuple(data[0]), ("city",))


def test_null_that_moved_in_sorted_rows_is_found(built: Path, data: list[Row], tmp_path: Path) -> None:
    good = sorted(data, key=lambda row: row["code"])
    assert difference(built, build_segment(tmp_path / "good", "s", good, table_config()), "city", "code") is None
    at = next(i for i in range(COUNT) if good[i]["city"] is None and good[i + 1]["city"] is not None)
    good[at] = good[at] | {"city": "null"}  # what Pinot stores for a null string
    good[at + 1] = good[at + 1] | {"city": None}
    after = build_segment(tmp_path / "bad", "s", good, table_config())
    assert difference(built, after, "city", "code") == f"whether row {at} is null was changed"


# --- what the metadata says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    ("line", "changed", "wrong"),
    [
        ("column.x.minValue = 19005", "column.x.minValue = 19006", "its smallest value is not the one"),
        ("column.x.maxValue = 19007", "column.x.maxValue = 19006", "its largest value is not the one"),
        ("column.x.partitionValues = 1", "column.x.partitionValues = 0", "its values are of the partitions [1], and"),
        ("segment.start.time = 19005", "segment.start.time = 19004", "the segment's time range is 1641945600000–"),
    ],
)
def test_metadata_that_does_not_fit_the_values_is_found(
    tmp_path: Path, line: str, changed: str, wrong: str, raw: bool
) -> None:
    before = segment_of_x(tmp_path / "before", [19005, 19007], "INT")
    of = schema(
        add=[("dateTimeFieldSpecs", {"name": "x", "dataType": "LONG", "format": "EPOCH|DAYS", "granularity": "1:DAYS"})]
    )
    by = {"x": {"functionName": "Modulo", "numPartitions": 2}}
    config = table_config(
        noDictionaryColumns=["x"] if raw else [],
        segmentPartitionConfig={"columnPartitionMap": by},
        columnMinMaxValueGeneratorMode="ALL",
    ) | {"segmentsConfig": {"timeColumnName": "x", "replication": "1"}}
    after = build_segment(
        tmp_path / "after", "s", [{"x": 19005, "ts": START_MS}, {"x": 19007, "ts": START_MS + 1}], config, of
    )
    assert difference(before, after, "x") is None
    metadata = after / "v3" / "metadata.properties"
    content = metadata.read_text()
    assert content.count(line) == 1
    metadata.write_text(content.replace(line, changed))
    assert (difference(before, after, "x") or "").startswith(wrong)


def test_values_are_compared_without_touching_either_folder(built: Path, data: list[Row], tmp_path: Path) -> None:
    text = {"name": "note", "encodingType": "RAW", "indexTypes": ["TEXT"], "compressionCodec": "ZSTANDARD"}
    after = build_segment(tmp_path, "s", data, table_config(fields=[text]))
    before = {path: path.stat().st_mtime_ns for path in [*built.rglob("*"), *after.rglob("*")]}
    assert difference(built, after, "note") is None
    assert {path: path.stat().st_mtime_ns for path in [*built.rglob("*"), *after.rglob("*")]} == before
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


# --- the ends of raw columns, and partitions -------------------------------------------------------------------------


@pytest.mark.parametrize("type_", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("odd", ["-inf", "inf", "nan"])  # Pinot takes NaN for null
def test_ends_that_are_no_finite_numbers(tmp_path: Path, type_: str, odd: str) -> None:
    data = [{"x": value, "ts": START_MS} for value in (1.5, float(odd), -2.5)]
    specs = [[("metricFieldSpecs", {"name": "x", "dataType": kind})] for kind in ("FLOAT", type_)]
    raw = table_config(noDictionaryColumns=["x"])
    before = build_segment(tmp_path / "before", "s", data, raw, schema(add=specs[0]))
    kind = schema(add=[("dimensionFieldSpecs", specs[1][0][1])])  # redefined, whatever its type
    after = build_segment(tmp_path / "after", "s", data, raw, kind)
    assert difference(before, after, "x") is None
    text = (metadata := after / "v3" / "metadata.properties").read_text()
    said = "minValue" if odd == "-inf" else "maxValue"
    lines = [line for line in text.splitlines(True) if not line.startswith(f"column.x.{said}")]
    metadata.write_text("".join([*lines, f"column.x.{said} = 9.5\n"]))
    assert "value is not the one that its metadata says" in str(difference(before, after, "x"))


@pytest.mark.parametrize(("function", "said", "right"), [
    ("Modulo", "1", True),
    ("Modulo", "1,2", True),  # of a consumed segment: the stream's partition, though no row of it is there
    ("Modulo", "2", False),
    ("Murmur", "0,1,2,3", False),  # redefined: nothing but the rows says what is in there
])  # fmt: skip
def test_partitions_that_the_metadata_names(tmp_path: Path, function: str, said: str, right: bool) -> None:
    def config(function: str) -> dict[str, Any]:
        by = {"code": {"functionName": function, "numPartitions": 4}}
        return table_config(segmentPartitionConfig={"columnPartitionMap": by})

    data = [{"code": 4 * number + 1, "ts": START_MS} for number in range(3)]
    before = build_segment(tmp_path / "before", "s", data, config("Modulo"))
    after = build_segment(tmp_path / "after", "s", data, config(function))
    text = (metadata := after / "v3" / "metadata.properties").read_text()
    metadata.write_text("".join(
        f"column.code.partitionValues = {said}\n" if line.startswith("column.code.partitionValues") else line
        for line in text.splitlines(True)
    ))  # fmt: skip
    found = difference(before, after, "code")
    assert found is None if right else "its values are of the partitions" in str(found)
