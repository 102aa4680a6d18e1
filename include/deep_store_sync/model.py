"""What flows through a run: frozen rows, with no behaviour and no I/O.

Times are epoch milliseconds in UTC, sizes are bytes, CRCs are Pinot's Adler32 values as non-negative integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Servers(StrEnum):
    """What the servers say of a segment, over all replicas of the ideal state."""

    CLEAN = "clean"
    STALE = "stale"
    UNKNOWN = "unknown"


class StampState(StrEnum):
    """The stamp in ZooKeeper's custom map, held against the table's hash."""

    CURRENT = "current"
    OUTDATED = "outdated"
    NONE = "none"


class Action(StrEnum):
    """What a plan wants done with a segment."""

    SKIP = "skip"
    RELOAD = "reload"
    REBUILD = "rebuild"
    AUDIT = "audit"
    DEFER = "defer"
    NOT_ELIGIBLE = "not eligible"
    INCURABLE = "incurable"


class DeferredBy(StrEnum):
    """Why a segment has to wait for a later run."""

    SERVERS = "servers"
    """Servers did not say how it is: somebody should look at them."""
    BUDGET = "auditBudget"
    MAX_SEGMENTS = "maxSegments"
    DOWNLOADS = "maxServerDownloadBytes"
    TIME = "maxRunTime"
    DRIFT = "config drift"
    """Table config or schema changed after the plan was made."""
    STOPPED = "kill switch"
    FAILURES = "failure budget"
    """So many other segments had failed that the run began no more."""
    OPERATION = "other operation"
    """Something else was at work on the segment: a reload, a rebalance, a replacement, a minion task."""


class Outcome(StrEnum):
    """How a segment of a plan ended. Every segment ends in exactly one."""

    SYNCED = "synced"
    STAMPED = "stamped"
    SKIPPED = "skipped"
    DEFERRED = "deferred"
    NOT_ELIGIBLE = "not eligible"
    INCURABLE = "incurable"
    LOST_RACE = "lost race"
    FAILED = "failed"


class PublishMode(StrEnum):
    """How a rebuilt segment reaches the cluster."""

    QUIET = "quiet"
    """The CRC is kept: the object is overwritten, no message goes out, no server downloads."""
    REFRESH = "refresh"
    """The CRC is a new one: every hosting server downloads the segment once and replaces its copy."""


class CopyBy(StrEnum):
    """How a store overwrites an object with a copy of another one, on a condition."""

    WHOLE = "whole"
    """By CopyObject, in one request."""
    PARTS = "parts"
    """Part by part, with the condition on completion."""


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """One segment as ZooKeeper knows it (`GET /segments/{table}/zkmetadata`).

    `status` is `segment.realtime.status` where the segment has one (IN_PROGRESS, COMMITTING, DONE, UPLOADED), else
    None. `custom` is the custom map. `crypter` is the encryption class the segment was pushed with.
    """

    name: str
    crc: int | None
    url: str | None
    status: str | None = None
    creation_ms: int | None = None
    push_ms: int | None = None
    refresh_ms: int | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    rows: int | None = None
    size_bytes: int | None = None
    tier: str | None = None
    crypter: str | None = None
    custom: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """One server's answer to `isStale`: where not `valid`, it says nothing. `stale` maps segment to reason."""

    valid: bool
    stale: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Lineage:
    """Segments in lineage entries: `in_progress` on either side of an unfinished one, `replaced` by a finished one."""

    in_progress: frozenset[str] = frozenset()
    replaced: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What was asked of a run.

    `interval` is the data interval of a backfill, [start, end) in ms: the run takes the segments that start in it.
    Without an end it takes those, too, that start in no interval that is over. `segments` are globs; empty means all.
    `max_segments` bounds how many segments are worked on.
    """

    run_id: str
    force: bool = False
    dry_run: bool = False
    segments: tuple[str, ...] = ()
    max_segments: int | None = None
    interval: tuple[int, int | None] | None = None


@dataclass(frozen=True, slots=True)
class PlannedSegment:
    """One row of a plan. `table_hash` is that of the segment's tier, `replicas` are the servers of the ideal state."""

    segment: str
    action: Action
    reason: str
    table_hash: str
    servers: Servers
    stamp: StampState
    crc: int = 0
    url: str = ""
    tier: str | None = None
    size_bytes: int = 0
    rows: int | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    push_ms: int | None = None
    creation_ms: int | None = None
    replicas: tuple[str, ...] = ()
    deferred_by: DeferredBy | None = None
    batch: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The segments in scope with what is to be done with each, and config and schema that they were held against.

    `work` counts the segments that are in batches, also where only a part of the plan was read; None is not counted.
    `copies` are the ways in which the store was seen to overwrite objects with copies; without any, archives are
    streamed.
    """

    table: str
    request: RunRequest
    created_ms: int
    table_config: Mapping[str, Any]
    schema: Mapping[str, Any]
    segments: Sequence[PlannedSegment]
    work: int | None = None
    copies: tuple[CopyBy, ...] = ()


class Rebuilt(StrEnum):
    """What rebuilding a segment came to."""

    UNCHANGED = "unchanged"
    """The object in the deep store is as the config wants it: only the stamp is missing."""
    CHANGED = "changed"
    """A rebuilt, verified archive is staged in the workspace."""
    RELOAD = "reload"
    """Nothing to rebuild: the plan wants the servers to take the object."""
    INCURABLE = "incurable"
    """The object is as the config wants it, and yet servers will call it stale, however it is rebuilt."""
    NOT_ELIGIBLE = "not eligible"
    LOST_RACE = "lost race"
    FAILED = "failed"
    LEFT_ALONE = "left alone"
    """Not begun: the run's failure budget is used up."""
    NO_TIME = "no time"
    """Not begun: the run's time is used up."""


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """One segment after `RebuildSegment`.

    `crc` is the CRC in ZooKeeper when the plan was made, `object_crc` the one in the object's `creation.meta` (they
    differ only when an earlier push of ours was cut short), `new_crc` the CRC over the rebuilt files. `etag` is the
    object's when it was downloaded. `changes` names what was changed (`origin: inverted_index added`);
    `invisible_changes` those of them that Pinot's `isStale` does not look at. `staged_crc` is the CRC written in the
    staged archive's `creation.meta`, `staged_etag` that archive's ETag. `metadata_properties` and `data_crc` are what a
    metadata push needs besides. `regenerated` says that values were written anew, which a server's reload never does.
    """

    segment: str
    status: Rebuilt
    message: str = ""
    crc: int = 0
    object_crc: int = 0
    new_crc: int = 0
    etag: str = ""
    staged_url: str | None = None
    staged_crc: int | None = None
    staged_etag: str = ""
    changes: tuple[str, ...] = ()
    invisible_changes: tuple[str, ...] = ()
    regenerated: bool = False
    creation_ms: int = 0
    data_crc: int | None = None
    metadata_properties: bytes = b""
    object_bytes: int = 0
    staged_bytes: int = 0
    download_s: float = 0.0
    rebuild_s: float = 0.0
    verify_s: float = 0.0
    stage_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SegmentOutcome:
    """One segment at the end of its batch.

    `crc` and `new_crc` are ZooKeeper's before and after, `etag` is the object's after. `proven` are the servers that
    were seen to have loaded the segment as published, `unproven` those that host it and could not be asked. `downloads`
    counts the server downloads that were asked for.
    """

    segment: str
    outcome: Outcome
    message: str = ""
    mode: PublishMode | None = None
    crc: int = 0
    new_crc: int = 0
    etag: str = ""
    changes: tuple[str, ...] = ()
    proven: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()
    deferred_by: DeferredBy | None = None
    object_bytes: int = 0
    uploaded_bytes: int = 0
    downloads: int = 0


class Pending(StrEnum):
    """What `StampHash` still has to do before an outcome is true."""

    STAMP = "stamp"
    MARK_INCURABLE = "mark incurable"


@dataclass(frozen=True, slots=True)
class Published(SegmentOutcome):
    """One segment after `UploadAndRefresh`: its outcome, provided that what is `pending` succeeds."""

    pending: Pending | None = None
