"""The mark on a deep-store object that this product wrote: user metadata that says which push it belongs to.

Object and ZooKeeper cannot change in one step. When a worker dies between the two, the object's CRC is not ZooKeeper's,
and the mark tells the next run whether that is a push of ours to be finished or somebody else's to be left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_RUN = "deep-store-sync-run"
_OLD_CRC = "deep-store-sync-old-crc"
_NEW_CRC = "deep-store-sync-new-crc"
_HASH = "deep-store-sync-hash"


@dataclass(frozen=True, slots=True)
class ObjectMark:
    """`run` wrote the object for `table_hash` where `old_crc` was before. In a quiet publish both CRCs are the same."""

    run: str
    old_crc: int
    new_crc: int
    table_hash: str

    def to_metadata(self) -> dict[str, str]:
        """As S3 user metadata. Values are ASCII, as S3 demands of header values."""
        return {
            _RUN: self.run.encode("ascii", "backslashreplace").decode("ascii"),
            _OLD_CRC: str(self.old_crc),
            _NEW_CRC: str(self.new_crc),
            _HASH: self.table_hash,
        }

    def unfinished(self, *, zookeeper_crc: int, object_crc: int) -> bool:
        """Whether this object is a refresh of ours of which ZooKeeper has not been told."""
        return self.old_crc == zookeeper_crc != object_crc == self.new_crc


def read_mark(metadata: Mapping[str, str]) -> ObjectMark | None:
    """The mark in an object's user metadata, or None when the object is not ours."""
    values = {key.lower(): value for key, value in metadata.items()}
    try:
        return ObjectMark(values[_RUN], int(values[_OLD_CRC]), int(values[_NEW_CRC]), values[_HASH])
    except (KeyError, ValueError):
        return None
