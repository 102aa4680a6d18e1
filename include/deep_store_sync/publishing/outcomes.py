"""How a segment of a wave ended, in values and in words: pure functions."""

from __future__ import annotations

from dataclasses import replace

from deep_store_sync.model import (
    DeferredBy,
    Outcome,
    Pending,
    PlannedSegment,
    Published,
    PublishMode,
    RebuildResult,
    Rebuilt,
    Servers,
)
from deep_store_sync.publishing.forced_reload import Taken
from deep_store_sync.publishing.proof import Proof
from deep_store_sync.publishing.publish_segment import Written

Item = tuple[PlannedSegment, RebuildResult]

_DRIFT_AFTER = "table config or schema changed while servers were reloading: the next run looks again"


def ended(
    row: PlannedSegment, result: RebuildResult, outcome: Outcome, message: str, deferred_by: DeferredBy | None = None
) -> Published:
    """The outcome of a segment whose object stays as it is."""
    return Published(
        row.segment,
        outcome,
        message,
        crc=row.crc,
        new_crc=row.crc,
        etag=result.etag,
        changes=result.changes,
        object_bytes=result.object_bytes,
        deferred_by=deferred_by,
    )


def to_stamp(row: PlannedSegment, result: RebuildResult) -> Published:
    """The outcome of a segment whose object is right: it is to be stamped, or marked, if it is not yet."""
    if result.status is Rebuilt.RELOAD:
        return ended(row, result, Outcome.STAMPED, "servers have it by now")
    if result.status is Rebuilt.INCURABLE:
        return replace(ended(row, result, Outcome.INCURABLE, result.message), pending=Pending.MARK_INCURABLE)
    return replace(ended(row, result, Outcome.STAMPED, "the deep store is in sync already"), pending=Pending.STAMP)


def published(row: PlannedSegment, result: RebuildResult, mode: PublishMode, written: Written) -> Published:
    """The outcome of a segment that was published. Of a refresh, it is to be proven yet."""
    refresh = mode is PublishMode.REFRESH
    return replace(
        ended(row, result, Outcome.SYNCED, ""),
        mode=mode,
        new_crc=written.crc,
        etag=written.etag,
        uploaded_bytes=written.uploaded_bytes,
        downloads=len(row.replicas) if refresh else 0,
        # A refresh carries its stamp in the push; a quiet publish is stamped by StampHash.
        pending=None if refresh else Pending.STAMP,
    )


def with_proof(result: Published, proof: Proof, forced: bool | None = None) -> Published:
    """The outcome of a refresh after servers were asked for it.

    `forced` says whether all replicas were asked to download it once more, since some were behind: False where they
    might not, None where there was no need.
    """
    if forced:
        result = replace(result, downloads=2 * result.downloads)
    if proof.behind:
        how = "forced download included" if forced is not False else "and may not be made to (maxServerDownloadBytes)"
        return replace(
            result,
            outcome=Outcome.FAILED,
            proven=proof.loaded,
            unproven=proof.behind + proof.silent,
            message=f"published and stamped, but {', '.join(proof.behind)} did not load it within proofTimeout, {how}: "
            "look at that server's log; it takes the segment from the deep store at its next start",
        )
    message = f"published; unproven on {', '.join(proof.silent)}: {_WHEN_BACK}" if proof.silent else ""
    if not proof.loaded and not proof.silent:
        message = "published; no server is meant to host it now"
    return replace(result, proven=proof.loaded, unproven=proof.silent, message=message)


# Pinot 1.5.1, BaseTableDataManager.addOnlineSegment: a local copy is kept only if it has ZooKeeper's CRC (or the server
# does not compare them: instance.check.crc.on.segment.load).
_WHEN_BACK = (
    "no answer. If it is down, it downloads the segment when it is back, since its copy has another CRC; if it is set "
    "not to compare CRCs, a later run sees that it is stale and has it download the segment, without another rebuild"
)


def after_reload(result: Published, taken: Taken, replicas: tuple[str, ...]) -> Published:
    """The outcome of a segment that servers were made to take by a forced download."""
    result = replace(result, downloads=len(replicas))
    if taken.failure:
        return replace(result, outcome=Outcome.FAILED, message=taken.failure, pending=None)
    if taken.servers is Servers.STALE:
        return replace(
            result,
            outcome=Outcome.INCURABLE,
            message=f"still stale on servers that downloaded it again: {taken.servers_say}",
            pending=Pending.MARK_INCURABLE,
        )
    known = taken.servers is Servers.CLEAN
    return replace(
        result,
        outcome=Outcome.SYNCED,
        message="servers were made to download the segment" + ("" if known else f"; unproven: {taken.servers_say}"),
        proven=replicas if known else (),
        unproven=() if known else replicas,
    )


def in_doubt(taken: Taken, error: Exception) -> Taken:
    """The same where nobody can tell whether the config changed meanwhile: being stale proves nothing then."""
    if taken.failure or taken.servers is not Servers.STALE:
        return taken
    return Taken(f"still stale ({taken.servers_say}), and table config and schema could not be read again: {error}")


def drifted_after_reload(result: Published, replicas: tuple[str, ...]) -> Published:
    """The same where the config changed meanwhile: being stale by another config says nothing of a cure."""
    return replace(
        result,
        outcome=Outcome.DEFERRED,
        message=_DRIFT_AFTER,
        deferred_by=DeferredBy.DRIFT,
        downloads=len(replicas),
        pending=None,
    )
