"""Backups: what is kept of an object before it is overwritten, and putting it back.

Before each overwrite a note is written into the run's workspace, an object for each segment: which object, what was
kept of it and where, ZooKeeper's CRC and stamp as they were, and the mark that the new object will carry. It is there
before the object changes, so whatever happens after that, a rollback knows what to bring back and what to take away.

Every run has the notes of all objects that it has put into service, and the copies: none of them depends on another
run's folder, which may be gone by then.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from deep_store_sync.errors import BackupError, ObjectChangedError, ObjectNotFoundError
from deep_store_sync.model import PlannedSegment, RebuildResult
from deep_store_sync.publishing.segment_writes import LostRaceError, Seen, SegmentWrites
from deep_store_sync.segment.archive import read_metadata
from deep_store_sync.segment.segment_files import CreationMeta
from deep_store_sync.services import Services
from deep_store_sync.stamp import stamp_entries
from deep_store_sync.store.deep_store import DeepStore, ObjectInfo
from deep_store_sync.store.object_mark import ObjectMark, first_written, put_back_metadata, read_mark
from deep_store_sync.store.versioning import Versioning
from deep_store_sync.workspace import Workspace


class Kept(StrEnum):
    """How an object was kept."""

    COPY = "copy"
    VERSION = "version"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Backup:
    """The note on one object that was overwritten.

    `etag`, `size`, `metadata` and `object_crc` (in its `creation.meta`) are the old object's; `crc`, `stamp` (our
    entries of the custom map) and `status` are ZooKeeper's before. `mark` is the new object's. `copy_url` or
    `version_id` say where the old object is, `why_not` why it is nowhere.
    """

    segment: str
    url: str
    mark: ObjectMark
    kept: Kept
    crc: int
    object_crc: int = 0
    etag: str = ""
    size: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    stamp: Mapping[str, str] = field(default_factory=dict)
    status: str | None = None
    copy_url: str | None = None
    version_id: str | None = None
    why_not: str = ""

    @property
    def quiet(self) -> bool:
        """Whether the CRC was kept, so that no server ever heard of the new object."""
        return self.mark.new_crc == self.object_crc

    def to_json(self) -> bytes:
        """As the note holds it."""
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Backup:
        """A note, read.

        Raises:
            BackupError: it is none.
        """
        try:
            fields: dict[str, Any] = json.loads(data)
            return cls(**{**fields, "mark": ObjectMark(**fields["mark"]), "kept": Kept(fields["kept"])})
        except (ValueError, TypeError, KeyError) as error:
            raise BackupError(
                f"the note on a backup cannot be read ({error}): was it written by a newer version?"
            ) from error


@dataclass(frozen=True, slots=True)
class Original:
    """An old object, fetched into a file: what a push needs of it, and its user metadata."""

    archive: Path
    meta: CreationMeta
    properties: bytes
    metadata: Mapping[str, str]


class Backups:
    """Keeps the objects that a run overwrites. Safe to use from several threads."""

    def __init__(self, services: Services, workspace: Workspace, log: logging.Logger) -> None:
        self._store = services.store
        self._setting = services.settings.backup
        self._workspace = workspace
        self._versioning = Versioning(services.store)
        self._log = log

    def keep(self, row: PlannedSegment, rebuilt: RebuildResult, seen: Seen, mark: ObjectMark) -> None:
        """Keep the object that is about to be overwritten by one with this mark. When this returns, that is durable.

        Raises:
            StoreCapabilityError: the setting is `versioning`, and the bucket does not keep versions.
            LostRaceError: the object is another one by now.
            DeepStoreError: it could not be kept.
        """
        before = seen.object
        noted = self.read(row.segment)
        if noted is not None and written_by(noted, before.metadata):
            # A second pass over what this run has overwritten already: the old object is the one before the first.
            self._write(replace(noted, mark=mark))
            return
        note = Backup(
            row.segment,
            row.url,
            mark,
            Kept.NOTHING,
            crc=row.crc,
            object_crc=rebuilt.object_crc,
            etag=before.etag,
            size=before.size,
            metadata=dict(before.metadata),
            stamp=stamp_entries(seen.record.custom),
            status=seen.record.status,
            why_not="the table's setting was backup: none",
        )
        if self._setting == "versioning":
            self._versioning.require(row.url)
        version = self._versioning.version(before) if self._setting in ("auto", "versioning") else None
        if version is not None:
            note = replace(note, kept=Kept.VERSION, version_id=version)
        elif self._setting != "none":
            copy_url = self._workspace.backup_url(row.segment)
            try:
                self._store.copy(row.url, copy_url, source_etag=before.etag)
            except (ObjectChangedError, ObjectNotFoundError) as error:
                raise LostRaceError(f"the object {row.url} was overwritten or deleted meanwhile") from error
            note = replace(note, kept=Kept.COPY, copy_url=copy_url)
        self._write(note)

    def take_over(self, row: PlannedSegment, rebuilt: RebuildResult, seen: Seen) -> None:
        """Have the backup of an object that an earlier run wrote, and that this run puts into service, as this run's.

        Without one the object is put into service all the same: its rows are the old one's.
        """
        mark = read_mark(seen.object.metadata)
        if mark is None:
            return
        earlier = self._of_earlier_try(row.segment, mark)
        if earlier is None:
            self._log.warning("%s: no backup is left of the object that run %s overwrote", row.segment, mark.run)
            stamp = stamp_entries(seen.record.custom)
            why_not = f"run {mark.run} overwrote it, and its backup was gone when this run finished that"
            self._write(
                Backup(
                    row.segment, row.url, mark, Kept.NOTHING, row.crc, rebuilt.object_crc, stamp=stamp, why_not=why_not
                )
            )
            return
        own = self._workspace.backup_url(row.segment)
        if earlier.copy_url is not None and earlier.copy_url != own:
            self._store.copy(earlier.copy_url, own, source_etag=self._store.head(earlier.copy_url).etag)
            earlier = replace(earlier, copy_url=own)
        self._write(earlier)

    def _of_earlier_try(self, segment: str, mark: ObjectMark) -> Backup | None:
        for place in (self._workspace, *reversed(self._workspace.tries_of(mark.run))):
            note = read_note(self._store, place, segment)
            if note is None or note.mark != mark:
                continue
            if note.copy_url is None or self._store.exists(note.copy_url):
                return note
        return None

    def forget(self, segment: str) -> None:
        """Remove note and copy of an object that was not overwritten after all."""
        self._store.delete(self._workspace.backup_record_url(segment))
        self._store.delete(self._workspace.backup_url(segment))

    def read(self, segment: str) -> Backup | None:
        """The note on a segment, or None when there is none."""
        return read_note(self._store, self._workspace, segment)

    def _write(self, note: Backup) -> None:
        self._store.write_workspace(self._workspace.backup_record_url(note.segment), note.to_json())


def read_note(store: DeepStore, workspace: Workspace, segment: str) -> Backup | None:
    """What a run noted of a segment before it overwrote it, or None when it did not."""
    return read_note_at(store, workspace.backup_record_url(segment))


def read_note_at(store: DeepStore, url: str) -> Backup | None:
    """The note at this URL, or None when there is none, or none any more."""
    try:
        return Backup.from_json(store.read(url))
    except ObjectNotFoundError:
        return None


def find_kept(store: DeepStore, note: Backup) -> ObjectInfo:
    """The old object, where it is kept.

    Raises:
        BackupError: it is not, or not any more.
    """
    try:
        if note.kept is Kept.COPY and note.copy_url:
            return store.head(note.copy_url)
        if note.kept is Kept.VERSION:
            found = store.head(note.url, version_id=note.version_id)
            if found.etag == note.etag:
                return found
    except ObjectNotFoundError as error:
        what = f"version {note.version_id} of {note.url}" if note.kept is Kept.VERSION else str(note.copy_url)
        raise BackupError(f"the backup {what} is gone: it was removed, or has expired") from error
    raise BackupError(f"there is no backup of it: {note.why_not or 'the version that was noted is another object'}")


def fetch_original(store: DeepStore, note: Backup, archive: Path) -> Original:
    """Download the old object from where it is kept, and see that it is what was kept.

    Raises:
        BackupError: it is not there, or not what was kept.
    """
    found = find_kept(store, note)
    try:
        version = note.version_id if note.kept is Kept.VERSION else None
        store.download(found.url, archive, if_match=found.etag, version_id=version)
    except (ObjectNotFoundError, ObjectChangedError) as error:
        raise BackupError(f"the backup {found.url} was removed or changed while it was read") from error
    creation_meta, properties = read_metadata(archive, note.segment)
    meta = CreationMeta.from_bytes(creation_meta)
    if (found.size, meta.crc) != (note.size, note.object_crc):
        raise BackupError(
            f"the backup {found.url} has {found.size} bytes and CRC {meta.crc}, and {note.size} bytes with CRC "
            f"{note.object_crc} were kept: it is left alone"
        )
    return Original(archive, meta, properties, found.metadata)


def written_by(note: Backup, metadata: Mapping[str, str]) -> bool:
    """Whether an object with this user metadata holds what the run of the note wrote."""
    mark = first_written(metadata)
    return mark is not None and mark.run == note.mark.run


def put_back_run(mark: ObjectMark) -> str:
    """What the mark of an object that was put back names as its run, for the run that had overwritten it."""
    return f"undone: {mark.run}"


def put_back(writes: SegmentWrites, note: Backup, original: Original, now: ObjectInfo, *, crc: int) -> str:
    """Overwrite the object `now` with the original by compare-and-set; returns the new ETag.

    `crc` is ZooKeeper's at this time. Where it is not the original's, the mark says so, and whoever comes next can
    finish this.

    Raises:
        LostRaceError: the object is another one by now.
    """
    mark = ObjectMark(put_back_run(note.mark), crc, note.object_crc, note.mark.table_hash)
    metadata = put_back_metadata(original.metadata, mark)
    return writes.overwrite(note.segment, note.url, original.archive, before=now, metadata=metadata)


def has_been_put_back(note: Backup, metadata: Mapping[str, str]) -> bool:
    """Whether an object with this user metadata is the original of the note, put back."""
    mark = read_mark(metadata)
    return (
        mark is not None
        and (mark.run, mark.new_crc) == (put_back_run(note.mark), note.object_crc)
        and first_written(metadata) == first_written(note.metadata)
    )
