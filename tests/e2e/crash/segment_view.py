"""A segment's archive, read by nothing of the product: whether it is whole, and what is in it."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

_MARKER = 8  # bytes at the start of each buffer in columns.psf
_WIDTHS = {"INT": 4, "LONG": 8}
_DATA = ("dictionary", "forward_index")


class DamagedError(Exception):
    """What is wrong with an archive, in words."""


@dataclass(frozen=True)
class SegmentView:
    """What an archive holds. `columns` are digests of each column's values and of their order, whatever their type."""

    crc: int
    creation_ms: int
    rows: int
    columns: Mapping[str, str]
    types: Mapping[str, str]
    indexes: frozenset[str]
    """`column.index`, but for what holds the values."""


def read_archive(body: bytes, segment: str) -> SegmentView:
    """Read it to its end.

    Raises:
        DamagedError: it is not a whole archive of this segment.
    """
    try:
        unzipped = gzip.decompress(body)  # which holds length and checksum against what came out
        with tarfile.open(fileobj=io.BytesIO(unzipped)) as archive:
            files = {
                member.name: file.read()
                for member in archive
                if member.isfile() and (file := archive.extractfile(member)) is not None
            }
        content = {name.removeprefix(f"{segment}/v3/"): data for name, data in files.items()}
        crc, creation_ms = struct.unpack(">2q", content["creation.meta"][:16])
        properties = _properties(content["metadata.properties"])
        return _view(properties, _properties(content["index_map"]), content["columns.psf"], crc, creation_ms)
    except (OSError, EOFError, zlib.error, tarfile.TarError, KeyError, ValueError, struct.error) as error:
        raise DamagedError(f"no whole archive of {segment}: {type(error).__name__}: {error}") from error


def _view(
    properties: Mapping[str, str], index_map: Mapping[str, str], columns: bytes, crc: int, creation_ms: int
) -> SegmentView:
    buffers: dict[str, dict[str, bytes]] = {}
    for key, start in index_map.items():
        column, index, what = key.rsplit(".", 2)
        if what != "startOffset":
            continue
        size = int(index_map[f"{column}.{index}.size"])
        buffer = columns[int(start) : int(start) + size]
        if len(buffer) != size:
            raise ValueError(f"columns.psf ends within {column}.{index}")
        buffers.setdefault(column, {})[index] = buffer[_MARKER:]
    types = {column: properties[f"column.{column}.dataType"] for column in buffers}
    return SegmentView(
        crc=crc,
        creation_ms=creation_ms,
        rows=int(properties["segment.total.docs"]),
        columns={column: _digest(found, types[column]) for column, found in buffers.items()},
        types=types,
        indexes=frozenset(
            f"{column}.{index}" for column, found in buffers.items() for index in found if index not in _DATA
        ),
    )


def _digest(buffers: Mapping[str, bytes], data_type: str) -> str:
    """Values and their order: whole numbers as such, so that a column of another type has the same digest."""
    dictionary = buffers.get("dictionary", b"")
    width = _WIDTHS.get(data_type)
    if width:
        numbers = struct.unpack(f">{len(dictionary) // width}{'i' if width == 4 else 'q'}", dictionary)
        dictionary = repr(numbers).encode()
    return hashlib.sha256(dictionary + b"|" + buffers["forward_index"]).hexdigest()


def _properties(data: bytes) -> dict[str, str]:
    lines = (line.partition("=") for line in data.decode().splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in lines}
