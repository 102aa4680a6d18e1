"""Publishing one segment: compare-and-set on the object, then compare-and-set in ZooKeeper.

The order makes every moment safe. Before the object is overwritten, the old one is kept. Between object and ZooKeeper,
the download URL resolves to the rebuilt segment, which holds the same rows, and the object's mark says whose it is. An
outcome that is not known is read back. What the controller refuses for good is put back.

The staged archive is copied over the object inside the store, where the store was seen to do that on a condition, and
where the archive is to be published as it was staged. Else it is streamed through this machine.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

from deep_store_sync import clock
from deep_store_sync.errors import BackupError, DeepStoreSyncError, PushRefusedError
from deep_store_sync.model import CopyBy, PlannedSegment, PublishMode, RebuildResult, SegmentRecord
from deep_store_sync.publishing.backup import Backups, fetch_original, put_back
from deep_store_sync.publishing.segment_writes import LostRaceError, NotCopiedError, Seen, SegmentWrites
from deep_store_sync.segment.archive import rewrite_creation_meta
from deep_store_sync.segment.segment_files import CreationMeta
from deep_store_sync.services import Services
from deep_store_sync.stamp import RUN_KEY, read_stamp, stamp_map
from deep_store_sync.store.deep_store import ObjectInfo
from deep_store_sync.store.object_mark import ObjectMark, read_mark, unmarked
from deep_store_sync.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Written:
    """What publishing a segment left: the object's ETag and the CRC that ZooKeeper has now.

    `uploaded_bytes` were written to the deep store, by whatever way.
    """

    etag: str
    crc: int
    uploaded_bytes: int


@dataclass(slots=True)
class SegmentPublisher:
    """Publishes and stamps segments of one run.

    `copies` are the ways in which the store copies over objects. What passes through this machine does so in `folder`,
    which whoever only stamps has no need of.
    """

    services: Services
    workspace: Workspace
    run_id: str
    log: logging.Logger
    folder: Path | None = None
    sleep: Callable[[float], None] = time.sleep
    copies: Collection[CopyBy] = ()
    _writes: SegmentWrites = field(init=False)
    _backups: Backups = field(init=False)
    _lock: Lock = field(init=False, default_factory=Lock)

    def __post_init__(self) -> None:
        self._writes = SegmentWrites(self.services, self.log, self.sleep, self.workspace)
        self._backups = Backups(self.services, self.workspace, self.log)

    def look(self, row: PlannedSegment) -> Seen:
        """The segment as ZooKeeper and the deep store have it now.

        Raises:
            LostRaceError: one of them has it no more.
        """
        return self._writes.look(row.segment, row.url)

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
        if mode is PublishMode.REFRESH:
            self._writes.prepare_push()
        unfinished = read_mark(before.metadata) if rebuilt.object_crc != row.crc else None
        pending = (*unfinished.pending, unfinished.new_crc) if unfinished else ()
        mark = ObjectMark(self.run_id, row.crc, crc, row.table_hash, pending)
        if before.etag != rebuilt.etag:
            if read_mark(before.metadata) != mark:
                raise LostRaceError(f"the object {row.url} was overwritten after it was downloaded")
            etag, uploaded = before.etag, 0
        elif rebuilt.object_crc == crc != row.crc:
            # An earlier run wrote exactly this object and died before it could tell ZooKeeper.
            self._backups.take_over(row, rebuilt, seen)
            etag, uploaded = before.etag, 0
        else:
            kept = self._backups.keep(row, rebuilt, seen, mark)
            try:
                etag, uploaded = self._replace(row, rebuilt, before, mark, crc)
            except LostRaceError:
                with suppress(DeepStoreSyncError):  # then it is found out when somebody wants to put it back
                    self._backups.forget(kept)
                raise
        if mode is PublishMode.REFRESH:
            try:
                self._push(row, rebuilt, seen.record, crc=crc, custom=self._stamp(row, crc, etag, None))
            except PushRefusedError as error:
                raise PushRefusedError(f"{error}. {self._put_back(row, etag)}") from error
            self._writes.expect_ours(row.url, etag)
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
        self._writes.expect_ours(row.url, etag)

    def _replace(
        self, row: PlannedSegment, rebuilt: RebuildResult, before: ObjectInfo, mark: ObjectMark, crc: int
    ) -> tuple[str, int]:
        """Bring the staged archive to the object's place; returns the new ETag and the bytes written."""
        metadata = {**unmarked(before.metadata), **mark.to_metadata()}
        staged = ObjectInfo(rebuilt.staged_url or "", rebuilt.staged_etag, rebuilt.staged_bytes)
        way = self.services.store.way_to_copy(staged.size, self.copies)
        # For another CRC than was expected when it was staged, the archive has to be written once more.
        if way is not None and staged.etag and rebuilt.staged_crc == crc:
            try:
                etag = self._writes.overwrite_by_copy(
                    row.segment, row.url, staged, way, before=before, metadata=metadata
                )
            except NotCopiedError as error:
                self._copy_no_more(error)
                before = error.left
            else:
                return etag, staged.size
        return self._stream(row, rebuilt, before, metadata, crc)

    def _copy_no_more(self, error: NotCopiedError) -> None:
        with self._lock:
            if self.copies:
                self.log.warning("archives are streamed from here on, the store does not copy them: %s", error)
            self.copies = ()

    def _stream(
        self, row: PlannedSegment, rebuilt: RebuildResult, before: ObjectInfo, metadata: Mapping[str, str], crc: int
    ) -> tuple[str, int]:
        with TemporaryDirectory(dir=self.folder) as folder:
            archive = Path(folder, "segment.tar")
            staged = self.services.store.download(
                rebuilt.staged_url or "", archive, if_match=rebuilt.staged_etag or None
            )
            if staged.size != rebuilt.staged_bytes:
                raise DeepStoreSyncError(
                    f"{rebuilt.staged_url} has {staged.size} bytes, {rebuilt.staged_bytes} were staged: sync again"
                )
            if rebuilt.staged_crc != crc:
                repacked = archive.with_name("repacked.tar")
                rewrite_creation_meta(archive, repacked, CreationMeta(crc, rebuilt.creation_ms, rebuilt.data_crc))
                archive = repacked
            etag = self._writes.overwrite(row.segment, row.url, archive, before=before, metadata=metadata)
            return etag, archive.stat().st_size

    def _push(
        self,
        row: PlannedSegment,
        rebuilt: RebuildResult,
        record: SegmentRecord,
        *,
        crc: int,
        custom: Mapping[str, str],
    ) -> None:
        meta = CreationMeta(crc, rebuilt.creation_ms, rebuilt.data_crc)
        self._writes.push(
            row.segment, row.url, record, meta=meta, properties=rebuilt.metadata_properties, custom=custom
        )

    def _stamp(self, row: PlannedSegment, crc: int, etag: str, incurable_reason: str | None) -> dict[str, str]:
        at = clock.now().isoformat(timespec="seconds")
        return stamp_map(row.table_hash, crc, etag, run_id=self.run_id, at=at, incurable_reason=incurable_reason)

    def _put_back(self, row: PlannedSegment, etag: str) -> str:
        """Undo the overwrite after a refusal. Returns what was done, in words."""
        now = self.services.store.head(row.url)
        try:
            mark = read_mark(now.metadata)
            if now.etag != etag or mark is None:
                raise LostRaceError("somebody else overwrote it meanwhile")
            note = self._backups.note_on(row.segment, mark)
            if note is None:
                raise BackupError("there is no backup of it")
            with TemporaryDirectory(dir=self.folder) as folder:
                original = fetch_original(self.services.store, note, Path(folder, "segment.tar"))
                # Another try may have told ZooKeeper meanwhile: the object is right then.
                _expect(self.look(row).record, row, crc=row.crc)
                put_back(self._writes, note, original, now, crc=row.crc)
        except BackupError as error:
            return f"The rebuilt object stays ({error}): the next run pushes it again"
        except LostRaceError as error:
            return f"The object was left alone: {error}"
        return "The old object was put back"


def _expect(record: SegmentRecord, row: PlannedSegment, *, crc: int) -> None:
    """Refuse to go on with a segment that is not the planned one any more."""
    if record.crc != crc:
        raise LostRaceError(f"ZooKeeper has CRC {record.crc}, this run knows {crc}: the segment was pushed again")
    if record.url != row.url:
        raise LostRaceError("ZooKeeper has another download URL than the plan saw: the segment was pushed again")
