"""Publishing one segment: compare-and-set on the object, then compare-and-set in ZooKeeper.

The order makes every moment safe. Before the object is overwritten, a copy is kept. Between object and ZooKeeper, the
download URL resolves to the rebuilt segment, which holds the same rows, and the object's mark says whose it is. An
outcome that is not known is read back. What the controller refuses for good is put back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from deep_store_sync.errors import (
    DeepStoreSyncError,
    DeepStoreUnavailableError,
    ObjectChangedError,
    ObjectNotFoundError,
    PinotAnswerError,
    PinotNotFoundError,
    PinotUnavailableError,
    PushConflictError,
    PushRefusedError,
    SegmentChangedError,
    SegmentGoneError,
    WriteConflictError,
)
from deep_store_sync.model import PlannedSegment, PublishMode, RebuildResult, SegmentRecord
from deep_store_sync.segment.archive import metadata_archive, rewrite_creation_meta
from deep_store_sync.segment.segment_files import CreationMeta
from deep_store_sync.services import Services
from deep_store_sync.stamp import RUN_KEY, read_stamp, stamp_map
from deep_store_sync.store.deep_store import ObjectInfo
from deep_store_sync.store.object_mark import ObjectMark, read_mark
from deep_store_sync.workspace import Workspace


class LostRaceError(DeepStoreSyncError):
    """Somebody else changed the segment after the plan was made. Nothing of theirs was touched."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A segment at one moment: ZooKeeper's record, and the object's attributes."""

    record: SegmentRecord
    object: ObjectInfo


@dataclass(frozen=True, slots=True)
class Written:
    """What publishing a segment left: the object's ETag and the CRC that ZooKeeper has now."""

    etag: str
    crc: int
    uploaded_bytes: int


