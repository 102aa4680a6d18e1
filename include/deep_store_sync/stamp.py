"""The stamp: what a run leaves in a segment's ZooKeeper custom map, so that the next run can skip the segment.

A stamp means: the deep-store object with this ETag, under this CRC, was verified as built for this table hash. It
carries both because neither of them goes with the custom map: a push by somebody else may keep the map's entries
(Pinot's minion tasks push with `mapModifyMode` UPDATE), and an object can be overwritten without ZooKeeper being told,
by a run that died or by a push that failed half-way. What is not the verified object any more is simply unstamped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HASH_KEY = "deepStoreSync.tableHash"
CRC_KEY = "deepStoreSync.crc"
ETAG_KEY = "deepStoreSync.etag"
RUN_KEY = "deepStoreSync.run"
AT_KEY = "deepStoreSync.at"
INCURABLE_KEY = "deepStoreSync.incurable"

_PREFIX = "deepStoreSync."

# The controller and every broker hold this map in memory; a reason is for people and need not be long.
_MAX_REASON = 200


@dataclass(frozen=True, slots=True)
class Stamp:
    """A stamp as read: the hash it vouches for, and hash and reason under which the segment was found incurable."""

    table_hash: str | None = None
    incurable_hash: str | None = None
    incurable_reason: str | None = None


def read_stamp(custom: Mapping[str, str], crc: int | None, etag: str | None) -> Stamp:
    """The stamp in a custom map, as far as it speaks of this CRC and of this object. Empty values read as none."""
    if custom.get(CRC_KEY) != str(crc) or not etag or custom.get(ETAG_KEY) != etag:
        return Stamp()
    return true_stamp(custom.get(HASH_KEY), custom.get(INCURABLE_KEY))


def true_stamp(table_hash: str | None, incurable: str | None) -> Stamp:
    """The stamp with these values, of a segment whose CRC and object are those that it speaks of."""
    # A hash is "version:hex", so the reason starts after the second colon.
    version, _, rest = (incurable or "").partition(":")
    digest, _, reason = rest.partition(":")
    return Stamp(
        table_hash=table_hash or None,
        incurable_hash=f"{version}:{digest}" if digest else None,
        incurable_reason=reason or None,
    )


def stamp_map(
    table_hash: str, crc: int, etag: str, *, run_id: str, at: str, incurable_reason: str | None = None
) -> dict[str, str]:
    """The entries that stamp a segment, for a push that updates the custom map and leaves other entries alone.

    `at` is an ISO 8601 instant. Without a reason an earlier incurable mark is blanked, since an update cannot remove a
    key.
    """
    reason = " ".join(incurable_reason.split())[:_MAX_REASON] if incurable_reason else None
    return {
        HASH_KEY: table_hash,
        CRC_KEY: str(crc),
        ETAG_KEY: etag,
        RUN_KEY: run_id,
        AT_KEY: at,
        INCURABLE_KEY: f"{table_hash}:{reason}" if reason else "",
    }


def stamp_entries(custom: Mapping[str, str]) -> dict[str, str]:
    """What a custom map has of ours, whether it speaks of the segment as it is now or not."""
    return {key: value for key, value in custom.items() if key.startswith(_PREFIX) and value}


def no_stamp(custom: Mapping[str, str]) -> dict[str, str]:
    """The entries that take the stamp of a custom map away: blank, since an update cannot remove a key."""
    return dict.fromkeys({*stamp_entries(custom), HASH_KEY, CRC_KEY, ETAG_KEY, RUN_KEY, AT_KEY, INCURABLE_KEY}, "")


def carried_over(entries: Mapping[str, str], *, crc: int, etag: str, new_etag: str) -> dict[str, str]:
    """A stamp that spoke of an object with this CRC and ETag, for the same content under another ETag.

    Empty when it spoke of something else, or of nothing.
    """
    if entries.get(CRC_KEY) != str(crc) or entries.get(ETAG_KEY) != etag:
        return {}
    return {**no_stamp({}), **entries, ETAG_KEY: new_etag}
