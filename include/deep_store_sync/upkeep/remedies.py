"""What to do about a segment that a run leaves alone, by what the plan says of it. `docs/operating.md` has the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from deep_store_sync.model import Action, DeferredBy, PlannedSegment

_NOTHING = "nothing: it is looked at again once it is committed and hosted"

_NOT_ELIGIBLE: Sequence[tuple[str, str]] = (
    (r"consuming: |committing: |offline on every server|not in the ideal state: ", _NOTHING),
    (r"in a segment lineage entry|replaced by other segments", "nothing; end a replacement that hangs"),
    (r"encrypted \(", "nothing can be done: the object cannot be read, or would be pushed as encrypted"),
    (r"no download URL: ", "let Pinot upload it to the deep store"),
    (r".* lies outside deepStorePrefixes", "add the prefix to deepStorePrefixes, if the segment is the table's own"),
    (r"another segment has the same download URL", "push one of them again under a URL of its own"),
    (r".* does not end in the segment's name|its name is none that", "push it again under its name"),
    (
        r".* has characters that a push cannot carry|.* cannot be used: ",
        "push it again under a URL that Pinot can read",
    ),
    (r"no CRC in ZooKeeper|no rows: ", "push it again from its source; delete it if it is meant to be empty"),
)

_INCURABLE: Sequence[tuple[str, str]] = (
    (
        r"the segment holds rows of the partitions",
        "partition the data before it is ingested, or take the partition config back",
    ),
    (r".* has several values in a row: nothing can be sorted by it", "take the sorted column back"),
    (
        r"still stale on servers that downloaded it again",
        "look at the reason, which is the servers' own; a config that only part of the servers can build, for example",
    ),
)

_DEFERRED: Mapping[DeferredBy, str] = {
    DeferredBy.BUDGET: "nothing: a later run takes it up; raise auditBudget if it takes too many runs",
    DeferredBy.MAX_SEGMENTS: "nothing: the run was asked for so many and no more",
    DeferredBy.DOWNLOADS: "nothing: a later run takes it up; raise maxServerDownloadBytes if it takes too many runs, "
    "or reload the table on the servers: then they need no download",
    DeferredBy.SERVERS: "start the server that gave no answer, or look at its log; or run with forceReload, which does "
    "not ask",
}


def remedy(row: PlannedSegment) -> str | None:
    """What to do about a planned segment; None where a run works on it, or where nothing is wrong with it."""
    if row.action is Action.NOT_ELIGIBLE:
        return _matching(_NOT_ELIGIBLE, row.reason)
    if row.action is Action.INCURABLE:
        found = _matching(_INCURABLE, row.reason) or "change the config, or the data"
        return f"{found}. The mark holds until table config or schema change; deep-store-sync unstamp takes it away"
    return _DEFERRED.get(row.deferred_by) if row.deferred_by else None


def _matching(known: Sequence[tuple[str, str]], reason: str) -> str | None:
    return next((what for pattern, what in known if re.match(pattern, reason)), None)
