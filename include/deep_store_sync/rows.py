"""Frozen rows as Parquet, and back.

The columns of a file are the fields of the dataclass. A column that a newer version added reads as the field's default;
one that this version does not know is ignored.
"""

from __future__ import annotations

import io
import types
from collections.abc import Iterable, Mapping
from dataclasses import fields
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

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


def to_parquet(rows: Iterable[Row], row_type: type[Row], metadata: Mapping[str, str] | None = None) -> bytes:
    """Rows of one dataclass as a Parquet file, with `metadata` in the file's key-value metadata."""
    hints = get_type_hints(row_type)
    names = [field.name for field in fields(row_type)]  # type: ignore[arg-type]
    schema = pa.schema([pa.field(name, _arrow_type(hints[name])) for name in names], metadata=dict(metadata or {}))
    rows = list(rows)
    columns = [pa.array([_plain(getattr(row, name)) for row in rows], schema.field(name).type) for name in names]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(data: bytes, row_type: type[Row]) -> tuple[list[Row], dict[str, str]]:
    """The rows of a Parquet file and its key-value metadata.

    Raises:
        DeepStoreSyncError: the bytes are no Parquet file.
    """
    try:
        # Without threads: the files are small, and a process that ends soon after a read by threads of pyarrow 26 is
        # aborted ("terminate called without an active exception").
        table = pq.ParquetFile(io.BytesIO(data), pre_buffer=False).read(use_threads=False)
    except pa.ArrowInvalid as error:
        raise DeepStoreSyncError(f"expected a Parquet file of {row_type.__name__} rows: {error}") from error
    hints = get_type_hints(row_type)
    known = [field.name for field in fields(row_type) if field.name in table.column_names]  # type: ignore[arg-type]
    columns = [[_typed(value, hints[name]) for value in table.column(name).to_pylist()] for name in known]
    rows = [row_type(**dict(zip(known, values, strict=True))) for values in zip(*columns, strict=True)]
    return rows, {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}


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
