"""One wave of a batch: looked at once more, published, and proven.

Before each wave the kill switch is asked, and table config and schema are hashed again: what was built for a config
that is no longer the table's is dropped untouched. Servers and ideal state are asked again too, since they decide how a
segment may be published and who has to be seen to have it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from deep_store_sync.decide import keys_expire, server_state
from deep_store_sync.errors import DeepStoreSyncError
from deep_store_sync.model import (
    DeferredBy,
    Outcome,
    Pending,
    Plan,
    PlannedSegment,
    Published,
    PublishMode,
    RebuildResult,
    Rebuilt,
    ServerAnswer,
    Servers,
)
from deep_store_sync.plan import hosting_servers
from deep_store_sync.publishing.forced_reload import Taken, force_download, make_servers_take
from deep_store_sync.publishing.proof import Proof, ServerWatch
from deep_store_sync.publishing.publish_mode import publish_mode
from deep_store_sync.publishing.publish_segment import SegmentPublisher, Written
from deep_store_sync.publishing.segment_writes import LostRaceError
from deep_store_sync.services import Services
from deep_store_sync.table_hash import TableHashes, has_tier_overrides
from deep_store_sync.workspace import Workspace

Item = tuple[PlannedSegment, RebuildResult]

# Uploads of a wave that run side by side. Each holds one archive on disk.
_UPLOADS = 4

_DRIFT = "not published: table config or schema changed after the plan was made; the next run plans anew"
_DRIFT_AFTER = "table config or schema changed while servers were reloading: the next run looks again"
_NO_FORCED_DOWNLOAD = (
    "the deep store is in sync and servers are not, and on an upsert table with metadataTTL or deletedKeysTTL a forced "
    "download could bring expired rows back: reload the table on the servers"
)


@dataclass(frozen=True, slots=True)
class _Now:
    """The table at the start of a wave."""

    table_config: Mapping[str, Any]
    answers: Mapping[str, ServerAnswer]
    need_reload: Mapping[str, bool]


@dataclass(slots=True)
class WavePublisher:
    """Publishes the waves of one batch."""

    services: Services
    workspace: Workspace
    plan: Plan
    log: logging.Logger
    _watch: ServerWatch = field(init=False)
    _publisher: SegmentPublisher = field(init=False)

    def __post_init__(self) -> None:
        self._watch = ServerWatch(self.services, self.log)
        self._publisher = SegmentPublisher(self.services, self.workspace, self.plan.request.run_id, self.log)

    def only_stamp(self, items: Sequence[Item], should_stop: Callable[[], str | None]) -> list[Published]:
        """Segments that the deep store has as the config wants them, and that no server need load again."""
        if not items:
            return []
        held, items, _ = self._held_back(items, should_stop)
        return held + [_to_stamp(row, result) for row, result in items]

    def publish(self, wave: Sequence[Item], should_stop: Callable[[], str | None]) -> list[Published]:
        """Publish a wave and wait for proof.

        Raises:
            PinotError: the controller does not answer, so that no decision can be made.
        """
        held, items, table_config = self._held_back(wave, should_stop)
        if not items:
            return held
        now = self._now(items, table_config)
        items = self._with_replicas(items)
        with ThreadPoolExecutor(min(_UPLOADS, len(items)), thread_name_prefix="publish") as pool:
            published = list(pool.map(lambda item: self._publish(item[0], item[1], now), items))
        return held + self._prove(items, published, now)

    def _held_back(
        self, items: Sequence[Item], should_stop: Callable[[], str | None]
    ) -> tuple[list[Published], list[Item], Mapping[str, Any]]:
        """What must not be done any more, with its outcome; the rest; and the table config as it is now."""
        if reason := should_stop():
            self.log.warning("the kill switch is on (%s): %d segments are left as they are", reason, len(items))
            stopped = [ended(*item, Outcome.DEFERRED, f"stopped: {reason}", DeferredBy.STOPPED) for item in items]
            return stopped, [], {}
        drifted, table_config = self._drifted([row for row, _ in items])
        if drifted:
            self.log.warning("table config or schema changed: %d segments are dropped untouched", len(drifted))
        held = [
            ended(row, result, Outcome.DEFERRED, _DRIFT, DeferredBy.DRIFT)
            for row, result in items
            if row.segment in drifted
        ]
        return held, [(row, result) for row, result in items if row.segment not in drifted], table_config

    def _now(self, items: Sequence[Item], table_config: Mapping[str, Any]) -> _Now:
        controller, table = self.services.controller, self.plan.table
        changed = any(result.status is Rebuilt.CHANGED for _, result in items)
        invisible = any(result.invisible_changes for _, result in items)
        return _Now(
            table_config,
            controller.stale(table) if changed else {},
            controller.need_reload(table) if invisible else {},
        )

    def _with_replicas(self, items: Sequence[Item]) -> list[Item]:
        """The items with the servers that are to host them now: a rebalance may have come after the plan."""
        ideal_state = self.services.controller.ideal_state(self.plan.table)
        return [(replace(row, replicas=hosting_servers(ideal_state, row.segment)), result) for row, result in items]

    def _publish(self, row: PlannedSegment, result: RebuildResult, now: _Now) -> Published:
        """Publish one segment. What servers have to take is not proven yet when this returns."""
        try:
            return self._publish_or_raise(row, result, now)
        except LostRaceError as error:
            return ended(row, result, Outcome.LOST_RACE, str(error))
        except DeepStoreSyncError as error:
            return ended(row, result, Outcome.FAILED, str(error))
        except Exception as error:
            # A full disk, say: this segment's trouble, and no reason to leave the others without an outcome.
            self.log.exception("%s: unexpected", row.segment)
            return ended(row, result, Outcome.FAILED, f"{type(error).__name__}: {error}")

    def _publish_or_raise(self, row: PlannedSegment, result: RebuildResult, now: _Now) -> Published:
        if result.status is not Rebuilt.CHANGED:
            if not keys_expire(now.table_config):
                return _to_stamp(row, result)  # and the servers are made to take it
            if result.status is Rebuilt.RELOAD:
                return ended(row, result, Outcome.NOT_ELIGIBLE, _NO_FORCED_DOWNLOAD)
            return replace(_to_stamp(row, result), message=_NO_FORCED_DOWNLOAD)
        seen = self._publisher.look(row)
        earlier = self._publisher.earlier_try(row, result, seen)
        if isinstance(earlier, Written):
            return self._published(row, result, PublishMode.REFRESH, earlier)
        mode = earlier or self._mode(row, result, now)
        if not isinstance(mode, PublishMode):
            return ended(row, result, Outcome.NOT_ELIGIBLE, mode)
        return self._published(row, result, mode, self._publisher.publish(row, result, mode, seen))

    def _mode(self, row: PlannedSegment, result: RebuildResult, now: _Now) -> PublishMode | str:
        overrides = has_tier_overrides(now.table_config, row.tier)
        servers, _ = server_state(row.segment, row.replicas, now.answers, overrides_by_tier=overrides)
        return publish_mode(row, result, servers=servers, need_reload=now.need_reload, table_config=now.table_config)

    def _published(self, row: PlannedSegment, result: RebuildResult, mode: PublishMode, written: Written) -> Published:
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

    def _prove(self, items: Sequence[Item], published: Sequence[Published], now: _Now) -> list[Published]:
        """Wait until servers have taken what was refreshed, and make them take what only the deep store has."""
        replicas = {row.segment: row.replicas for row, _ in items}
        refreshed = {
            result.segment: result.new_crc
            for result in published
            if result.outcome is Outcome.SYNCED and result.mode is PublishMode.REFRESH
        }
        proofs: Mapping[str, Proof] = {}
        if refreshed:
            proofs = self._watch.wait_loaded(refreshed, replicas, force=self._force_download)
        behind = [row for row, result in items if _servers_behind(row, result, now.table_config)]
        taken = make_servers_take(
            self.services,
            self.plan.table,
            behind,
            log=self.log,
            overrides_by_tier={row.segment: has_tier_overrides(now.table_config, row.tier) for row in behind},
        )
        drifted: set[str] = set()
        if any(take.servers is Servers.STALE for take in taken.values()):
            drifted, _ = self._drifted(behind)
        results = []
        for result in published:
            if result.segment in drifted:
                # Stale by another config than the one that the segment was built for says nothing of a cure.
                result = replace(
                    result,
                    outcome=Outcome.DEFERRED,
                    message=_DRIFT_AFTER,
                    deferred_by=DeferredBy.DRIFT,
                    downloads=len(replicas[result.segment]),
                    pending=None,
                )
            elif result.segment in proofs:
                result = _with_proof(result, proofs[result.segment])
            elif result.segment in taken:
                result = _after_reload(result, taken[result.segment], replicas[result.segment])
            results.append(result)
        return results

    def _drifted(self, rows: Sequence[PlannedSegment]) -> tuple[set[str], Mapping[str, Any]]:
        """Segments whose planned hash is no longer the table's, and the table config as it is now."""
        controller, table = self.services.controller, self.plan.table
        table_config = controller.table_config(table)
        hashes = TableHashes(table_config, controller.schema(table))
        return {row.segment for row in rows if hashes.current(row.tier) != row.table_hash}, table_config

    def _force_download(self, segment: str) -> None:
        force_download(self.services, self.plan.table, segment, self.log)


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


