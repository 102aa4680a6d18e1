"""Removing what older runs left: staged archives, copies of overwritten objects, whole runs, and open uploads.

Ages are told by the store alone, from when objects were written to when the report of the present run was: the clocks
of workers do not matter. What may still be needed is kept, however old it is:

- everything of the run that has just ended, and of a run that is not finished. One that has written no report counts as
  finished once nothing was written there for as long as runs are kept.
- the copy of an object that a run has overwritten without ZooKeeper knowing of it yet: whoever finishes that push needs
  it if the controller refuses.
- the note on a multipart upload that may still be open (`open_uploads`).

A run depends on no other run's folder, so nothing else is referenced. What the bucket keeps as earlier versions is left
to its lifecycle rules: others have versions there, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

from deep_store_sync.errors import BackupError, DeepStoreSyncError, ObjectNotFoundError, PinotError
from deep_store_sync.model import Outcome
from deep_store_sync.publishing.backup import read_note
from deep_store_sync.services import Services
from deep_store_sync.store.deep_store import ObjectInfo, parse_url
from deep_store_sync.store.object_mark import read_mark
from deep_store_sync.upkeep.open_uploads import OpenUploads
from deep_store_sync.workspace import BACKUP, STAGED, UPLOADS, Workspace

# What a run may remove at most, and how many notes it looks at to see whether they are needed. A backlog takes several
# runs, the oldest first.
MOST_REMOVED = 50_000
MOST_LOOKED_AT = 10_000

_LOOKS_AT_ONCE = 8
# After so many places in a row where the store gave no answer, it is away: the others would only wait for it, too.
_MOST_UNANSWERED = 3
_MOST_NAMED = 5

_RESULTS = ("rebuilt", "published", "stamped")


@dataclass(frozen=True, slots=True)
class Collected:
    """How many objects were removed, and the bytes of them; and how many open uploads were dropped."""

    objects: int = 0
    bytes: int = 0
    uploads: int = 0


def collect(
    services: Services,
    plan_url: str,
    *,
    log: logging.Logger,
    most: int = MOST_REMOVED,
    most_looked_at: int = MOST_LOOKED_AT,
) -> Collected:
    """Remove what has outlived `keepStaged`, `keepBackups` and `keepRuns`, for a run that has just written its report.

    It never fails a run: what cannot be removed is named in the log, and tried again by the next one. It keeps nothing
    else from being removed.
    """
    trouble = _Trouble()
    collected = Collected()
    try:
        present = Workspace.of_plan(services.store, plan_url)
        now = _written(services.store.head(present.report_url))
        collector = _Collector(services, now, OpenUploads(services, now, log), trouble, log, most, most_looked_at)
        try:
            collector.collect(present)
        finally:
            collected = collector.collected
    except DeepStoreSyncError as error:
        log.warning("the workspace was not cleared of what older runs left, the next run tries again: %s", error)
    for line in trouble.lines():
        log.warning("%s", line)
    if collected.objects:
        log.info("removed from the workspace: %d objects, %d bytes of older runs", collected.objects, collected.bytes)
    if collected.uploads:
        log.info("dropped %d multipart uploads that older runs had left open", collected.uploads)
    return collected


class _Trouble:
    """What went wrong at single places, to be told once and in the end."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._unanswered = 0

    @contextmanager
    def passed_over(self, url: str) -> Iterator[None]:
        """Go on with the next place where this one cannot be cleared, unless the store is away."""
        try:
            yield
        except DeepStoreSyncError as error:
            self._unanswered += error.transient
            if self._unanswered >= _MOST_UNANSWERED:
                raise
            self.note(url, error)
        else:
            self._unanswered = 0

    def note(self, what: str, error: Exception) -> None:
        """Have this told."""
        self._reasons[what] = str(error)

    def lines(self) -> Iterator[str]:
        """What went wrong, where, in words."""
        for what, reason in list(self._reasons.items())[:_MOST_NAMED]:
            yield f"{what} was not cleared of all that may go, the next run tries again: {reason}"
        if len(self._reasons) > _MOST_NAMED:
            yield f"nor were {len(self._reasons) - _MOST_NAMED} more"


