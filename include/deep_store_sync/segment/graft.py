"""A segment's folder copied with some of its columns left out, or taken from another folder.

In format v3 everything of a column stands on its own: its buffers in `columns.psf`, its entries in `index_map` and
`metadata.properties`, and files beside them whose names begin with the column's. So a change of one column costs that
column, and every other byte of the segment is copied as it is. `metadata.properties` is left to whoever calls
(`deep_store_sync.jvm.graft_metadata`). Pinot 1.5.1: SingleFileIndexDirectory.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from deep_store_sync.checkpoint import checkpoint
from deep_store_sync.errors import SegmentError
from deep_store_sync.segment.segment_files import (
    COLUMNS_FILE,
    CREATION_META,
    INDEX_MAP,
    METADATA_PROPERTIES,
    files_dir,
    parse_properties,
    read_index_map,
    read_layout,
)

_CHUNK = 1 << 20

# Files of the indexes over several columns, by how their names begin.
STAR_TREES = "star_tree_index"
TEXT_OVER_COLUMNS = "multi_col_text_idx."


@dataclass(frozen=True, slots=True)
class Graft:
    """What of a segment does not stay.

    `columns` come from the other folder, `left_out` from nowhere. `spanning` are beginnings of the names of files that
    hold an index over several columns.
    """

    columns: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()
    spanning: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Buffer:
    """A buffer of `columns.psf`, and the beginning of its keys in `index_map`, escaped as Pinot wrote them."""

    column: str
    key: bytes
    offset: int
    size: int


def copy_grafted(original: Path, columns_from: Path | None, target: Path, graft: Graft) -> None:
    """Write `target`, a segment's folder, from `original` and, for the columns of the graft, `columns_from`.

    Its `metadata.properties` is the original's, and does not fit yet. Neither source is changed.

    Raises:
        SegmentError: a source is damaged, or not in format v3.
    """
    names = frozenset(read_layout(original).columns) | graft.columns
    gone = graft.columns | graft.left_out
    folder = target / "v3"
    folder.mkdir(parents=True)
    buffers = [(original, [buffer for buffer in _buffers(original) if buffer.column not in gone])]
    if columns_from is not None:
        buffers.append((columns_from, [buffer for buffer in _buffers(columns_from) if buffer.column in graft.columns]))
    _write_columns(buffers, folder)
    for path in _files_beside(original):
        if owner(path.name, names, ".") not in gone and not path.name.startswith(graft.spanning):
            _copy(path, folder)
    if columns_from is not None:
        for path in _files_beside(columns_from):
            if owner(path.name, names, ".") in graft.columns:
                _copy(path, folder)
    for name in (METADATA_PROPERTIES, CREATION_META):
        shutil.copyfile(files_dir(original) / name, folder / name)


def owner(text: str, columns: Collection[str], *separators: str) -> str | None:
    """The column that a file's name or a key begins with. Names of columns may hold dots: the longest is meant."""
    fitting = [name for name in columns if any(text.startswith(name + separator) for separator in separators)]
    return max(fitting, key=len, default=None)


def _buffers(segment_dir: Path) -> list[_Buffer]:
    """The buffers in the order in which they lie."""
    places = read_index_map(segment_dir)
    keys: dict[tuple[str, str], bytes] = {}
    for line in (files_dir(segment_dir) / INDEX_MAP).read_bytes().splitlines():
        for column, index in _places_named(line):
            keys[column, index] = line.rpartition(b"=")[0].rstrip().rpartition(b".")[0]
    found = [_Buffer(place[0], keys[place], at.offset, at.size) for place, at in places.items()]
    return sorted(found, key=lambda buffer: buffer.offset)


def _places_named(line: bytes) -> Iterator[tuple[str, str]]:
    for key in parse_properties(line):
        column, index, _ = key.rsplit(".", 2)
        yield column, index


def _write_columns(sources: list[tuple[Path, list[_Buffer]]], folder: Path) -> None:
    """Write `columns.psf` and `index_map`."""
    entries = []
    with (folder / COLUMNS_FILE).open("wb") as target:
        for segment_dir, buffers in sources:
            with (files_dir(segment_dir) / COLUMNS_FILE).open("rb") as source:
                for buffer in buffers:
                    # A buffer without a byte is a forward index that is kept elsewhere: it stays without one.
                    entries.append(b"%s.startOffset = %d\n%s.size = %d\n" %
                                   (buffer.key, target.tell(), buffer.key, buffer.size))  # fmt: skip
                    _copy_range(source, buffer, target)
    (folder / INDEX_MAP).write_bytes(b"".join(entries))


def _copy_range(source: BinaryIO, buffer: _Buffer, target: BinaryIO) -> None:
    source.seek(buffer.offset)
    left = buffer.size
    while left:
        data = source.read(min(left, _CHUNK))
        if not data:
            raise SegmentError(f"{COLUMNS_FILE} ended in the middle of column {buffer.column!r}: it was cut off")
        checkpoint()
        target.write(data)
        left -= len(data)


def _files_beside(segment_dir: Path) -> list[Path]:
    own = (COLUMNS_FILE, INDEX_MAP, METADATA_PROPERTIES, CREATION_META)
    return sorted(path for path in files_dir(segment_dir).iterdir() if path.name not in own)


def _copy(path: Path, folder: Path) -> None:
    if path.is_dir():
        shutil.copytree(path, folder / path.name)
    else:
        shutil.copyfile(path, folder / path.name)
