"""Removing what older runs left: staged archives, copies of overwritten objects, whole runs, and open uploads.

Ages are told by the store alone, from when objects were written to when the report of the present run was: the clocks
of workers do not matter. What may still be needed is kept, however old it is:

- everything of the run that has just ended, and of a run that is not finished. One that has written no report counts as
  finished once nothing was written there for as long as runs are kept.
- the copy of an object that a run has overwritten without ZooKeeper knowing of it yet: whoever finishes that push needs
  it if the controller refuses.

Multipart uploads that were cut short by a kill keep their parts, where no listing of objects shows them. Those of a run
are dropped with its staged archives: what was to come into its folder, and into the deep store what it had noted before
it sent the first part. Others upload there, too, and theirs are left alone.

A run depends on no other run's folder, so nothing else is referenced. What the bucket keeps as earlier versions is left
to its lifecycle rules: others have versions there, too.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from deep_store_sync.errors import DeepStoreSyncError, ObjectNotFoundError
from deep_store_sync.model import Outcome
from deep_store_sync.publishing.backup import Backup
from deep_store_sync.services import Services
from deep_store_sync.store.deep_store import ObjectInfo, parse_url
from deep_store_sync.store.multipart import OpenUpload
from deep_store_sync.store.object_mark import read_mark
from deep_store_sync.workspace import BACKUP, STAGED, UPLOADS, Workspace

# What a run may remove at most. A backlog takes several runs, the oldest first.
MOST_REMOVED = 50_000

_RESULTS = ("rebuilt", "published", "stamped")


@dataclass(frozen=True, slots=True)
class Collected:
    """How many objects were removed, and the bytes of them; and how many open uploads were dropped."""

    objects: int = 0
    bytes: int = 0
    uploads: int = 0


def collect(services: Services, plan_url: str, *, log: logging.Logger, most: int = MOST_REMOVED) -> Collected:
    """Remove what has outlived `keepStaged`, `keepBackups` and `keepRuns`, for a run that has just written its report.

    It never fails a run: what cannot be removed is named in the log, and tried again by the next one.
    """
    try:
        present = Workspace.of_plan(services.store, plan_url)
        now = _written(services.store.head(present.report_url))
        collector = _Collector(services, now, most, _open_uploads(services, now, log), log)
        for place in _places(services, present):
            if collector.left <= 0:
                log.info("more is to be removed from the workspace: the next run goes on")
                break
            collector.place(place)
    except DeepStoreSyncError as error:
        log.warning("the workspace was not cleared of what older runs left, the next run tries again: %s", error)
        return Collected()
    if collector.removed:
        log.info("removed from the workspace: %d objects, %d bytes of older runs", collector.removed, collector.bytes)
    if collector.dropped:
        log.info("dropped %d multipart uploads that older runs had left open", collector.dropped)
    return Collected(collector.removed, collector.bytes, collector.dropped)


def _open_uploads(services: Services, now: datetime, log: logging.Logger) -> list[OpenUpload]:
    """All uploads to where runs of the table write that are older than `keepStaged`, whoever began them."""
    settings, store = services.settings, services.store
    if settings.keep_staged is None:
        return []
    places = (*settings.deep_store_prefixes, Workspace.runs_url(settings.workspace, settings.table))
    try:
        found = {upload.id: upload for place in places for upload in store.open_uploads(f"{place.rstrip('/')}/")}
    except DeepStoreSyncError as error:
        log.info("open multipart uploads are not looked for (%s): have a lifecycle rule abort incomplete ones", error)
        return []
    return [upload for upload in found.values() if _over(now - upload.begun, settings.keep_staged)]


def _places(services: Services, present: Workspace) -> Iterator[Workspace]:
    """The places of all runs of the table but the present one, the oldest plan first."""
    store = services.store
    runs_url = Workspace.runs_url(services.settings.workspace, services.settings.table)
    own = parse_url(present.run_url.rsplit("/", 1)[0] + "/")
    tries = [url.rstrip("/") for run in store.folders(runs_url) if parse_url(run) != own for url in store.folders(run)]
    # By the number that the planning worker gave it: only an order, no age.
    yield from (Workspace(store, url) for url in sorted(tries, key=lambda url: (url.rpartition("/")[2], url)))


class _Collector:
    """Removes what may be removed of one place after the other."""

    def __init__(
        self, services: Services, now: datetime, most: int, uploads: Collection[OpenUpload], log: logging.Logger
    ) -> None:
        self._services = services
        self._now = now
        self._log = log
        self._uploads = uploads
        self.left = most
        self.removed = 0
        self.bytes = 0
        self.dropped = 0

    def place(self, place: Workspace) -> None:
        """Remove what has outlived its time, of one plan of a run."""
        settings = self._services.settings
        ended = self._ended(place)
        if ended is None:
            return
        age = self._now - ended
        needed: set[str] = set()
        if _over(age, settings.keep_backups) or _over(age, settings.keep_runs):
            needed = self._still_needed(place)
            self._remove(place, f"{BACKUP}/", keep=needed)
        if _over(age, settings.keep_staged) or _over(age, settings.keep_runs):
            self._drop_uploads(place)
            self._remove(place, f"{UPLOADS}/")
            self._remove(place, f"{STAGED}/")
        if _over(age, settings.keep_runs) and not needed:
            self._remove(place, "", last=(place.report_url, place.plan_url))

    def _drop_uploads(self, place: Workspace) -> None:
        """Drop the open uploads that this run began."""
        if not self._uploads:
            return
        store, noted = self._services.store, dict(place.noted_uploads())
        own = parse_url(place.run_url + "/")
        for upload in self._uploads:
            bucket, key = parse_url(upload.url)
            ours = bucket == own[0] and key.startswith(own[1])
            if not ours and upload.id in noted:
                ours = parse_url(store.read(noted[upload.id]).decode()) == (bucket, key)
            if ours:
                store.drop_upload(upload)
                self.dropped += 1

    def _ended(self, place: Workspace) -> datetime | None:
        """When a run wrote its report, or what else it wrote last if it is dead; None while it may be at work."""
        store = self._services.store
        try:
            return _written(store.head(place.report_url))
        except ObjectNotFoundError:
            written = [_written(item) for stage in _RESULTS for item in store.list(f"{place.run_url}/{stage}/")]
        try:
            written.append(_written(store.head(place.plan_url)))
        except ObjectNotFoundError:
            written += [_written(item) for item in store.list(place.run_url + "/")]
        last = max(written, default=self._now)
        return last if _over(self._now - last, self._services.settings.keep_runs) else None

    def _still_needed(self, place: Workspace) -> set[str]:
        """The copies of objects whose new ones ZooKeeper does not know of yet, and the notes on them."""
        notes = dict(place.backup_records())
        if not notes:
            return set()
        # Of what the report calls synced, ZooKeeper knows.
        try:
            told = {row.segment for row in place.read_report() if row.outcome is Outcome.SYNCED}
        except ObjectNotFoundError:
            told = set()
        doubtful = {segment: url for segment, url in notes.items() if segment not in told}
        if not doubtful:
            return set()
        crcs = {record.name: record.crc for record in self._services.controller.segments(self._services.settings.table)}
        return {
            needed
            for segment, url in doubtful.items()
            if self._untold(url, crcs.get(segment))
            for needed in (url, place.backup_url(segment))
        }

    def _untold(self, note_url: str, crc: int | None) -> bool:
        store = self._services.store
        try:
            note = Backup.from_json(store.read(note_url))
            mark = read_mark(store.head(note.url).metadata)
        except ObjectNotFoundError:
            return False
        return mark == note.mark and crc is not None and mark.unfinished(zookeeper_crc=crc, object_crc=mark.new_crc)

    def _remove(self, place: Workspace, folder: str, *, keep: Collection[str] = (), last: tuple[str, ...] = ()) -> None:
        """Remove the objects of a folder of a place, `last` after all others, as far as this run may remove any."""
        untouched = {parse_url(url) for url in (*keep, *last)}
        urls: list[str] = []
        size = 0
        for item in self._services.store.list(f"{place.run_url}/{folder}"):
            if parse_url(item.url) in untouched:
                continue
            if len(urls) >= self.left:
                last = ()
                break
            urls.append(item.url)
            size += item.size
        self._services.store.delete_all([*urls, *last])
        self.left -= len(urls) + len(last)
        self.removed += len(urls) + len(last)
        self.bytes += size


def _over(age: timedelta, kept: timedelta | None) -> bool:
    return kept is not None and age > kept


def _written(item: ObjectInfo) -> datetime:
    if item.last_modified is None:
        raise DeepStoreSyncError(
            f"the store does not tell when {item.url} was written: give the workspace a lifecycle rule"
        )
    return item.last_modified
