"""What cannot be asked of Pinot: how a segment's buffers are written, read from their first bytes.

Each gives a function for a case to look at a segment's folder, or to change its archive, with.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

from deep_store_sync.segment.segment_files import (
    COLUMNS_FILE,
    METADATA_PROPERTIES,
    files_dir,
    read_index_map,
    read_layout,
)

_MARKER = 8  # bytes before each buffer, the same for all

Check = Callable[[Path], None]


def forward_index_version(column: str, version: int) -> Check:
    """Of a raw column."""
    return _begins(column, "forward_index", version.to_bytes(4, "big"))


def range_index_version(column: str, version: int) -> Check:
    return _begins(column, "range_index", version.to_bytes(4, "big"))


def dictionary_of_variable_length(column: str) -> Check:
    return _begins(column, "dictionary", b".vl;")


def has_min_max(column: str) -> Check:
    def check(segment: Path) -> None:
        assert {"minValue", "maxValue"} <= read_layout(segment).columns[column].properties.keys()

    return check


def archive_without_min_max(column: str) -> Check:
    """Of a Pinot that did not write a column's least and greatest value yet."""
    dropped = tuple(f"column.{column}.{key}Value" for key in ("min", "max"))

    def change(archive: Path) -> None:
        members = []
        with tarfile.open(archive) as old:
            for member in old:
                file = old.extractfile(member)
                data = file.read() if file else b""
                if member.name.endswith(METADATA_PROPERTIES):
                    lines = data.decode().splitlines(keepends=True)
                    data = "".join(line for line in lines if not line.startswith(dropped)).encode()
                member.size = len(data)
                members.append((member, data))
        with tarfile.open(archive, "w:gz") as new:
            for member, data in members:
                new.addfile(member, io.BytesIO(data))

    return change


def _begins(column: str, index: str, head: bytes) -> Check:
    def check(segment: Path) -> None:
        at = read_index_map(segment)[column, index]
        with (files_dir(segment) / COLUMNS_FILE).open("rb") as columns:
            columns.seek(at.offset + _MARKER)
            assert columns.read(len(head)) == head

    return check
