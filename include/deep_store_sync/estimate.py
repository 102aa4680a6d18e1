"""What a plan would cost: segments by action and reason, bytes, server downloads, time. A pure function of its columns.

What is shown of a plan before it runs comes from here, wherever it is shown, and a plan is made in one way only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.decide import keys_expire
from deep_store_sync.model import Action, Servers
from deep_store_sync.spoken import spoken_bytes, spoken_seconds

# What says it is bytes, is of objects as they are now: so nothing is known of what a rebuild adds to them.
_BUILT = (Action.REBUILD, Action.AUDIT)
_WORK = (*_BUILT, Action.RELOAD)

_URL = r"[A-Za-z][A-Za-z0-9+.-]*://\S+"


@dataclass(frozen=True, slots=True)
class OfAction:
    """The segments of a plan with one action, and the bytes of their objects."""

    action: Action
    segments: int
    bytes: int


@dataclass(frozen=True, slots=True)
class OfReason:
    """The segments of a plan that have one action for one reason. URLs in reasons are left out."""

    action: Action
    reason: str
    segments: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Pace:
    """What finished runs of the table came to: bytes that workers downloaded, and the time from plan to report."""

    runs: int
    bytes: int
    seconds: float

    @property
    def bytes_per_second(self) -> float:
        """All of it taken together."""
        return self.bytes / self.seconds


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run of a plan would do.

    `work` of `segments` are worked on, in `batches`. Bytes are those of the objects as they are now, by ZooKeeper;
    `unsized` objects of the work have none there. Workers read `download_bytes` from the deep store. They rebuild
    `rebuild_bytes` of them at most, since what turns out to lack nothing is only stamped, and upload `upload_bytes` at
    most, but for what new indexes add to the objects.

    `server_downloads` are expected by what servers say now: what is in sync on all replicas is published quietly, and
    the rest downloaded by each replica. There are `server_downloads_most` at most, if no segment can be published
    quietly: values had to be written anew, or the change is one that `isStale` does not look at.

    `seconds` it takes at the `pace` of past runs; None without one.
    """

    segments: int
    work: int
    batches: int
    actions: tuple[OfAction, ...]
    reasons: tuple[OfReason, ...]
    download_bytes: int
    rebuild_bytes: int
    upload_bytes: int
    server_downloads: int
    server_download_bytes: int
    server_downloads_most: int
    server_download_bytes_most: int
    unsized: int
    pace: Pace | None
    seconds: float | None


def estimate(
    groups: Iterable[pa.RecordBatch | pa.Table], table_config: Mapping[str, Any], pace: Pace | None = None
) -> Estimate:
    """The estimate of a plan, whose rows (`PlannedSegment`) come in groups of columns.

    Segments whose keys expire (`keys_expire`) are never downloaded by servers: they are published quietly or not at
    all.
    """
    totals: dict[tuple[str, str, str, int], _Total] = defaultdict(_Total)
    batches: set[str] = set()
    for group in groups:
        batches.update(batch for batch in pc.unique(group.column("batch")).to_pylist() if batch is not None)
        for row in _grouped(group).to_pylist():
            total = totals[row["action"], row["reason"], row["servers"], row["replicas"]]
            total.add(row["size_count"], row["size_sum"], row["unsized_sum"])
    reasons: dict[tuple[Action, str], _Total] = defaultdict(_Total)
    actions: dict[Action, _Total] = defaultdict(_Total)
    work, expected, most, built = _Total(), _Total(), _Total(), _Total()
    servers_load = not keys_expire(table_config)
    for (name, reason, servers, replicas), total in totals.items():
        action = Action(name)
        for known in (reasons[action, reason], actions[action]):
            known.add(total.segments, total.bytes, total.unsized)
        if action not in _WORK:
            continue
        work.add(total.segments, total.bytes, total.unsized)
        if action in _BUILT:
            built.add(total.segments, total.bytes, total.unsized)
        if servers_load:
            most.add(total.segments * replicas, total.bytes * replicas, 0)
            if action is Action.RELOAD or servers != Servers.CLEAN:
                expected.add(total.segments * replicas, total.bytes * replicas, 0)
    return Estimate(
        segments=sum(total.segments for total in actions.values()),
        work=work.segments,
        batches=len(batches),
        actions=tuple(
            OfAction(action, actions[action].segments, actions[action].bytes) for action in Action if action in actions
        ),
        reasons=tuple(
            sorted(
                (OfReason(*key, total.segments, total.bytes) for key, total in reasons.items()),
                key=lambda row: (-row.segments, row.action, row.reason),
            )
        ),
        download_bytes=work.bytes,
        rebuild_bytes=built.bytes,
        upload_bytes=built.bytes,
        server_downloads=expected.segments,
        server_download_bytes=expected.bytes,
        server_downloads_most=most.segments,
        server_download_bytes_most=most.bytes,
        unsized=work.unsized,
        pace=pace,
        seconds=work.bytes / pace.bytes_per_second if pace else None,
    )


