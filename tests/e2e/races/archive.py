"""A segment's archive read in plain Python, without the product and without Pinot: its rows, and what it is made of.

It knows what the key columns of the races are encoded as: INT with a dictionary. Pinot 1.5.1: SingleFileIndexDirectory
(a marker of 8 bytes before each buffer), IntDictionary, SortedIndexReaderImpl, FixedBitSVForwardIndexReaderV2.
"""

from __future__ import annotations

import io
import struct
import tarfile
from dataclasses import dataclass

from tests.e2e.races.table import KEYS, Layout, Row

_MARKER = 8


@dataclass(frozen=True, slots=True)
class Held:
    """What an archive holds. `rows` are by id; `crc` is the one in its `creation.meta`."""

    segment: str
    crc: int
    rows: tuple[Row, ...]
    layout: Layout


def read_archive(body: bytes) -> Held:
    """Read a gzipped tar. Whatever is wrong with it is an exception."""
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        files = {
            member.name.rpartition("/")[2]: archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive
            if member.isfile()
        }
    properties = _properties(files["metadata.properties"])
    ranges = _properties(files["index_map"])
    columns = frozenset(key.split(".")[1] for key in properties if key.startswith("column."))
    buffers = frozenset(key.removesuffix(".startOffset") for key in ranges if key.endswith(".startOffset"))
    count = int(properties["segment.total.docs"])

    def values(column: str) -> list[int]:
        def buffer(index: str) -> bytes:
            start = int(ranges[f"{column}.{index}.startOffset"])
            return files["columns.psf"][start + _MARKER : start + int(ranges[f"{column}.{index}.size"])]

        words = buffer("dictionary")
        dictionary = struct.unpack(f">{len(words) // 4}i", words)
        if properties[f"column.{column}.isSorted"] == "true":
            ids = _sorted_ids(buffer("forward_index"))
        else:
            ids = _packed_ids(buffer("forward_index"), count, int(properties[f"column.{column}.bitsPerElement"]))
        if len(ids) != count:
            raise ValueError(f"{column} has {len(ids)} values and the segment {count} rows")
        return [dictionary[number] for number in ids]

    return Held(
        segment=properties["segment.name"],
        crc=struct.unpack(">q", files["creation.meta"][:8])[0],
        rows=tuple(sorted(zip(*(values(column) for column in KEYS), strict=True))),
        layout=Layout.found(columns, buffers),
    )


def _sorted_ids(buffer: bytes) -> list[int]:
    """First and last row of each dictionary id."""
    bounds = struct.iter_unpack(">2i", buffer)
    return [number for number, (first, last) in enumerate(bounds) for _ in range(first, last + 1)]


def _packed_ids(buffer: bytes, count: int, bits: int) -> list[int]:
    """The highest bit first, without gaps."""
    whole, mask = int.from_bytes(buffer, "big"), (1 << bits) - 1
    size = 8 * len(buffer)
    return [(whole >> (size - (row + 1) * bits)) & mask for row in range(count)]


def _properties(data: bytes) -> dict[str, str]:
    lines = (line.partition("=") for line in data.decode().splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in lines}