@dataclass(frozen=True, slots=True)
class SegmentPublisher:
    """Publishes and stamps segments of one run."""

    services: Services
    workspace: Workspace
    run_id: str
    log: logging.Logger
    sleep: Callable[[float], None] = time.sleep

    def look(self, row: PlannedSegment) -> Seen:
        """The segment as ZooKeeper and the deep store have it now.

        Raises:
            LostRaceError: one of them has it no more.
        """
        try:
            record = self.services.controller.segment(self.services.settings.table, row.segment)
        except PinotNotFoundError as error:
            raise LostRaceError("the segment was deleted after the plan was made") from error
        try:
            return Seen(record, self.services.store.head(row.url))
        except ObjectNotFoundError as error:
            raise LostRaceError(f"the object {row.url} is gone") from error

    def earlier_try(self, row: PlannedSegment, rebuilt: RebuildResult, seen: Seen) -> Written | PublishMode | None:
        """What an earlier try of this run has done: all of it, or the first part of a publish in this mode, or nothing.

        A retried task finds servers in another state than its first try did, so what was begun decides how it goes on.
        """
        record, etag = seen.record, seen.object.etag
        if record.crc is not None and record.crc != row.crc and record.custom.get(RUN_KEY) == self.run_id:
            stamped = read_stamp(record.custom, record.crc, etag).table_hash == row.table_hash
            return Written(etag, record.crc, 0) if stamped else None
        mark = read_mark(seen.object.metadata)
        if mark is None or mark.run != self.run_id or mark.table_hash != row.table_hash or mark.old_crc != row.crc:
            return None
        if record.crc != row.crc or etag == rebuilt.etag:
            return None
        return PublishMode.QUIET if mark.new_crc == mark.old_crc else PublishMode.REFRESH

    def publish(self, row: PlannedSegment, rebuilt: RebuildResult, mode: PublishMode, seen: Seen) -> Written:
        """Overwrite the object, and for a refresh tell ZooKeeper CRC and stamp in one write.

        Raises:
            LostRaceError: object or ZooKeeper are not as they were when the segment was downloaded.
            PushRefusedError: the controller refuses for good; the old object is back where a backup was kept.
            DeepStoreSyncError: anything else. What was written is marked as ours, and the next run finishes it.
        """
        crc = row.crc if mode is PublishMode.QUIET else rebuilt.new_crc
        before = seen.object
        _expect(seen.record, row, crc=row.crc)
        mark = ObjectMark(self.run_id, row.crc, crc, row.table_hash)
        if before.etag != rebuilt.etag:
            if read_mark(before.metadata) != mark:
                raise LostRaceError(f"the object {row.url} was overwritten after it was downloaded")
            etag, uploaded = before.etag, 0
        elif rebuilt.object_crc == crc != row.crc:
            # An earlier run wrote exactly this object and died before it could tell ZooKeeper.
            etag, uploaded = before.etag, 0
        else:
            if self.services.settings.backup == "copy":
                self.services.store.copy(row.url, self.workspace.backup_url(row.segment), source_etag=before.etag)
            etag, uploaded = self._replace(row, rebuilt, before, mark, crc)
        if mode is PublishMode.REFRESH:
            try:
                self._push(row, rebuilt, seen.record, crc=crc, custom=self._stamp(row, crc, etag, None))
            except PushRefusedError as error:
                raise PushRefusedError(f"{error}. {self._put_back(row, etag, like=before)}") from error
            self._expect_ours(row, etag)
        return Written(etag, crc, uploaded)

    def stamp(
        self, row: PlannedSegment, rebuilt: RebuildResult, *, crc: int, etag: str, incurable_reason: str | None = None
    ) -> None:
        """Stamp a segment whose object has this ETag and whose data has this CRC, without any message to a server.

        Raises:
            LostRaceError: object or ZooKeeper are not what was verified.
            PushRefusedError: the controller refuses the push; the segment stays unstamped.
        """
        seen = self.look(row)
        _expect(seen.record, row, crc=crc)
        if seen.object.etag != etag:
            raise LostRaceError(f"the object {row.url} was overwritten after it was verified: not stamped")
        self._push(row, rebuilt, seen.record, crc=crc, custom=self._stamp(row, crc, etag, incurable_reason))
        self._expect_ours(row, etag)

    def _expect_ours(self, row: PlannedSegment, etag: str) -> None:
        """Look once more after ZooKeeper was told: another push may have written the object in between and then lost.

        The stamp names the ETag, so it vouches for nothing then, and the next run looks into the segment again.
        """
        if self.services.store.head(row.url).etag != etag:
            raise DeepStoreSyncError(
                f"somebody else overwrote {row.url} while this push was under way, and ZooKeeper has this push's CRC: "
                "push the segment again from its source"
            )

    def _replace(
        self, row: PlannedSegment, rebuilt: RebuildResult, before: ObjectInfo, mark: ObjectMark, crc: int
    ) -> tuple[str, int]:
        """Bring the staged archive to the object's place; returns the new ETag and the bytes sent."""
        with TemporaryDirectory(prefix="deep-store-sync-") as folder:
            archive = Path(folder) / "segment.tar"
            staged = self.services.store.download(rebuilt.staged_url or "", archive)
            if staged.size != rebuilt.staged_bytes:
                raise DeepStoreSyncError(
                    f"{rebuilt.staged_url} has {staged.size} bytes, {rebuilt.staged_bytes} were staged: sync again"
                )
            if rebuilt.staged_crc != crc:
                repacked = Path(folder) / "repacked.tar"
                rewrite_creation_meta(archive, repacked, CreationMeta(crc, rebuilt.creation_ms, rebuilt.data_crc))
                archive = repacked
            return self._compare_and_set(row, archive, before, mark), archive.stat().st_size

    def _compare_and_set(self, row: PlannedSegment, archive: Path, before: ObjectInfo, mark: ObjectMark) -> str:
        """Overwrite the object if it is still the one of `before`; returns the new ETag."""
        for wait_s in (0.2, 0.4, 0.8, None):
            try:
                return self.services.store.replace(
                    row.url, archive, if_match=before.etag, like=before, metadata=mark.to_metadata()
                )
            except WriteConflictError:
                if wait_s is None:
                    raise
                self.sleep(wait_s)
            except (ObjectChangedError, ObjectNotFoundError, DeepStoreUnavailableError) as error:
                # A refusal is also the answer to a request that was sent twice on the way and did arrive.
                etag = self._read_back(row, mark, before)
                if etag is not None:
                    self.log.info("%s: the answer to the upload was lost or wrong, but it did arrive", row.segment)
                    return etag
                if isinstance(error, DeepStoreUnavailableError):
                    raise
                raise LostRaceError(f"the object {row.url} was overwritten or deleted meanwhile") from error
        raise AssertionError("the last try returns or raises")

    def _read_back(self, row: PlannedSegment, mark: ObjectMark, before: ObjectInfo) -> str | None:
        """The ETag of the object if it is one that this run wrote after `before`."""
        try:
            found = self.services.store.head(row.url)
        except ObjectNotFoundError:
            return None
        return found.etag if found.etag != before.etag and read_mark(found.metadata) == mark else None

    def _push(
        self,
        row: PlannedSegment,
        rebuilt: RebuildResult,
        record: SegmentRecord,
        *,
        crc: int,
        custom: Mapping[str, str],
    ) -> None:
        """Tell ZooKeeper, by compare-and-set on the CRC of `record`, until it is known whether it was told."""
        # An equal-CRC push sets ZooKeeper's creation time to the archive's, and upsert ties are broken by it.
        creation_ms = record.creation_ms if record.creation_ms is not None else rebuilt.creation_ms
        meta = CreationMeta(crc, creation_ms, rebuilt.data_crc)
        archive = metadata_archive(row.segment, meta.to_bytes(), rebuilt.metadata_properties)
        unknown = False
        for wait_s in (0.5, 1.0, 2.0, None):
            try:
                self.services.controller.push_metadata(
                    self.services.settings.table,
                    row.segment,
                    archive=archive,
                    url=row.url,
                    expected_crc=record.crc or 0,
                    custom=custom,
                )
                return
            except SegmentGoneError as error:
                raise LostRaceError("the segment was deleted after the plan was made") from error
            except SegmentChangedError as error:
                # Our own first try may be what changed it.
                if self._has(row, crc, custom):
                    return
                raise LostRaceError(f"the segment was pushed again meanwhile: {error}") from error
            except PushRefusedError as error:
                if not unknown:
                    raise
                if self._has(row, crc, custom):
                    return
                # The refusal speaks of the last try alone: an earlier one may still arrive.
                raise DeepStoreSyncError(
                    f"{error}. An earlier try got no answer, so nothing is put back: the next run finishes the push"
                ) from error
            except (PushConflictError, PinotUnavailableError, PinotAnswerError):
                unknown = True
                if self._has(row, crc, custom):
                    return
                if wait_s is None:
                    raise
                self.sleep(wait_s)

    def _has(self, row: PlannedSegment, crc: int, custom: Mapping[str, str]) -> bool:
        """Whether ZooKeeper has what a push was to write: the answer to a push whose outcome is not known."""
        record = self.look(row).record
        return record.crc == crc and all(record.custom.get(key) == value for key, value in custom.items())

    def _stamp(self, row: PlannedSegment, crc: int, etag: str, incurable_reason: str | None) -> dict[str, str]:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return stamp_map(row.table_hash, crc, etag, run_id=self.run_id, at=at, incurable_reason=incurable_reason)

    def _put_back(self, row: PlannedSegment, etag: str, *, like: ObjectInfo) -> str:
        """Undo the overwrite after a refusal. Returns what was done, in words."""
        store, backup = self.services.store, self.workspace.backup_url(row.segment)
        try:
            original = store.head(backup)
        except ObjectNotFoundError:
            return "The rebuilt object stays, since there is no backup to put back: the next run pushes it again"
        with TemporaryDirectory(prefix="deep-store-sync-") as folder:
            archive = Path(folder) / "segment.tar"
            store.download(backup, archive, if_match=original.etag)
            try:
                store.replace(
                    row.url, archive, if_match=etag, like=replace(like, metadata={}), metadata=original.metadata
                )
            except (ObjectChangedError, ObjectNotFoundError):
                return "The object was overwritten by somebody else meanwhile, and left alone"
        return "The old object was put back"


def _expect(record: SegmentRecord, row: PlannedSegment, *, crc: int) -> None:
    """Refuse to go on with a segment that is not the planned one any more."""
    if record.crc != crc:
        raise LostRaceError(f"ZooKeeper has CRC {record.crc}, this run knows {crc}: the segment was pushed again")
    if record.url != row.url:
        raise LostRaceError("ZooKeeper has another download URL than the plan saw: the segment was pushed again")
