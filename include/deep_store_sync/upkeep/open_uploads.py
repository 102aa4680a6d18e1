"""Multipart uploads that were cut short by a kill, and the notes that runs left on theirs.

They keep their parts, where no listing of objects shows them. What was to come into a run's folder is the run's, and so
is what the run has noted before it sent the first part; a rollback notes its uploads there as well, long after the run
has ended. Others upload into the deep store, too, and theirs are left alone.

A note stays until it is known that its upload is not open any more.
"""

from __future__ import annotations

import logging
from datetime import datetime

from deep_store_sync.errors import DeepStoreSyncError
from deep_store_sync.services import Services
from deep_store_sync.store.deep_store import ObjectInfo, parse_url
from deep_store_sync.store.multipart import OpenUpload
from deep_store_sync.workspace import Workspace

# Uploads that a run drops unseen at most, where it may not list them: one request for the note and one for the upload.
_MOST_UNSEEN = 2_000


class OpenUploads:
    """The uploads to where runs of a table write that are open, whoever began them, as the store lists them once.

    `now` is a moment before that, by the store's clock. What is younger than `keepStaged` may be at work.
    """

    def __init__(self, services: Services, now: datetime, log: logging.Logger) -> None:
        settings, self._store = services.settings, services.store
        self._now = now
        self._kept = settings.keep_staged
        self._open: dict[str, OpenUpload] = {}
        self._all_listed = self._kept is not None
        self._unseen_left = _MOST_UNSEEN
        self.dropped = 0
        places = (*settings.deep_store_prefixes, Workspace.runs_url(settings.workspace, settings.table))
        for place in places if self._kept is not None else ():
            try:
                self._open |= {upload.id: upload for upload in self._store.open_uploads(f"{place.rstrip('/')}/")}
            except DeepStoreSyncError as error:
                self._all_listed = False
                log.info(
                    "open multipart uploads are not looked for (%s): have a lifecycle rule abort incomplete ones", error
                )

    def drop(self, place: Workspace, *, for_good: bool) -> set[str]:
        """Drop what a run has left open; returns the notes that may go, by URL: no upload of theirs is open any more.

        What the store did not list is left, and its note stays. If the run is to go `for_good`, it is dropped unseen.
        """
        noted = dict(place.noted_uploads())
        own = parse_url(place.run_url + "/")
        dropped: set[str] = set()
        for upload in self._open.values():
            bucket, key = parse_url(upload.url)
            ours = bucket == own[0] and key.startswith(own[1])
            if not ours and upload.id in noted:
                ours = parse_url(self._noted_url(noted[upload.id])) == (bucket, key)
            if ours and self._is_old(upload.begun):
                self._store.drop_upload(upload)
                dropped.add(upload.id)
        self.dropped += len(dropped)
        return {
            note.url
            for upload_id, note in noted.items()
            if upload_id in dropped or self._is_gone(upload_id, note) or (for_good and self._unseen(upload_id, note))
        }

    def _is_gone(self, upload_id: str, note: ObjectInfo) -> bool:
        """Whether the upload was begun before the store listed the open ones, and was not among them."""
        before = note.last_modified is not None and note.last_modified < self._now
        return self._all_listed and before and upload_id not in self._open

    def _unseen(self, upload_id: str, note: ObjectInfo) -> bool:
        """Drop an upload that may be open, or not any more; returns whether it was old enough for that."""
        if note.last_modified is None or not self._is_old(note.last_modified) or self._unseen_left <= 0:
            return False
        self._unseen_left -= 1
        self._store.drop_upload(OpenUpload(self._noted_url(note), upload_id, note.last_modified))
        return True

    def _noted_url(self, note: ObjectInfo) -> str:
        return self._store.read(note.url).decode()

    def _is_old(self, moment: datetime) -> bool:
        return self._kept is not None and self._now - moment > self._kept
