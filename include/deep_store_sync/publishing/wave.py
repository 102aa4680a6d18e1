"""One wave of a batch: looked at once more, published, and proven.

What may not be published any more is left as it is (`last_check`). Servers and ideal state are asked again too, since
they decide how a segment may be published and who has to be seen to have it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deep_store_sync.decide import keys_expire, server_state
from deep_store_sync.errors import DeepStoreSyncError, PinotError, PinotUnavailableError
from deep_store_sync.failure_budget import FailureBudget
from deep_store_sync.model import (
    DeferredBy,
    Outcome,
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
from deep_store_sync.publishing.download_budget import DownloadBudget, left_for_later
from deep_store_sync.publishing.forced_reload import Taken, force_download, make_servers_take
from deep_store_sync.publishing.last_check import LastCheck
from deep_store_sync.publishing.outcomes import (
    Item,
    after_reload,
    drifted_after_reload,
    ended,
    in_doubt,
    to_stamp,
    with_proof,
)
from deep_store_sync.publishing.outcomes import published as published_as
from deep_store_sync.publishing.proof import Proof, ServerWatch
from deep_store_sync.publishing.publish_mode import publish_mode
from deep_store_sync.publishing.publish_segment import SegmentPublisher, Written
from deep_store_sync.publishing.segment_writes import LostRaceError
from deep_store_sync.publishing.server_words import ServerWords
from deep_store_sync.services import Services
from deep_store_sync.table_hash import has_tier_overrides
from deep_store_sync.workspace import Workspace

# Uploads of a wave that run side by side. Each holds one archive on disk.
_UPLOADS = 4

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
    """Publishes the waves of one batch. Archives that pass through this machine do so in `folder`."""

    services: Services
    workspace: Workspace
    plan: Plan
    batch: str
    folder: Path
    log: logging.Logger
    _watch: ServerWatch = field(init=False)
    _words: ServerWords = field(init=False)
    _publisher: SegmentPublisher = field(init=False)
    _check: LastCheck = field(init=False)
    _failures: FailureBudget = field(init=False)
    _downloads: DownloadBudget = field(init=False)

    def __post_init__(self) -> None:
        self._failures = FailureBudget(self.services, self.workspace, self.plan, self.log)
        self._check = LastCheck(self.services, self.plan, self._failures, self.log)
        most = self.services.settings.max_server_download_bytes
        self._downloads = DownloadBudget(self.workspace, self.batch, most)
        self._watch = ServerWatch(self.services, self.log)
        self._words = ServerWords(self.services, self.plan.table, frozenset(row.segment for row in self.plan.segments))
        copies = self.plan.copies if self.services.settings.publish_by == "auto" else ()
        self._publisher = SegmentPublisher(
            self.services, self.workspace, self.plan.request.run_id, self.log, self.folder, copies=copies
        )

    def only_stamp(self, items: Sequence[Item], should_stop: Callable[[], str | None]) -> list[Published]:
        """Segments that the deep store has as the config wants them, and that no server need load again."""
        if not items:
            return []
        # No server hears of a stamp, so it matters to nobody that something else is at work.
        held, items, _ = self._check.look(items, should_stop, undisturbed=False)
        return held + [to_stamp(row, result) for row, result in items]

    def publish(self, wave: Sequence[Item], should_stop: Callable[[], str | None]) -> list[Published]:
        """Publish a wave and wait for proof.

        Raises:
            PinotError: the controller does not answer, so that no decision can be made.
        """
        held, items, table_config = self._check.look(wave, should_stop, undisturbed=True)
        if not items:
            return held
        now = self._now(items, table_config)
        items = self._with_replicas(items)
        with ThreadPoolExecutor(min(_UPLOADS, len(items)), thread_name_prefix="publish") as pool:
            published = list(pool.map(lambda item: self._publish(item[0], item[1], now), items))
        results = self._prove(items, published, now)
        self._failures.record([result.segment for result in results if result.outcome is Outcome.FAILED])
        return held + results

    def _now(self, items: Sequence[Item], table_config: Mapping[str, Any]) -> _Now:
        invisible = any(result.invisible_changes for _, result in items)
        reloads = self._check.ended_reloads
        try:
            answers = self._words.stale(table_config, reloads)
        except PinotUnavailableError as error:
            # Where the plan went by it, a refresh could make servers download what they have.
            if any(result.status is Rebuilt.CHANGED and row.servers is not Servers.UNKNOWN for row, result in items):
                raise
            self.log.warning("isStale told nothing, so that what the servers have is not known: %s", error)
            answers = {}
        return _Now(table_config, answers, self._words.need_reload(table_config, reloads) if invisible else {})

    def _with_replicas(self, items: Sequence[Item]) -> list[Item]:
        """The items with the servers that are to host them now: a rebalance may have come after the plan."""
        ideal_state = self.services.controller.ideal_state(self.plan.table, [row.segment for row, _ in items])
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
            if self._servers(row, now) is Servers.CLEAN:
                # Somebody reloaded them since the plan was made, or this is not the first try of the task.
                return to_stamp(row, result)
            if not keys_expire(now.table_config):
                size = result.object_bytes or row.size_bytes
                # Then the servers are made to take it, see `_prove`.
                return to_stamp(row, result) if self._may_load(row, size) else self._for_later(row, result)
            if result.status is Rebuilt.RELOAD:
                return ended(row, result, Outcome.NOT_ELIGIBLE, _NO_FORCED_DOWNLOAD)
            return replace(to_stamp(row, result), message=_NO_FORCED_DOWNLOAD)
        seen = self._publisher.look(row)
        earlier = self._publisher.earlier_try(row, result, seen)
        if isinstance(earlier, Written):
            return published_as(row, result, PublishMode.REFRESH, earlier)
        mode = earlier or self._mode(row, result, now)
        if not isinstance(mode, PublishMode):
            return ended(row, result, Outcome.NOT_ELIGIBLE, mode)
        # What an earlier try has begun is finished, whatever it takes.
        if mode is PublishMode.REFRESH and not earlier and not self._may_load(row, result.staged_bytes):
            return self._for_later(row, result)
        return published_as(row, result, mode, self._publisher.publish(row, result, mode, seen))

    def _may_load(self, row: PlannedSegment, size: int) -> bool:
        """Whether each replica may download so many bytes."""
        return self._downloads.take(size * len(row.replicas))

    def _for_later(self, row: PlannedSegment, result: RebuildResult) -> Published:
        message = left_for_later(self._downloads.most or 0)
        return ended(row, result, Outcome.DEFERRED, message, DeferredBy.DOWNLOADS)

    def _mode(self, row: PlannedSegment, result: RebuildResult, now: _Now) -> PublishMode | str:
        servers = self._servers(row, now)
        return publish_mode(row, result, servers=servers, need_reload=now.need_reload, table_config=now.table_config)

    def _servers(self, row: PlannedSegment, now: _Now) -> Servers:
        overrides = has_tier_overrides(now.table_config, row.tier)
        return server_state(row.segment, row.replicas, now.answers, overrides_by_tier=overrides)[0]

    def _prove(self, items: Sequence[Item], published: Sequence[Published], now: _Now) -> list[Published]:
        """Wait until servers have taken what was refreshed, and make them take what only the deep store has."""
        replicas = {row.segment: row.replicas for row, _ in items}
        ends = [(row, result, ended_as) for (row, result), ended_as in zip(items, published, strict=True)]
        again = {row.segment for row, _, ended_as in ends if _refreshed(ended_as) and ended_as.new_crc == row.crc}
        refreshed = {
            result.segment: result.new_crc for result in published if _refreshed(result) and result.segment not in again
        }
        sizes = {row.segment: result.staged_bytes * len(row.replicas) for row, result in items}
        forced: dict[str, bool] = {}

        def force(segment: str) -> None:
            forced[segment] = self._force_download(segment, sizes[segment])

        proofs: Mapping[str, Proof] = {}
        if refreshed:
            proofs = self._watch.wait_loaded(refreshed, replicas, force=force)
        behind = [
            row
            for row, _, ended_as in ends
            if row.segment in again or (ended_as.outcome is Outcome.STAMPED and self._servers_behind(row, now))
        ]
        taken = self._make_servers_take(behind, now)
        drifted: set[str] = set()
        if any(take.servers is Servers.STALE for take in taken.values()):
            try:
                drifted, _ = self._check.drifted(behind)
            except PinotError as error:
                taken = {segment: in_doubt(take, error) for segment, take in taken.items()}
        results = []
        for result in published:
            if result.segment in drifted:
                result = drifted_after_reload(result, replicas[result.segment])
            elif result.segment in proofs:
                result = with_proof(result, proofs[result.segment], forced.get(result.segment))
            elif result.segment in taken:
                result = after_reload(result, taken[result.segment], replicas[result.segment])
            results.append(result)
        return results

    def _servers_behind(self, row: PlannedSegment, now: _Now) -> bool:
        """Whether servers may lack what the deep store has, and a forced download does no harm."""
        return not keys_expire(now.table_config) and self._servers(row, now) is not Servers.CLEAN

    def _make_servers_take(self, behind: Sequence[PlannedSegment], now: _Now) -> dict[str, Taken]:
        return make_servers_take(
            self.services,
            self.plan.table,
            behind,
            log=self.log,
            overrides_by_tier={row.segment: has_tier_overrides(now.table_config, row.tier) for row in behind},
        )

    def _force_download(self, segment: str, size: int) -> bool:
        """Have all replicas download a refresh that one of them did not take, if they may for this run."""
        try:
            if not self._downloads.take(size):
                self.log.warning("%s: servers may download no more for this run (maxServerDownloadBytes)", segment)
                return False
        except DeepStoreSyncError as error:
            self.log.warning("%s: nobody tells what servers may download for this run: %s", segment, error)
            return False
        force_download(self.services, self.plan.table, segment, self.log)
        return True


def _refreshed(published: Published) -> bool:
    """Whether servers are to take it by its new CRC.

    The CRC may be the one that ZooKeeper has all the same: an index came, was published quietly, and is gone again.
    Then no server hears of the push, and its CRC proves nothing.
    """
    return published.outcome is Outcome.SYNCED and published.mode is PublishMode.REFRESH
