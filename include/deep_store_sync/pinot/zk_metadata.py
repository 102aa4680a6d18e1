"""A segment's metadata in ZooKeeper, as the controller prints it: an object of strings.

Fields and their meaning are those of Pinot 1.5.1, `SegmentZKMetadata` and `CommonConstants.Segment`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from deep_store_sync.model import SegmentRecord
from deep_store_sync.time_units import UNIT_NS


def segment_record(name: str, fields: Mapping[str, str]) -> SegmentRecord:
    """One segment's metadata as a record. Fields that are absent or negative, as Pinot writes "unknown", become None.

    Raises:
        ValueError, TypeError, AttributeError: this is not a segment's metadata.
    """
    custom = json.loads(fields.get("custom.map") or "{}")
    unit = fields.get("segment.time.unit")
    return SegmentRecord(
        name=name,
        crc=_number(fields.get("segment.crc")),
        url=_first(fields, "segment.download.url", "segment.offline.download.url", "segment.realtime.download.url"),
        status=fields.get("segment.realtime.status"),
        creation_ms=_number(fields.get("segment.creation.time")),
        push_ms=_number(_first(fields, "segment.push.time", "segment.offline.push.time")),
        refresh_ms=_number(_first(fields, "segment.refresh.time", "segment.offline.refresh.time")),
        start_ms=_time(fields.get("segment.start.time"), unit),
        end_ms=_time(fields.get("segment.end.time"), unit),
        rows=_number(fields.get("segment.total.docs")),
        size_bytes=_number(fields.get("segment.size.in.bytes")),
        tier=fields.get("segment.tier") or None,
        crypter=fields.get("segment.crypter") or None,
        custom={str(key): str(value) for key, value in custom.items()},
    )


def _first(fields: Mapping[str, str], *keys: str) -> str | None:
    return next((fields[key] for key in keys if fields.get(key)), None)


def _number(text: str | None) -> int | None:
    number = -1 if text is None else int(text)
    return None if number < 0 else number


def _time(text: str | None, unit: str | None) -> int | None:
    # Zero too stands for "no time range" (SegmentZKMetadata.getStartTimeMs), and old metadata has a negative time
    # without a unit.
    number = _number(text)
    if not number or unit not in UNIT_NS:
        return None
    milliseconds = number * UNIT_NS[unit] // UNIT_NS["MILLISECONDS"]
    # What no 64 bits hold is no time that a segment could have: its unit is wrong.
    return milliseconds if milliseconds < 2**63 else None
