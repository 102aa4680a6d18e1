"""What the buffers of a segment say of themselves in their first bytes, and no metadata does.

Pinot 1.5.1: ForwardIndexReaderFactory, RangeIndexType, VarLengthValueReader.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deep_store_sync.segment.segment_files import COLUMNS_FILE, files_dir, read_index_map

_MARKER_BYTES = 8
_VERSIONED = frozenset(("forward_index", "range_index"))
_VARIABLE_LENGTH = b".vl;"
_TEXTS = re.compile(r"(.+?)\.(lucene\.(v\d+\.)?index|nativetext\.idx)")
_VECTORS = re.compile(r"(.+)\.vector\.(.+\.)?index")
# What begins with another number is in a format that has no such version.
_VERSIONS = range(1, 16)


@dataclass(frozen=True, slots=True)
class BufferFacts:
    """Which buffers there are, by column and index.

    `versions` are those of the formats of range and raw forward indexes; of a forward index over a dictionary the
    number means nothing. `variable_length` are the columns whose dictionary is. `vectors` and `texts` are the columns
    with a vector and with a text index that lies beside the buffers.
    """

    indexes: frozenset[tuple[str, str]] = frozenset()
    versions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    variable_length: frozenset[str] = frozenset()
    vectors: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()

    def has_text_index(self, column: str) -> bool:
        """Whether a column has a text index of its own."""
        return column in self.texts or (column, "text_index") in self.indexes


def read_buffer_facts(segment_dir: Path) -> BufferFacts:
    """Look at each buffer of a segment in format v3.

    Raises:
        SegmentError: the segment is damaged.
    """
    places = read_index_map(segment_dir)
    versions, variable_length = {}, set()
    with (files_dir(segment_dir) / COLUMNS_FILE).open("rb") as columns:
        for (column, index), at in places.items():
            if index not in _VERSIONED and index != "dictionary":
                continue
            columns.seek(at.offset + _MARKER_BYTES)
            head = columns.read(min(4, max(0, at.size - _MARKER_BYTES)))
            if index == "dictionary":
                if head == _VARIABLE_LENGTH:
                    variable_length.add(column)
            elif len(head) == 4 and (version := struct.unpack(">i", head)[0]) in _VERSIONS:
                versions[column, index] = version
    beside = [path.name for path in files_dir(segment_dir).iterdir()]
    vectors, texts = (
        frozenset(match[1] for name in beside if (match := kind.fullmatch(name))) for kind in (_VECTORS, _TEXTS)
    )
    return BufferFacts(frozenset(places), versions, frozenset(variable_length), vectors, texts)
