"""The order that the rows of a segment are in once they are sorted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.errors import VerificationError
from deep_store_sync.jvm.bulk import (
    function,
    java,
    joined,
    lookup,
    mapped,
    method_type,
    new_array,
    pick,
    row_numbers,
    to_arrow,
    to_java,
)
from deep_store_sync.jvm.column_values import read_all, row_values
from deep_store_sync.jvm.conversions import number_form


def sorted_order(segment: Any, sort_by: Sequence[str], become: Any = None) -> Any:
    """The order of rows that sorts them by columns; rows with the same values there stay in the order they are in.

    Pinot's own sorter does not leave them so (Pinot 1.5.1, PinotSegmentSorter).

    Args:
        segment: the segment, as Pinot loads it.
        sort_by: the columns, of single values.
        become: a segment in which these columns have the data types and default values by which to sort; by default
            their own.

    Returns:
        An `int[]`: the row at place n is the row `order[n]` of the segment.

    Raises:
        VerificationError: the segment has no such column.
    """
    keys = {}
    for name in sort_by:
        source = segment.getDataSource(name) if segment.getPhysicalColumnNames().contains(name) else None
        if source is None or source.getForwardIndex() is None:
            raise VerificationError(
                f"the rows are sorted by {name!r}, which the original does not hold: make this change in two steps, "
                "the sort column last"
            )
        keys[name] = _keys(name, source, (become or segment).getDataSource(name))
    return to_java(pc.sort_indices(pa.table(keys), sort_keys=[(name, "ascending") for name in sort_by]))


def is_sorted(segment: Any, column: str) -> bool:
    """Whether a column's values ascend from row to row."""
    source = segment.getDataSource(column)
    keys = _keys(column, source, source)
    return pc.all(pc.less_equal(keys[:-1], keys[1:])).as_py() is not False


def _keys(name: str, source: Any, becomes: Any) -> pa.Array:
    """What sorts as the column's values do in the data type that they become."""
    was, now = source.getDataSourceMetadata(), becomes.getDataSourceMetadata()
    nulls, spec = source.getNullValueVector(), now.getFieldSpec()
    same_nulls = nulls is None or str(spec.getDefaultNullValueString()) == str(
        was.getFieldSpec().getDefaultNullValueString()
    )
    data_type = str(now.getDataType())
    kind = str(now.getDataType().getStoredType())
    with ExitStack() as stack:
        values = stack.enter_context(row_values(name, source))
        if str(was.getDataType()) == data_type and same_nulls and values.dictionary is not None:
            return to_arrow("DICT_ID", read_all(values, "DICT_ID", values.rows))  # dictionaries are sorted
        kind = {"BIG_DECIMAL": "STRING", "BYTES": "STRING"}.get(kind, kind)
        found = read_all(values, kind, values.rows)
    if not same_nulls:
        found = _with_default(kind, found, nulls.getNullBitmap().toArray(), spec)
    if kind != "STRING":
        return to_arrow(kind, found)
    return _ranks(mapped(found, number_form()) if data_type == "BIG_DECIMAL" else found)


def _with_default(kind: str, values: Any, nulls: Any, spec: Any) -> Any:
    """The values, with the default where they were null."""
    default = new_array(kind, 1)
    default[0] = spec.getDefaultNullValueString() if kind == "STRING" else spec.getDefaultNullValue()
    count = len(values)
    both = java("java.lang.reflect.Array").newInstance(values.getClass(), 2)
    both[0], both[1] = values, default
    rows = to_arrow("INT", row_numbers(0, count))
    at = pc.if_else(pc.is_in(rows, value_set=to_arrow("INT", nulls)), pa.scalar(count, pa.int32()), rows)
    return pick(kind, joined(kind, both), to_java(at))


def _ranks(values: Any) -> pa.Array:
    """The place of each value among all different ones, in their natural order."""
    arrays, objects = java("java.util.Arrays"), java("java.lang.Object").class_
    different = arrays.stream(values).distinct().sorted().toArray()
    number, array = java("java.lang.Integer").TYPE, java("[Ljava.lang.Object;").class_
    search = lookup().findStatic(arrays.class_, "binarySearch", method_type(number, array, objects)).bindTo(different)
    return to_arrow("INT", arrays.stream(values).mapToInt(function("ToIntFunction", search)).toArray())
