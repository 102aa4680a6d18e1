"""The values of a segment's columns, compared between two folders of the segment.

Read in bulk by the reader of Pinot's query engine (pinot-core, DataFetcher) into Java arrays and compared there: no
value crosses into Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jpype

from deep_store_sync.errors import VerificationError
from deep_store_sync.jvm.engine import SegmentEngine
from deep_store_sync.segment.segment_files import files_dir
from deep_store_sync.segment.verify import Rewrite

# Pinot's stored types, and the element type of an array of them.
_ELEMENT = {
    "INT": jpype.JInt,
    "LONG": jpype.JLong,
    "FLOAT": jpype.JFloat,
    "DOUBLE": jpype.JDouble,
    "STRING": "java.lang.String",
    "BIG_DECIMAL": "java.math.BigDecimal",
    "BYTES": jpype.JByte,
    "MAP": "java.util.Map",
}
_FETCH = {
    "INT": "fetchIntValues",
    "LONG": "fetchLongValues",
    "FLOAT": "fetchFloatValues",
    "DOUBLE": "fetchDoubleValues",
    "STRING": "fetchStringValues",
    "BIG_DECIMAL": "fetchBigDecimalValues",
    "BYTES": "fetchBytesValues",
    "MAP": "fetchMapValues",
}


def compare_values(engine: SegmentEngine, before: Path, after: Path, columns: tuple[str, ...]) -> dict[str, Rewrite]:
    """Compare the values of columns, in the order of the rows, multi-values included.

    Args:
        engine: the JVM.
        before: the original segment's folder. Neither folder is changed.
        after: the rebuilt one's.
        columns: columns that have a forward index in both.

    Raises:
        VerificationError: Pinot cannot read one of them.
    """
    with engine.java(VerificationError, "Pinot cannot read the rebuilt columns back"), ExitStack() as stack:
        old = stack.enter_context(_segment(engine, before))
        new = stack.enter_context(_segment(engine, after))
        return {column: _compare(column, old.getDataSource(column), new.getDataSource(column)) for column in columns}


@contextmanager
def _segment(engine: SegmentEngine, segment_dir: Path) -> Iterator[Any]:
    """A segment as Pinot loads it, over links: loading would add files of its own beside a text index."""
    with TemporaryDirectory(dir=segment_dir.parent, prefix="values-") as folder:
        view = Path(folder) / "segment"  # not just any name: Pinot takes a folder that ends in v3 for the inner one
        (view / "v3").mkdir(parents=True)
        for path in files_dir(segment_dir).iterdir():
            if path.is_file():
                (view / "v3" / path.name).symlink_to(path.absolute())
        loader = jpype.JClass("org.apache.pinot.segment.local.indexsegment.immutable.ImmutableSegmentLoader")
        read_mode = jpype.JClass("org.apache.pinot.spi.utils.ReadMode")
        segment = loader.load(engine.file(view), read_mode.mmap)
        try:
            yield segment
        finally:
            segment.destroy()


def _compare(column: str, old: Any, new: Any) -> Rewrite:
    encodings = _encoding(old), _encoding(new)
    rows = int(old.getDataSourceMetadata().getNumDocs())
    if (found := int(new.getDataSourceMetadata().getNumDocs())) != rows:
        return Rewrite(*encodings, f"it had {rows} rows and has {found}")
    kinds = _kind(old), _kind(new)
    if kinds[0] != kinds[1]:
        return Rewrite(*encodings, f"it held {kinds[0][0]} and holds {kinds[1][0]}")
    kind, single_value = kinds[0]
    if kind not in _ELEMENT:
        return Rewrite(*encodings, f"values of type {kind} cannot be compared, so they cannot be shown to be the same")
    return Rewrite(*encodings, _difference(column, old, new, rows, kind, single_value))


def _difference(column: str, old: Any, new: Any, rows: int, kind: str, single_value: bool) -> str | None:
    at_once = int(jpype.JClass("org.apache.pinot.core.plan.DocIdSetPlanNode").MAX_DOC_PER_CALL)
    int_stream = jpype.JClass("java.util.stream.IntStream")
    arrays = jpype.JClass("java.util.Arrays")
    array_of = jpype.JArray(_ELEMENT[kind], (1 if single_value else 2) + (kind == "BYTES"))
    with _fetcher(column, old) as fetch_old, _fetcher(column, new) as fetch_new:
        for start in range(0, rows, at_once):
            count = min(at_once, rows - start)
            rows_at_once = int_stream.range(start, start + count).toArray()
            was, now = array_of(count), array_of(count)
            getattr(fetch_old, _FETCH[kind])(column, rows_at_once, count, was)
            getattr(fetch_new, _FETCH[kind])(column, rows_at_once, count, now)
            nested = not single_value or kind == "BYTES"
            if not (arrays.deepEquals(was, now) if nested else arrays.equals(was, now)):
                row = next(i for i in range(count) if not arrays.deepEquals([was[i]], [now[i]]))
                return f"the value in row {start + row} was changed"
    return None


@contextmanager
def _fetcher(column: str, source: Any) -> Iterator[Any]:
    fetcher_class = jpype.JClass("org.apache.pinot.core.common.DataFetcher")
    sources: Mapping[str, Any] = {column: source}
    try:
        fetcher = fetcher_class(sources, {})
    except TypeError:  # before 1.5 without query options
        fetcher = fetcher_class(sources)
    try:
        yield fetcher
    finally:
        fetcher.close()


def _kind(source: Any) -> tuple[str, bool]:
    """Pinot's stored type of a column's values, and whether a row has a single one."""
    reader, dictionary = source.getForwardIndex(), source.getDictionary()
    stored = reader.getStoredType() if dictionary is None else dictionary.getValueType()
    return str(stored), bool(reader.isSingleValue())


def _encoding(source: Any) -> str:
    reader = source.getForwardIndex()
    if not reader.isDictionaryEncoded():
        return str(reader.getCompressionType())
    compression = reader.getDictIdCompressionType() if hasattr(reader, "getDictIdCompressionType") else None
    return "dictionary" if compression is None else f"dictionary, {compression}"
