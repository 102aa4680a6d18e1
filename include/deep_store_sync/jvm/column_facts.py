"""What else a segment says about a column's values, held against the values: servers go by it, too."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.jvm.bulk import function, java, joined, lookup, mapped, method_type, to_arrow
from deep_store_sync.jvm.column_values import Entries, RowValues, Values, chunks, row_values

_PAIR = "org.apache.pinot.spi.utils.Pairs$IntPair"
# As what numbers are read to be ordered.
_AS = {"INT": "LONG", "LONG": "LONG", "FLOAT": "DOUBLE", "DOUBLE": "DOUBLE"}


def wrong_fact(values: RowValues, before: Any, after: Any, *, redefined: bool) -> str | None:
    """What is said of a column and is not so.

    Which rows of a sorted column hold which value, its partitions, its smallest and largest value, and the segment's
    time range where it becomes the time column.

    Args:
        values: the rebuilt column's.
        before: the original segment's metadata.
        after: the rebuilt one's.
        redefined: whether the column's definition was changed; else only the first two are looked at.
    """
    metadata = after.getColumnMetadataFor(values.column)
    if values.sorted_index is not None and not _in_runs(values):
        return "the rows of its values, which are sorted, do not follow one another"
    if metadata.getPartitionFunction() is not None and (wrong := _wrong_partitions(values, before, metadata)):
        return wrong
    becomes_time = values.column == str(after.getTimeColumn()) and values.column != str(before.getTimeColumn())
    if not redefined and not becomes_time:
        return None
    if values.dictionary is not None and int(metadata.getCardinality()) != int(values.dictionary.length()):
        return (
            f"it has {values.dictionary.length()} different values, and its metadata says {metadata.getCardinality()}"
        )
    smallest, largest = _ends(values)
    if smallest is None:
        return None if not becomes_time else "the smallest and the largest time cannot be told"
    for said, found, which in (
        (metadata.getMinValue(), smallest, "smallest"),
        (metadata.getMaxValue(), largest, "largest"),
    ):
        if said is not None and said.compareTo(found) != 0:
            return f"its {which} value is not the one that its metadata says"
    if becomes_time:
        interval, formats = after.getTimeInterval(), metadata.getFieldSpec().getFormatSpec()
        said = int(interval.getStartMillis()), int(interval.getEndMillis())
        real = tuple(int(formats.fromFormatToMillis(end.toString())) for end in (smallest, largest))
        if said != real:
            return f"the segment's time range is {said[0]}–{said[1]} ms, and the new time column's {real[0]}–{real[1]}"
    return None


def _in_runs(values: RowValues) -> bool:
    """Whether the first row of each value comes after the last one of the value before.

    A sorted forward index holds a pair of rows for each value. Reading it by rows does not need both.
    """
    reader, pair = java("org.apache.pinot.segment.spi.index.reader.InvertedIndexReader"), java(_PAIR).class_
    objects, number = java("java.lang.Object").class_, java("java.lang.Integer").TYPE
    pairs = lookup().findVirtual(reader.class_, "getDocIds", method_type(objects, number)).bindTo(values.sorted_index)
    ids = java("java.util.stream.IntStream").range(0, int(values.dictionary.length()))
    found = ids.mapToObj(function("IntFunction", pairs)).toArray()
    ends = []
    for which in ("getLeft", "getRight"):
        handle = lookup().findVirtual(pair, which, method_type(number)).asType(method_type(number, objects))
        stream = java("java.util.Arrays").stream(found).mapToInt(function("ToIntFunction", handle))
        ends.append(to_arrow("INT", stream.toArray()))
    first, last = ends
    whole = first[0].as_py() == 0 and last[-1].as_py() == values.rows - 1
    gaps = pc.subtract(first[1:], last[:-1])
    return whole and bool(gaps.equals(pa.array([1] * len(gaps), pa.int32())))


def _wrong_partitions(values: RowValues, before: Any, metadata: Any) -> str | None:
    """Brokers leave out segments by the partitions that are named: none of those that hold a row may be missing."""
    partition = metadata.getPartitionFunction()
    spi, number = java("org.apache.pinot.segment.spi.partition.PartitionFunction"), java("java.lang.Integer").TYPE
    handle = lookup().findVirtual(spi.class_, "getPartition", method_type(number, java("java.lang.String").class_))
    objects = java("java.lang.Object").class_
    handle = handle.bindTo(partition).asType(method_type(objects, objects))
    found = java("java.util.TreeSet")()
    every: Values = values if values.dictionary is None else Entries(values.dictionary)
    for at in chunks(values.rows if values.dictionary is None else int(values.dictionary.length())):
        found.addAll(java("java.util.Arrays").asList(mapped(every.read("STRING", at), handle)))
    said = metadata.getPartitions()
    # A consumed segment names its stream's partition, too, even if no row fell into it. Then it is as it was.
    original = before.getColumnMetadataFor(values.column)
    same = original is not None and _partitioning(original) == _partitioning(metadata)
    if said is None or not said.containsAll(found) or not (same or found.containsAll(said)):
        return f"its values are of the partitions {found}, and its metadata says {said}"
    return None


def _partitioning(metadata: Any) -> tuple[str, int] | None:
    function = metadata.getPartitionFunction()
    return None if function is None else (str(function.getName()).lower(), int(function.getNumPartitions()))


def _box(kind: str) -> Any:
    return java("java.lang.Integer" if kind == "INT" else f"java.lang.{kind.capitalize()}")


def _ends(values: RowValues) -> tuple[Any, Any]:
    """The smallest and the largest value, in the type that the metadata has them in."""
    if values.dictionary is not None:
        return values.dictionary.getMinVal(), values.dictionary.getMaxVal()
    kind = values.stored_type
    if kind not in _AS.keys() | {"STRING"} or not values.single:
        return None, None
    arrays = java("java.util.Arrays")
    ends = java("java.util.ArrayList")()
    for at in chunks(values.rows):
        # In Java's order of values, which has a place for NaN and for -0.0, as Pinot's statistics have.
        found = arrays.stream(values.read(_AS.get(kind, kind), at)).sorted().toArray()
        for end in (found[0], found[-1]):
            ends.add(end if kind == "STRING" else _box(_AS[kind]).valueOf(end))
    collections = java("java.util.Collections")
    smallest, largest = collections.min(ends), collections.max(ends)
    if kind == "STRING":
        return smallest, largest
    number = "intValue" if kind == "INT" else f"{kind.lower()}Value"
    return tuple(_box(kind).valueOf(getattr(end, number)()) for end in (smallest, largest))


def same_in_all_rows(source: Any) -> bool:
    """Whether a raw STRING column, of which `source` is Pinot's DataSource, holds one value in all of several rows.

    Of nothing but nulls this is no wonder, and not meant.
    """
    nulls = source.getNullValueVector()
    with row_values(str(source.getDataSourceMetadata().getFieldSpec().getName()), source) as values:
        if values.rows < 2 or (nulls is not None and int(nulls.getNullBitmap().getCardinality()) == values.rows):
            return False
        different = java("java.util.HashSet")()
        for at in chunks(values.rows):
            found = values.read("STRING", at)
            different.addAll(java("java.util.Arrays").asList(found if values.single else joined("STRING", found)))
            if different.size() > 1:
                return False
        return True
