"""A table's storage quota, and what it makes pushes cost.

Before the controller takes a push to a table with a quota, a mere stamp too, it asks all servers for the size of every
segment of the table (Pinot 1.5.1, `StorageQuotaChecker.isSegmentStorageWithinQuota`): N pushes cost N times N.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LARGE = 10_000
"""Segments from which on the quota is worth a warning."""


def storage_quota(table_config: Mapping[str, Any]) -> str | None:
    """The storage quota of a table, as its config has it (`10T`)."""
    quota = (table_config.get("quota") or {}).get("storage")
    return str(quota) if quota else None


def quota_words(quota: str, segments: int) -> str:
    """What a storage quota means on a table with so many segments, and what to do."""
    return (
        f"the table has a storage quota ({quota}): for each push, a stamp too, the controller asks all servers for the "
        f"size of all of its {segments} segments, so pushes go one at a time, with pauses. Take quota.storage out of "
        "the table config while very many segments are to be stamped (that moves no hash), or let a run push few "
        "(maxSegments, auditBudget)"
    )
