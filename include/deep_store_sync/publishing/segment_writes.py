"""The two writes that change a segment, each by compare-and-set: its object, and its record in ZooKeeper.

Publishing and rolling back both consist of these. An outcome that is not known is read back, never guessed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from deep_store_sync.errors import (
    DeepStoreError,
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
from deep_store_sync.model import CopyBy, SegmentRecord
from deep_store_sync.pinot.storage_quota import storage_quota
from deep_store_sync.publishing.push_pace import PushPace
from deep_store_sync.segment.archive import metadata_archive
from deep_store_sync.segment.segment_files import CreationMeta
from deep_store_sync.services import Services
from deep_store_sync.store.deep_store import ObjectInfo
from deep_store_sync.store.object_mark import read_mark
from deep_store_sync.workspace import Workspace


class LostRaceError(DeepStoreSyncError):
    """Somebody else changed the segment meanwhile. Nothing of theirs was touched."""


class NotCopiedError(DeepStoreSyncError):
    """The store did not copy over an object as it should.

    The object is as it was, or it is our copy, which lacks something: `left` is what there is to be overwritten.
    """

    def __init__(self, message: str, left: ObjectInfo) -> None:
        super().__init__(message, left)
        self.left = left

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Seen:
    """A segment at one moment: ZooKeeper's record, and the object's attributes."""

    record: SegmentRecord
    object: ObjectInfo


@dataclass(frozen=True, slots=True)
class SegmentWrites:
    """Looks at segments of one table and writes them. `url` is always the segment's download URL.

    Multipart uploads are noted in the workspace before they have any part, so that what a killed process leaves open is
    known for ours.
    """

    services: Services
    log: logging.Logger
    sleep: Callable[[float], None] = time.sleep
    workspace: Workspace | None = None
    _pace: PushPace = field(default_factory=PushPace)

    def look(self, segment: str, url: str) -> Seen:
        """The segment as ZooKeeper and the deep store have it now.

        Raises:
            LostRaceError: one of them has it no more.
        """
        record = self._record(segment)
        try:
            return Seen(record, self.services.store.head(url))
        except ObjectNotFoundError as error:
            raise LostRaceError(f"the object {url} is gone") from error

    def _record(self, segment: str) -> SegmentRecord:
        try:
            return self.services.controller.segment(self.services.settings.table, segment)
        except PinotNotFoundError as error:
            raise LostRaceError("the segment was deleted meanwhile") from error

    def overwrite(
        self, segment: str, url: str, archive: Path, *, before: ObjectInfo, metadata: Mapping[str, str]
    ) -> str:
        """Overwrite the object if it is still the one of `before`; returns the new ETag.

        It keeps all attributes but the user metadata, which is `metadata`, with a mark in it.

        Raises:
            LostRaceError: the object was overwritten or deleted.
            DeepStoreUnavailableError: the store gave no answer, and has not done it so far, or does not tell.
        """
        like, begun = replace(before, metadata={}), self._noted(url)

        def write() -> str:
            return self.services.store.replace(
                url, archive, if_match=before.etag, like=like, metadata=metadata, begun=begun
            )

        return self._overwrite(segment, url, write, before=before, metadata=metadata)

    def overwrite_by_copy(
        self,
        segment: str,
        url: str,
        staged: ObjectInfo,
        way: CopyBy,
        *,
        before: ObjectInfo,
        metadata: Mapping[str, str],
    ) -> str:
        """The same with a copy of a staged archive inside the store, if that is as it was staged: by ETag and size.

        Raises:
            NotCopiedError: the store refuses it, or the copy is not as it should be.
            LostRaceError, DeepStoreUnavailableError: as above.
        """
        store, like, begun = self.services.store, replace(before, metadata={}), self._noted(url)

        def write() -> str:
            return store.replace_by_copy(
                url, staged, way, if_match=before.etag, like=like, metadata=metadata, begun=begun
            )

        try:
            etag = self._overwrite(segment, url, write, before=before, metadata=metadata)
        except (DeepStoreUnavailableError, WriteConflictError):
            raise
        except (LostRaceError, DeepStoreError) as error:
            # The staged archive may be what was gone or another one, too.
            found = self._look_again(url, error)
            if found.etag != before.etag:
                raise
            raise NotCopiedError(str(error), found) from error
        found = self._look_again(url, None)
        # What it has besides is the bucket's default, as it would be of one that is streamed.
        kept = before.attributes().items() <= found.attributes().items()
        if found.etag == etag and (found.size != staged.size or not kept):
            what = f"the copy of {staged.url} has {found.size} bytes and {found.attributes()}"
            raise NotCopiedError(f"{what}, not {staged.size} and {before.attributes()}", replace(before, etag=etag))
        return etag

    def _look_again(self, url: str, error: Exception | None) -> ObjectInfo:
        try:
            return self.services.store.head(url)
        except ObjectNotFoundError as gone:
            raise LostRaceError(f"the object {url} was deleted meanwhile") from error or gone

    def _noted(self, url: str) -> Callable[[str], object]:
        workspace = self.workspace
        return (lambda upload_id: workspace.note_upload(upload_id, url)) if workspace else lambda _: None

    def _overwrite(
        self, segment: str, url: str, write: Callable[[], str], *, before: ObjectInfo, metadata: Mapping[str, str]
    ) -> str:
        for wait_s in (0.2, 0.4, 0.8, None):
            try:
                return write()
            except WriteConflictError:
                if wait_s is None:
                    raise
                self.sleep(wait_s)
            except (ObjectChangedError, ObjectNotFoundError, DeepStoreUnavailableError) as error:
                # A refusal is also the answer to a request that was sent twice on the way and did arrive.
                try:
                    etag = self._read_back(url, before, metadata)
                except DeepStoreUnavailableError as unread:
                    raise DeepStoreUnavailableError(
                        f"{error}. Nor could it be read back ({unread}): the next run sees what is there, and goes on"
                    ) from error
                if etag is not None:
                    self.log.info("%s: the answer to the upload was lost or wrong, but it did arrive", segment)
                    return etag
                if isinstance(error, DeepStoreUnavailableError):
                    raise
                raise LostRaceError(f"the object {url} was overwritten or deleted meanwhile") from error
        raise AssertionError("the last try returns or raises")

    def _read_back(self, url: str, before: ObjectInfo, metadata: Mapping[str, str]) -> str | None:
        """The ETag of the object if it is one that was written with this mark after `before`."""
        try:
            found = self.services.store.head(url)
        except ObjectNotFoundError:
            return None
        ours = found.etag != before.etag and read_mark(found.metadata) == read_mark(metadata)
        return found.etag if ours else None

    def push(
        self,
        segment: str,
        url: str,
        record: SegmentRecord,
        *,
        meta: CreationMeta,
        properties: bytes,
        custom: Mapping[str, str],
    ) -> None:
        """Tell ZooKeeper, by compare-and-set on the CRC of `record`, until it is known whether it was told.

        `meta` is the segment's `creation.meta`, with the CRC that ZooKeeper is to have; `properties` are its
        `metadata.properties`.

        Raises:
            LostRaceError: ZooKeeper's CRC is not that of `record` any more, or the segment is gone.
            PushRefusedError: the controller refuses it for good. Nothing was changed, and nothing will be.
            DeepStoreSyncError: there was no usable answer, and it has not been done so far, or nobody tells.
        """
        # An equal-CRC push sets ZooKeeper's creation time to the archive's, and upsert ties are broken by it.
        if record.creation_ms is not None:
            meta = replace(meta, creation_ms=record.creation_ms)
        archive = metadata_archive(segment, meta.to_bytes(), properties)
        self.prepare_push()
        unknown = False
        for wait_s in (0.5, 1.0, 2.0, None):
            try:
                with self._pace.pushing():
                    self.services.controller.push_metadata(
                        self.services.settings.table,
                        segment,
                        archive=archive,
                        url=url,
                        expected_crc=record.crc or 0,
                        custom=custom,
                    )
                return
            except SegmentGoneError as error:
                raise LostRaceError("the segment was deleted meanwhile") from error
            except SegmentChangedError as error:
                # Our own first try may be what changed it.
                if self._has(segment, meta.crc, custom):
                    return
                raise LostRaceError(f"the segment was pushed again meanwhile: {error}") from error
            except PushRefusedError as error:
                if not unknown:
                    raise
                if self._has(segment, meta.crc, custom):
                    return
                # The refusal speaks of the last try alone: an earlier one may still arrive.
                raise DeepStoreSyncError(
                    f"{error}. An earlier try got no answer, so nothing is put back: the next run finishes the push"
                ) from error
            except (PushConflictError, PinotUnavailableError, PinotAnswerError) as error:
                unknown = True
                try:
                    if self._has(segment, meta.crc, custom):
                        return
                except (PinotUnavailableError, PinotAnswerError) as unread:
                    # Asking again does no harm: what did arrive makes the next try fail on its condition.
                    if wait_s is None:
                        raise PinotUnavailableError(
                            f"{error}. Whether it arrived could not be read back ({unread}): the next run sees, and "
                            "goes on"
                        ) from error
                if wait_s is None:
                    raise
                self.sleep(wait_s)

    def prepare_push(self) -> None:
        """Ask once for what pushes have to know. It may raise a PinotError: best before an object is overwritten."""
        self._pace.know(lambda: storage_quota(self.services.controller.table_config(self.services.settings.table)))

    def _has(self, segment: str, crc: int, custom: Mapping[str, str]) -> bool:
        """Whether ZooKeeper has what a push was to write: the answer to a push whose outcome is not known."""
        record = self._record(segment)
        return record.crc == crc and all(record.custom.get(key) == value for key, value in custom.items())

    def expect_ours(self, url: str, etag: str) -> None:
        """Look once more after ZooKeeper was told: another push may have written the object in between and then lost.

        The stamp names the ETag, so it vouches for nothing then, and the next run looks into the segment again.

        Raises:
            LostRaceError: another run wrote the object. Its mark says so, and it or the next run tells ZooKeeper.
            DeepStoreSyncError: somebody else did.
        """
        found = self.services.store.head(url)
        if found.etag == etag:
            return
        if mark := read_mark(found.metadata):
            raise LostRaceError(f"run {mark.run} overwrote the object {url} while this push was under way")
        raise DeepStoreSyncError(
            f"somebody else overwrote {url} while this push was under way, and ZooKeeper has this push's CRC: "
            "push the segment again from its source"
        )
