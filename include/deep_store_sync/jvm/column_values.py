"""A column's values, read in bulk by the reader of Pinot's query engine (pinot-core, DataFetcher)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from deep_store_sync.jvm.bulk import java, joined, new_array, pick, row_numbers
from deep_store_sync.jvm.engine import SegmentEngine

_READ = {
    "DICT_ID": "DictIds",
    "INT": "IntValues",
    "LONG": "LongValues",
    "FLOAT": "FloatValues",
    "DOUBLE": "DoubleValues",
    "STRING": "StringValues",
    "BIG_DECIMAL": "BigDecimalValues",
    "BYTES": "BytesValues",
    "MAP": "MapValues",
}


def rows_at_once() -> int:
    """How many rows a DataFetcher reads in a call."""
    return int(java("org.apache.pinot.core.plan.DocIdSetPlanNode").MAX_DOC_PER_CALL)


class Values(Protocol):
    """Values by their places: those of rows, or the entries of a dictionary."""

    @property
    def single(self) -> bool:
        """Whether each place has a single value; else it has an array of them."""

    def read(self, kind: str, at: Any) -> Any:
        """The values at the places in an `int[]`, ascending ones, `rows_at_once` of them at most.

        They are read as a kind: numbers as numbers of another type as Java casts them, and anything but MAP as STRING.
        """


class RowValues:
    """The values of a column's rows."""

    def __init__(self, column: str, source: Any, fetcher: Any) -> None:
        self._fetcher = fetcher
        reader = source.getForwardIndex()
        self.column = column
        self.rows = int(source.getDataSourceMetadata().getNumDocs())
        self.single = bool(reader.isSingleValue())
        self.dictionary = source.getDictionary()
        sorted_index = java("org.apache.pinot.segment.spi.index.reader.SortedIndexReader")
        self.sorted_index = reader if isinstance(reader, sorted_index) else None
        self.stored_type = str(reader.getStoredType() if self.dictionary is None else self.dictionary.getValueType())

    def read(self, kind: str, at: Any) -> Any:
        """As `Values.read`."""
        found = new_array(kind, len(at), nested=not self.single)
        getattr(self._fetcher, f"fetch{_READ[kind]}")(self.column, at, len(at), found)
        return found


class Entries:
    """The entries of a dictionary, by their ids."""

    single = True

    def __init__(self, dictionary: Any) -> None:
        self._dictionary = dictionary

    def read(self, kind: str, at: Any) -> Any:
        """As `Values.read`."""
        found = new_array(kind, len(at))
        getattr(self._dictionary, f"read{_READ[kind]}")(at, len(at), found)
        return found


class Reordered:
    """Values of rows in another order.

    Pinot reads rows in ascending order only, so all values are taken into the heap, once a kind.
    """

    def __init__(self, values: RowValues, order: Any) -> None:
        """The row at place n is the row `order[n]` of `values`."""
        self._values = values
        self._order = order
        self._all: dict[str, Any] = {}
        self.single = values.single

    def read(self, kind: str, at: Any) -> Any:
        """As `Values.read`."""
        nested = not self.single
        if kind not in self._all:
            found = read_all(self._values, kind, self._values.rows)
            self._all[kind] = pick(kind, found, self._order, nested=nested)
        first, last = (int(at[0]), int(at[-1])) if len(at) else (0, -1)
        if last - first + 1 == len(at):
            return java("java.util.Arrays").copyOfRange(self._all[kind], first, last + 1)
        return pick(kind, self._all[kind], at, nested=nested)


def read_all(values: Values, kind: str, count: int) -> Any:
    """The values at all places, in their order."""
    found = [values.read(kind, at) for at in chunks(count)]
    nested = not values.single
    arrays = java("java.lang.reflect.Array").newInstance(new_array(kind, 0, nested=nested).getClass(), len(found))
    for number, part in enumerate(found):
        arrays[number] = part
    return joined(kind, arrays, nested=nested)


def chunks(count: int) -> Iterator[Any]:
    """All places, each time as many as are read at once."""
    at_once = rows_at_once()
    for start in range(0, count, at_once):
        yield row_numbers(start, min(start + at_once, count))


def parts(at: Any) -> Iterator[Any]:
    """The places in an `int[]`, each time as many as are read at once."""
    at_once = rows_at_once()
    for start in range(0, len(at), at_once):
        yield java("java.util.Arrays").copyOfRange(at, start, min(start + at_once, len(at)))


@contextmanager
def open_segment(engine: SegmentEngine, segment_dir: Path) -> Iterator[Any]:
    """A segment as Pinot loads it."""
    loader = java("org.apache.pinot.segment.local.indexsegment.immutable.ImmutableSegmentLoader")
    segment = loader.load(engine.file(segment_dir), java("org.apache.pinot.spi.utils.ReadMode").mmap)
    try:
        yield segment
    finally:
        segment.destroy()


@contextmanager
def row_values(column: str, source: Any) -> Iterator[RowValues]:
    """The values of a column, of which `source` is Pinot's DataSource."""
    fetcher_class = java("org.apache.pinot.core.common.DataFetcher")
    sources: Mapping[str, Any] = {column: source}
    try:
        fetcher = fetcher_class(sources, {})
    except TypeError:  # before 1.5 without query options
        fetcher = fetcher_class(sources)
    try:
        yield RowValues(column, source, fetcher)
    finally:
        if hasattr(fetcher, "close"):  # since 1.4
            fetcher.close()


def encoding(source: Any) -> str:
    """How a column is stored, such as `SNAPPY` or `dictionary`."""
    reader = source.getForwardIndex()
    if not reader.isDictionaryEncoded():
        return str(reader.getCompressionType())
    compression = reader.getDictIdCompressionType() if hasattr(reader, "getDictIdCompressionType") else None
    return "dictionary" if compression is None else f"dictionary, {compression}"
