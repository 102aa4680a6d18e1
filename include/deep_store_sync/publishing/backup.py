"""Backups: what is kept of an object before it is overwritten, and putting it back.

Before each overwrite a note is written into the run's workspace: which object, what was kept of it and where,
ZooKeeper's CRC and stamp as they were, and the mark that the new object will carry. It is there before the object
changes, so whatever happens after that, a rollback knows what to bring back and what to take away.

Notes and copies are never overwritten, and who wrote them is the only one to take them back: of two tries of a task
that are both alive, neither touches what the other one relies on. So there may be several on one segment.

Every run has the notes of all objects that it has put into service, and the copies: none of them depends on another
run's folder, which may be gone by then.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
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
class Noted:
    """A note that was written, where it lies, and where the copy that was made for it, if one was."""

    note: Backup
    url: str
    copy_url: str | None = None


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

    def keep(self, row: PlannedSegment, rebuilt: RebuildResult, seen: Seen, mark: ObjectMark) -> Noted:
        """Keep the object that is about to be overwritten by one with this mark. When this returns, that is durable.

        Raises:
            StoreCapabilityError: the setting is `versioning`, and the bucket does not keep versions.
            LostRaceError: the object is another one by now.
            DeepStoreError: it could not be kept.
        """
        before = seen.object
        copy_url, note_url = self._workspace.backup_urls(row.segment)
        own = first_written(before.metadata)
        if own is not None and own.run == mark.run and (earlier := self.note_on(row.segment, own)) is not None:
            # A second pass over what this run has overwritten already: the old object is the one before the first.
            return self._write(Noted(replace(earlier, mark=mark), note_url))
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
            try:
                self._store.copy(row.url, copy_url, source_etag=before.etag)
            except (ObjectChangedError, ObjectNotFoundError) as error:
                raise LostRaceError(f"the object {row.url} was overwritten or deleted meanwhile") from error
            note = replace(note, kept=Kept.COPY, copy_url=copy_url)
        return self._write(Noted(note, note_url, note.copy_url))

    def take_over(self, row: PlannedSegment, rebuilt: RebuildResult, seen: Seen) -> None:
        """Have the backup of an object that an earlier run wrote, and that this run puts into service, as this run's.

        Without one the object is put into service all the same: its rows are the old one's.
        """
        mark = read_mark(seen.object.metadata)
        if mark is None or self.note_on(row.segment, mark) is not None:
            return
        copy_url, note_url = self._workspace.backup_urls(row.segment)
        places = reversed(self._workspace.tries_of(mark.run))
        note = next((note for place in places if (note := self._find(place, row.segment, mark)) is not None), None)
        if note is None:
            self._log.warning("%s: no backup is left of the object that run %s overwrote", row.segment, mark.run)
            stamp = stamp_entries(seen.record.custom)
            why_not = f"run {mark.run} overwrote it, and its backup was gone when this run finished that"
            note = Backup(
                row.segment, row.url, mark, Kept.NOTHING, row.crc, rebuilt.object_crc, stamp=stamp, why_not=why_not
            )
        elif note.copy_url is not None:
            self._store.copy(note.copy_url, copy_url, source_etag=self._store.head(note.copy_url).etag)
            note = replace(note, copy_url=copy_url)
        self._write(Noted(note, note_url))

    def note_on(self, segment: str, mark: ObjectMark) -> Backup | None:
        """This run's note on what was there before the object with this mark, where it was kept, if it was."""
        return self._find(self._workspace, segment, mark)

    def _find(self, place: Workspace, segment: str, mark: ObjectMark) -> Backup | None:
        for _, item in place.backup_records(segment):
            try:
                note = read_note(self._store, item.url)
            except BackupError as error:
                self._log.warning("%s: passed over: %s", segment, error)
                continue
            if note and note.mark == mark and (note.copy_url is None or self._store.exists(note.copy_url)):
                return note
        return None

    def forget(self, noted: Noted) -> None:
        """Take back the note on an object that was not overwritten after all, with the copy that was made for it.

        Where the object that is there now is of this run, both stay. Another try of it was quicker, or goes on from
        what this one wrote with its answer late: a rollback may need them, and they do no harm.
        """
        with suppress(ObjectNotFoundError):
            if written_by(noted.note, self._store.head(noted.note.url).metadata):
                return
        self._store.delete(noted.url)
        if noted.copy_url is not None:
            self._store.delete(noted.copy_url)

    def _write(self, noted: Noted) -> Noted:
        self._store.write_workspace(noted.url, noted.note.to_json())
        return noted


def read_note(store: DeepStore, url: str) -> Backup | None:
    """The note at this URL, or None when there is none, or none any more.

    Raises:
        BackupError: what is there cannot be read as one.
    """
    try:
        return Backup.from_json(store.read(url))
    except ObjectNotFoundError:
        return None
    except BackupError as error:
        raise BackupError(f"{url}: {error}") from error


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
    finish this. So it is where another try's push of the object that is undone arrives yet: its CRC is pending.

    Raises:
        LostRaceError: the object is another one by now.
    """
    pending = (*note.mark.pending, note.mark.new_crc)
    mark = ObjectMark(put_back_run(note.mark), crc, note.object_crc, note.mark.table_hash, pending)
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
