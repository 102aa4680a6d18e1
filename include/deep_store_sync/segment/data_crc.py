"""The data CRC: the third number of `creation.meta`, over the values of a segment and over nothing else.

A server that holds a segment under another CRC takes it for the same where the data CRCs agree (Pinot 1.5.1,
BaseTableDataManager.hasSameCRC), so a segment whose values changed must not keep its own. Pinot computes it when it
writes a segment, over the files that the buffers lie in before they go into `columns.psf` (CrcUtils.computeDataCrc):
Adler32 of every dictionary and forward index, by file name.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from deep_store_sync.checkpoint import checkpoint
from deep_store_sync.segment.segment_files import COLUMNS_FILE, ColumnLayout, files_dir, read_index_map, read_layout

# What Pinot writes where a column has no forward index: no data CRC.
NO_DATA_CRC = -(1 << 63)

_CHUNK = 1 << 20
_MARKER_BYTES = 8


def compute_data_crc(segment_dir: Path) -> int:
    """The data CRC that Pinot would give the segment, or `NO_DATA_CRC`.

    Raises:
        SegmentError: the segment is damaged.
    """
    columns = read_layout(segment_dir).columns
    places = read_index_map(segment_dir)
    files = {}
    for name, column in columns.items():
        if (forward := places.get((name, "forward_index"))) is None:
            return NO_DATA_CRC
        files[f"{name}{_forward_ending(column)}"] = forward
        if dictionary := places.get((name, "dictionary")):
            files[f"{name}.dict"] = dictionary
    crc = zlib.adler32(b"")
    with (files_dir(segment_dir) / COLUMNS_FILE).open("rb") as source:
        for name in sorted(files, key=lambda name: name.encode("utf-16-be")):  # as Java compares strings
            place = files[name]
            source.seek(place.offset + _MARKER_BYTES)
            left = place.size - _MARKER_BYTES
            while left > 0 and (data := source.read(min(left, _CHUNK))):
                checkpoint()
                crc = zlib.adler32(data, crc)
                left -= len(data)
    return crc


def _forward_ending(column: ColumnLayout) -> str:
    """How Pinot calls the file (V1Constants.Indexes)."""
    if not column.has_dictionary:
        return ".sv.raw.fwd" if column.single_value else ".mv.raw.fwd"
    if not column.single_value:
        return ".mv.fwd"
    return ".sv.sorted.fwd" if column.sorted else ".sv.unsorted.fwd"