class _Collector:
    """Removes what may be removed of one place after the other."""

    def __init__(
        self,
        services: Services,
        now: datetime,
        uploads: OpenUploads,
        trouble: _Trouble,
        log: logging.Logger,
        most: int,
        most_looked_at: int,
    ) -> None:
        self._services = services
        self._now = now
        self._uploads = uploads
        self._trouble = trouble
        self._log = log
        self._left = most
        self._looks_left = most_looked_at
        self._objects = 0
        self._bytes = 0
        self._crcs: dict[str, int | None] | PinotError | None = None

    @property
    def collected(self) -> Collected:
        """What was removed so far."""
        return Collected(self._objects, self._bytes, self._uploads.dropped)

    def collect(self, present: Workspace) -> None:
        """Remove what has outlived its time, of all runs of the table but the present one."""
        for place in self._places(present):
            if self._left <= 0:
                self._log.info("more is to be removed from the workspace: the next run goes on")
                break
            with self._trouble.passed_over(place.run_url):
                self._place(place)

    def _places(self, present: Workspace) -> list[Workspace]:
        """The places of all runs but the present one, the oldest plan first."""
        store, settings = self._services.store, self._services.settings
        own = parse_url(present.run_url.rsplit("/", 1)[0] + "/")
        tries: list[str] = []
        for run in store.folders(Workspace.runs_url(settings.workspace, settings.table)):
            if parse_url(run) != own:
                with self._trouble.passed_over(run):
                    tries += [url.rstrip("/") for url in store.folders(run)]
        # By the number that the planning worker gave it: only an order, no age.
        return [Workspace(store, url) for url in sorted(tries, key=lambda url: (url.rpartition("/")[2], url))]

    def _place(self, place: Workspace) -> None:
        settings = self._services.settings
        ended = self._ended(place)
        if ended is None:
            return
        age = self._now - ended
        for_good, needed = _over(age, settings.keep_runs), False

        def young(kept: timedelta | None) -> Callable[[ObjectInfo], bool]:
            # A task of the run may have been cleared long after its report, and be at work.
            return lambda item: not any(_over(self._now - _written(item), each) for each in (kept, settings.keep_runs))

        staged_young, backups_young = young(settings.keep_staged), young(settings.keep_backups)
        if _over(age, settings.keep_staged) or for_good:
            needed |= self._remove(place, f"{STAGED}/", keep=staged_young)
        if _over(age, settings.keep_backups) or for_good:
            segments = self._still_needed(place)
            needed |= self._remove(
                place, f"{BACKUP}/", keep=lambda item: place.backed_up(item.url) in segments or backups_young(item)
            )
        if _over(age, settings.keep_staged) or for_good:
            closed = self._uploads.drop(place, for_good=for_good)
            needed |= self._remove(place, f"{UPLOADS}/", keep=lambda item: item.url not in closed)
        if for_good and not needed:
            self._remove(place, "", keep=young(None), last=(place.report_url, place.plan_url))

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

    def _still_needed(self, place: Workspace) -> Collection[str]:
        """The segments whose new objects ZooKeeper does not know of yet, or may not, as long as nobody has looked."""
        records = place.backup_records()
        first = next(records, None)
        if first is None:
            return ()
        # Of what the report calls synced, ZooKeeper knows.
        try:
            told = {row.segment for row in place.read_report() if row.outcome is Outcome.SYNCED}
        except ObjectNotFoundError:
            told = set()
        doubtful = sorted(
            (_written(item), segment, item.url) for segment, item in chain([first], records) if segment not in told
        )
        if not doubtful:
            return ()
        try:
            crcs = self._known_crcs()
        except PinotError as error:
            self._trouble.note("the backup of objects that ZooKeeper may not know of yet", error)
            return {segment for _, segment, _ in doubtful}
        doubtful = [note for note in doubtful if crcs.get(note[1]) is not None]
        looked_at, rest = doubtful[: self._looks_left], doubtful[self._looks_left :]
        self._looks_left -= len(looked_at)
        if rest:
            self._log.info("%s: %d notes on backups are left for the next run to look at", place.run_url, len(rest))
        with ThreadPoolExecutor(_LOOKS_AT_ONCE, thread_name_prefix="notes") as pool:
            untold = list(pool.map(lambda note: self._untold(note[2], crcs[note[1]]), looked_at))
        needed = [note for note, is_untold in zip(looked_at, untold, strict=True) if is_untold]
        return {segment for _, segment, _ in (*needed, *rest)}

    def _known_crcs(self) -> dict[str, int | None]:
        """ZooKeeper's CRCs, which are asked for once, whatever comes of it."""
        if self._crcs is None:
            controller, table = self._services.controller, self._services.settings.table
            try:
                self._crcs = {record.name: record.crc for record in controller.segments(table)}
            except PinotError as error:
                self._crcs = error
        if isinstance(self._crcs, PinotError):
            raise self._crcs
        return self._crcs

    def _untold(self, note_url: str, crc: int | None) -> bool:
        store = self._services.store
        try:
            note = read_note(store, note_url)
            mark = None if note is None else read_mark(store.head(note.url).metadata)
        except ObjectNotFoundError:
            return False
        except BackupError as error:
            self._trouble.note(note_url, error)
            return True
        if note is None or mark != note.mark or crc is None:
            return False
        return mark.unfinished(zookeeper_crc=crc, object_crc=mark.new_crc)

    def _remove(
        self,
        place: Workspace,
        folder: str,
        *,
        keep: Callable[[ObjectInfo], bool],
        last: tuple[str, ...] = (),
    ) -> bool:
        """Remove the objects of a folder of a place, as far as this run may; `last` where nothing else stays.

        Returns:
            Whether there were any to `keep`.
        """
        at_last = {parse_url(url) for url in last}
        urls: list[str] = []
        size, kept = 0, False
        for item in self._services.store.list(f"{place.run_url}/{folder}"):
            if parse_url(item.url) in at_last:
                continue
            if keep(item):
                kept, last = True, ()
                continue
            if len(urls) >= self._left:
                last = ()
                break
            urls.append(item.url)
            size += item.size
        self._services.store.delete_all([*urls, *last])
        self._left -= len(urls) + len(last)
        self._objects += len(urls) + len(last)
        self._bytes += size
        return kept


def _over(age: timedelta, kept: timedelta | None) -> bool:
    return kept is not None and age > kept


def _written(item: ObjectInfo) -> datetime:
    if item.last_modified is None:
        raise DeepStoreSyncError(
            f"the store does not tell when {item.url} was written: give the workspace a lifecycle rule"
        )
    return item.last_modified