def _to_stamp(row: PlannedSegment, result: RebuildResult) -> Published:
    if result.status is Rebuilt.RELOAD:
        return ended(row, result, Outcome.STAMPED, "")
    if result.status is Rebuilt.INCURABLE:
        return replace(ended(row, result, Outcome.INCURABLE, result.message), pending=Pending.MARK_INCURABLE)
    return replace(ended(row, result, Outcome.STAMPED, "the deep store is in sync already"), pending=Pending.STAMP)


def _servers_behind(row: PlannedSegment, result: RebuildResult, table_config: Mapping[str, Any]) -> bool:
    """Whether the deep store is right, the servers are not, and a forced download does no harm."""
    if keys_expire(table_config):
        return False
    return result.status is Rebuilt.RELOAD or (result.status is Rebuilt.UNCHANGED and row.servers is Servers.STALE)


def _with_proof(result: Published, proof: Proof) -> Published:
    if proof.behind:
        return replace(
            result,
            outcome=Outcome.FAILED,
            proven=proof.loaded,
            unproven=proof.behind + proof.silent,
            message=f"published and stamped, but {', '.join(proof.behind)} did not load it within proofTimeout, forced "
            "download included: look at that server's log; it takes the segment from the deep store at its next start",
        )
    message = f"published; unproven on {', '.join(proof.silent)}, which gave no answer" if proof.silent else ""
    if not proof.loaded and not proof.silent:
        message = "published; no server is meant to host it now"
    return replace(result, proven=proof.loaded, unproven=proof.silent, message=message)


def _after_reload(result: Published, taken: Taken, replicas: tuple[str, ...]) -> Published:
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
