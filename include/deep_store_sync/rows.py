"""Frozen rows as Parquet, and back.

The columns of a file are the fields of the dataclass. A column that a newer version added reads as the field's default;
one that this version does not know is ignored.
"""

from __future__ import annotations

import io
import types
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from enum import Enum
from itertools import islice
from typing import Any, BinaryIO, TypeVar, Union, get_args, get_origin, get_type_hints, overload

import pyarrow as pa
import pyarrow.parquet as pq

from deep_store_sync.errors import DeepStoreSyncError

Row = TypeVar("Row")

_ARROW_TYPES: Mapping[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
}


class ArrowRows(Sequence[Row]):
    """Rows that are kept in columns: a row is made when it is asked for, and nobody keeps it."""

    def __init__(self, row_type: type[Row]) -> None:
        self.row_type = row_type

    @abstractmethod
    def record_batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in columns, a group after the other."""

    def __iter__(self) -> Iterator[Row]:
        for batch in self.record_batches():
            yield from rows_of(batch, self.row_type)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        places = range(len(self))[index]
        if isinstance(places, range):
            return list(self)[index]
        return next(islice(self, places, None))


def arrow_schema(row_type: type[Any], metadata: Mapping[str, str] | None = None) -> pa.Schema:
    """The columns of a dataclass' rows."""
    hints = get_type_hints(row_type)
    columns = [pa.field(field.name, _arrow_type(hints[field.name])) for field in fields(row_type)]
    return pa.schema(columns, metadata=dict(metadata or {}))


def record_batch(rows: Iterable[Row], row_type: type[Row]) -> pa.RecordBatch:
    """Rows of one dataclass in columns."""
    schema, rows = arrow_schema(row_type), list(rows)
    columns = [pa.array([_plain(getattr(row, name)) for row in rows], schema.field(name).type) for name in schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def rows_of(columns: pa.RecordBatch | pa.Table, row_type: type[Row]) -> list[Row]:
    """Rows out of columns."""
    hints = get_type_hints(row_type)
    known = [field.name for field in fields(row_type) if field.name in columns.schema.names]  # type: ignore[arg-type]
    values = [[_typed(value, hints[name]) for value in columns.column(name).to_pylist()] for name in known]
    return [row_type(**dict(zip(known, row, strict=True))) for row in zip(*values, strict=True)]


def write_parquet(
    target: BinaryIO,
    batches: Iterable[pa.RecordBatch],
    row_type: type[Any],
    metadata: Mapping[str, str] | None = None,
    *,
    closing: Callable[[], Mapping[str, str]] = dict,
) -> None:
    """Columns as a Parquet file, a row group for each batch, with `metadata` in the file's key-value metadata.

    `closing` is asked for more of it once the last batch is written.
    """
    schema = arrow_schema(row_type, metadata)
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch.replace_schema_metadata(schema.metadata), row_group_size=max(len(batch), 1))
        writer.add_key_value_metadata(dict(closing()))


def to_parquet(rows: Iterable[Row], row_type: type[Row], metadata: Mapping[str, str] | None = None) -> bytes:
    """Rows of one dataclass as a Parquet file, with `metadata` in the file's key-value metadata."""
    buffer = io.BytesIO()
    write_parquet(buffer, [record_batch(rows, row_type)], row_type, metadata)
    return buffer.getvalue()


def from_parquet(data: bytes, row_type: type[Row]) -> tuple[list[Row], dict[str, str]]:
    """The rows of a Parquet file and its key-value metadata.

    Raises:
        DeepStoreSyncError: the bytes are no Parquet file.
    """
    file = parquet_file(io.BytesIO(data), row_type)
    return rows_of(file.read(use_threads=False), row_type), file_metadata(file)


def parquet_file(source: BinaryIO, row_type: type[Any]) -> pq.ParquetFile:
    """A Parquet file to read from. Read it without threads.

    A process that ends soon after a read by threads of pyarrow 26 is aborted ("terminate called without an active
    exception").

    Raises:
        DeepStoreSyncError: it is none.
    """
    try:
        return pq.ParquetFile(source, pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise DeepStoreSyncError(f"expected a Parquet file of {row_type.__name__} rows: {error}") from error


def file_metadata(file: pq.ParquetFile) -> dict[str, str]:
    """A file's key-value metadata."""
    of = {**(file.metadata.metadata or {}), **(file.schema_arrow.metadata or {})}
    return {key.decode(): value.decode() for key, value in of.items() if key != b"ARROW:schema"}


def groups_with(file: pq.ParquetFile, name: str, value: str) -> list[int]:
    """The row groups that may have rows with this value in a column, by what the file says of each group."""
    (index,) = [index for index in range(file.metadata.num_columns) if file.schema.column(index).path == name]
    found = []
    for group in range(file.num_row_groups):
        known = file.metadata.row_group(group).column(index).statistics
        if known is None or (known.has_min_max and known.min <= value <= known.max):
            found.append(group)
    return found


def group_range(file: pq.ParquetFile, group: int) -> tuple[int, int]:
    """Where the bytes of a row group begin, and how many there are."""
    of = file.metadata.row_group(group)
    columns = [of.column(index) for index in range(of.num_columns)]
    start = min(column.dictionary_page_offset or column.data_page_offset for column in columns)
    return start, sum(column.total_compressed_size for column in columns)


def _optional(hint: Any) -> Any:
    """The type inside `X | None`, or the type itself."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(member for member in get_args(hint) if member is not type(None))
    return hint


def _arrow_type(hint: Any) -> pa.DataType:
    hint = _optional(hint)
    if get_origin(hint) is tuple:
        return pa.list_(_arrow_type(get_args(hint)[0]))
    if issubclass(hint, Enum):
        return pa.string()
    return _ARROW_TYPES[hint]


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(member) for member in value]
    return value


def _typed(value: Any, hint: Any) -> Any:
    if value is None:
        return None
    hint = _optional(hint)
    if get_origin(hint) is tuple:
        return tuple(value)
    if issubclass(hint, Enum):
        return hint(value)
    return value