def estimate_lines(found: Estimate) -> list[str]:
    """The cost in words, a line each."""
    if not found.work:
        return [f"nothing to do: none of {found.segments:,} segments would be worked on"]
    most = _downloads(found.server_downloads_most, found.server_download_bytes_most)
    lines = [
        f"work: {found.work:,} of {found.segments:,} segments, in {found.batches:,} batches",
        f"workers download {spoken_bytes(found.download_bytes)}, rebuild {spoken_bytes(found.rebuild_bytes)} of it at "
        f"most, and upload {spoken_bytes(found.upload_bytes)} at most, by the size that the objects have now: what "
        "lacks nothing is only stamped, and new indexes make objects larger",
        f"server downloads: {_downloads(found.server_downloads, found.server_download_bytes)} by what servers say now"
        + (
            f"; {most} if nothing can be published quietly"
            if found.server_downloads_most > found.server_downloads
            else ""
        ),
    ]
    if found.unsized:
        lines.append(f"{found.unsized:,} of these segments have no size in ZooKeeper, and count with 0 bytes")
    if found.pace is None or found.seconds is None:
        lines.append("time: not known, since no finished run of the table tells how fast it goes")
    else:
        lines.append(
            f"time: about {spoken_seconds(found.seconds)}, at the {spoken_bytes(round(found.pace.bytes_per_second))} a "
            f"second of {found.pace.runs} finished runs, their waiting included"
        )
    return lines


def _downloads(count: int, size: int) -> str:
    return f"{count:,}, {spoken_bytes(size)} in all," if count else "none"


def _grouped(group: pa.RecordBatch | pa.Table) -> pa.Table:
    """Segments and bytes by what a cost depends on."""
    table = pa.table({name: group.column(name) for name in ("action", "reason", "servers")})
    size, replicas = group.column("size_bytes"), pc.list_value_length(group.column("replicas"))
    table = table.append_column("size", size).append_column("unsized", pc.cast(pc.equal(size, 0), pa.int64()))
    table = table.append_column("replicas", pc.fill_null(replicas, 0))
    # Each such segment has a URL of its own, and would be a reason of its own.
    not_eligible = pc.equal(table.column("action"), Action.NOT_ELIGIBLE.value)
    if pc.any(not_eligible).as_py():
        shorter = pc.replace_substring_regex(table.column("reason"), _URL, "…")
        reason = pc.if_else(not_eligible, shorter, table.column("reason"))
        table = table.set_column(table.schema.get_field_index("reason"), "reason", reason)
    return table.group_by(["action", "reason", "servers", "replicas"], use_threads=False).aggregate(
        [("size", "count"), ("size", "sum"), ("unsized", "sum")]
    )


@dataclass(slots=True)
class _Total:
    segments: int = 0
    bytes: int = 0
    unsized: int = 0

    def add(self, segments: int, size: int, unsized: int) -> None:
        self.segments += segments
        self.bytes += size
        self.unsized += unsized
