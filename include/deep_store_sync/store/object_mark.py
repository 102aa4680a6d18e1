"""The mark on a deep-store object that this product wrote: user metadata that says which push it belongs to.

Object and ZooKeeper cannot change in one step. When a worker dies between the two, the object's CRC is not ZooKeeper's,
and the mark tells the next run whether that is a push of ours to be finished or somebody else's to be left alone.

An object that was put back from a backup carries a mark as well, of the push that puts it back, and beside it the mark
that it had when its content was first written: by that one an earlier run knows it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_PREFIX = "deep-store-sync-"
_RUN = _PREFIX + "run"
_OLD_CRC = _PREFIX + "old-crc"
_NEW_CRC = _PREFIX + "new-crc"
_HASH = _PREFIX + "hash"
_PENDING = _PREFIX + "pending"
_FIRST_WRITTEN = _PREFIX + "first-written"
_BY_SOMEBODY_ELSE = "-"

# User metadata of an object may take 2 KB in all.
_MOST_PENDING = 16


@dataclass(frozen=True, slots=True)
class ObjectMark:
    """`run` wrote the object for `table_hash` where `old_crc` was before. In a quiet publish both CRCs are the same.

    `pending` are the CRCs of unfinished pushes of ours whose objects this one was rebuilt from. A run that is taken for
    dead may be slow only, and still tell ZooKeeper of one of them.

    A run id that is not ASCII, which S3 demands of header values, is held with its other characters escaped.
    """

    run: str
    old_crc: int
    new_crc: int
    table_hash: str
    pending: tuple[int, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "run", self.run.encode("ascii", "backslashreplace").decode("ascii"))
        object.__setattr__(self, "pending", tuple(self.pending)[-_MOST_PENDING:])

    def to_metadata(self) -> dict[str, str]:
        """As S3 user metadata."""
        metadata = {
            _RUN: self.run,
            _OLD_CRC: str(self.old_crc),
            _NEW_CRC: str(self.new_crc),
            _HASH: self.table_hash,
        }
        return metadata | ({_PENDING: " ".join(map(str, self.pending))} if self.pending else {})

    def unfinished(self, *, zookeeper_crc: int, object_crc: int) -> bool:
        """Whether this object is a refresh of ours of which ZooKeeper has not been told."""
        return zookeeper_crc in (self.old_crc, *self.pending) and zookeeper_crc != object_crc == self.new_crc


def read_mark(metadata: Mapping[str, str]) -> ObjectMark | None:
    """The mark in an object's user metadata, or None when the object is not ours."""
    values = {key.lower(): value for key, value in metadata.items()}
    try:
        pending = tuple(map(int, values.get(_PENDING, "").split()))
        return ObjectMark(values[_RUN], int(values[_OLD_CRC]), int(values[_NEW_CRC]), values[_HASH], pending)
    except (KeyError, ValueError):
        return None


def first_written(metadata: Mapping[str, str]) -> ObjectMark | None:
    """The mark that the object's content was first written with, or None when somebody else wrote it."""
    values = {key.lower(): value for key, value in metadata.items()}
    if _FIRST_WRITTEN not in values:
        return read_mark(metadata)
    try:
        old_crc, new_crc, table_hash, run = values[_FIRST_WRITTEN].split(" ", 3)
        return ObjectMark(run, int(old_crc), int(new_crc), table_hash)
    except ValueError:
        return None


def unmarked(metadata: Mapping[str, str]) -> dict[str, str]:
    """User metadata without what this product put there."""
    return {key: value for key, value in metadata.items() if not key.lower().startswith(_PREFIX)}


def put_back_metadata(original: Mapping[str, str], mark: ObjectMark) -> dict[str, str]:
    """The user metadata of an object that had the `original` one and is put back by the push of `mark`."""
    first = first_written(original)
    text = f"{first.old_crc} {first.new_crc} {first.table_hash} {first.run}" if first else _BY_SOMEBODY_ELSE
    return {**unmarked(original), **mark.to_metadata(), _FIRST_WRITTEN: text}
