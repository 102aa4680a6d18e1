"""Rolling a run back: every object that the run overwrote is put back, with its CRC and stamp in ZooKeeper."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from deep_store_sync.errors import BackupError, NotInTableError
from deep_store_sync.plan import in_globs
from deep_store_sync.publishing.backup import Backup, read_note
from deep_store_sync.services import Services
from deep_store_sync.upkeep.undo import SegmentRollback, Undo, Undone
from deep_store_sync.workspace import Workspace

_READ_AT_ONCE = 8
_UNKNOWN = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Rollback:
    """What a rollback came to: a row for each segment that the run had overwritten, and what else there is to know."""

    table: str
    run_id: str
    dry_run: bool
    segments: tuple[SegmentRollback, ...]
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing of the run is left, or would be."""
        return all(row.outcome not in (Undone.LEFT_ALONE, Undone.FAILED) for row in self.segments)


def roll_back(
    services: Services,
    run_id: str,
    *,
    globs: Sequence[str] = (),
    dry_run: bool = False,
    log: logging.Logger,
    done: Callable[[int, int], None] = lambda done, total: None,
) -> Rollback:
    """Bring the objects, CRCs and stamps back that a run has overwritten, of segments that match one of the globs.

    `done` is told how many are rolled back, or left, and of how many.

    Returns:
        What became of each.

    Raises:
        NotInTableError: the table has no such run; those that it has are in the message.
        PinotError: the controller does not answer, so that no decision can be made.
        StoreCapabilityError: the store ignores the conditions that overwriting depends on. Nothing was changed.
        DeepStoreError: the workspace cannot be read or written.
    """
    table = services.settings.table
    runs_url = Workspace.runs_url(services.settings.workspace, table)
    tries = Workspace.tries(services.store, runs_url, run_id)
    if not tries:
        raise _no_such_run(services, run_id)
    notes, rows = _read_notes(services, tries, globs)
    total = len(notes) + len(rows)
    log.info("%s: run %s has overwritten %d segments", table, run_id, total)
    for row in rows:
        log.error("%s: %s", row.segment, row.message)
    if notes and not dry_run:
        largest = max(note.size for of_segment in notes.values() for note in of_segment)
        services.store.probe(tries[-1].run_url, multipart=largest > services.store.multipart_threshold)
    undo = Undo(services, tries[-1], log, dry_run)
    work = iter(sorted(notes.items()))
    while wave := dict(islice(work, services.settings.wave_segments)):
        rows += undo.wave(wave)
        log.info("%d of %d segments done", len(rows), total)
        done(len(rows), total)
    return Rollback(table, run_id, dry_run, tuple(rows), tuple(_remarks(services, tries, notes, rows)))


def known_runs(services: Services) -> list[str]:
    """The folders of the table's runs, by name, which begins as the run's id does."""
    runs_url = Workspace.runs_url(services.settings.workspace, services.settings.table)
    return [url.rstrip("/").rpartition("/")[2] for url in services.store.folders(runs_url)]


def _read_notes(
    services: Services, tries: Sequence[Workspace], globs: Sequence[str]
) -> tuple[dict[str, list[Backup]], list[SegmentRollback]]:
    """The notes of a run by segment, the newest first, and what has become of segments with one that cannot be read.

    There may be several: a run that planned again may have overwritten a segment twice, and so may two tries of a task.
    """

    def read(url: str) -> Backup | BackupError | None:
        try:
            return read_note(services.store, url)
        except BackupError as error:
            return error

    wanted: list[tuple[str, str]] = []
    for place in reversed(tries):
        of_place = [
            (item.last_modified or _UNKNOWN, segment, item.url)
            for segment, item in place.backup_records()
            if in_globs(segment, globs)
        ]
        wanted += [(segment, url) for _, segment, url in sorted(of_place, reverse=True)]
    notes: dict[str, list[Backup]] = {}
    unreadable: dict[str, SegmentRollback] = {}
    with ThreadPoolExecutor(_READ_AT_ONCE, thread_name_prefix="notes") as pool:
        for (segment, _), note in zip(wanted, pool.map(lambda item: read(item[1]), wanted), strict=True):
            if isinstance(note, BackupError):
                unreadable[segment] = SegmentRollback(segment, Undone.FAILED, f"nothing was changed: {note}")
            elif note is not None:
                # One that is gone by now: the run under way found that it had not overwritten the object.
                notes.setdefault(segment, []).append(note)
    return {segment: of for segment, of in notes.items() if segment not in unreadable}, list(unreadable.values())


def _remarks(
    services: Services,
    tries: Sequence[Workspace],
    notes: Mapping[str, Sequence[Backup]],
    rows: Sequence[SegmentRollback],
) -> Iterator[str]:
    """What a rollback does not do, as far as it matters here."""
    if not services.store.exists(tries[-1].report_url):
        yield (
            "the run has written no report: it died, or is still at work and may go on publishing. Make sure that it "
            "has ended, and roll it back once more"
        )
    undone = {row.segment for row in rows if row.outcome in (Undone.ROLLED_BACK, Undone.WOULD_BE, Undone.AS_BEFORE)}
    uploaded = sum(
        any(note.status == "DONE" and not note.quiet for note in of_segment)
        for segment, of_segment in notes.items()
        if segment in undone
    )
    if uploaded:
        yield (
            f"{uploaded} segments were DONE before the run and stay UPLOADED, with useDataCrc cleared: Pinot changes "
            "that with every refresh of a REALTIME segment, and never back"
        )
    if undone:
        yield (
            "the next run of the DAG finds these segments out of sync and rebuilds them again. To keep them as they "
            "are, pause the DAG or set the kill switch before it starts:\n"
            f"  airflow dags pause deep_store_sync__{services.settings.table}\n"
            f"  airflow variables set deep_store_sync_stop__{services.settings.table} 'run rolled back'"
        )


def _no_such_run(services: Services, run_id: str) -> NotInTableError:
    settings = services.settings
    known = known_runs(services)
    last = " (the last ten)" if len(known) > 10 else ""
    return NotInTableError(
        f"{settings.table} has no run {run_id!r} in {settings.workspace}: it never ran, or keepRuns has passed. "
        f"Give the run's id as Airflow shows it. Folders of runs there{last}: {', '.join(known[-10:]) or 'none'}"
    )
