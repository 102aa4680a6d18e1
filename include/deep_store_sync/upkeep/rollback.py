"""Rolling a run back: every object that the run overwrote is put back, with its CRC and stamp in ZooKeeper."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from deep_store_sync.errors import ConfigError
from deep_store_sync.plan import in_globs
from deep_store_sync.publishing.backup import Backup, read_note_at
from deep_store_sync.services import Services
from deep_store_sync.upkeep.undo import SegmentRollback, Undo, Undone
from deep_store_sync.workspace import Workspace

_READ_AT_ONCE = 8


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
) -> Rollback | None:
    """Bring the objects, CRCs and stamps back that a run has overwritten, of segments that match one of the globs.

    `done` is told how many are rolled back, or left, and of how many.

    Returns:
        What became of each, or None when the table has no such run.

    Raises:
        PinotError: the controller does not answer, so that no decision can be made.
        StoreCapabilityError: the store ignores the conditions that overwriting depends on. Nothing was changed.
        DeepStoreError: the workspace cannot be read or written.
    """
    table = services.settings.table
    runs_url = Workspace.runs_url(services.settings.workspace, table)
    tries = Workspace.tries(services.store, runs_url, run_id)
    if not tries:
        return None
    notes = _read_notes(services, tries, globs)
    log.info("%s: run %s has overwritten %d segments", table, run_id, len(notes))
    if notes and not dry_run:
        largest = max(note.size for of_segment in notes.values() for note in of_segment)
        services.store.probe(tries[-1].run_url, multipart=largest > services.store.multipart_threshold)
    undo = Undo(services, tries[-1], log, dry_run)
    rows: list[SegmentRollback] = []
    work = iter(sorted(notes.items()))
    while wave := dict(islice(work, services.settings.wave_segments)):
        rows += undo.wave(wave)
        log.info("%d of %d segments done", len(rows), len(notes))
        done(len(rows), len(notes))
    return Rollback(table, run_id, dry_run, tuple(rows), tuple(_remarks(services, tries, notes, rows)))


def known_runs(services: Services) -> list[str]:
    """The folders of the table's runs, by name, which begins as the run's id does."""
    runs_url = Workspace.runs_url(services.settings.workspace, services.settings.table)
    return [url.rstrip("/").rpartition("/")[2] for url in services.store.folders(runs_url)]


def _read_notes(services: Services, tries: Sequence[Workspace], globs: Sequence[str]) -> dict[str, list[Backup]]:
    """The notes of a run by segment, the newest first: a run that planned again may have overwritten one twice."""
    wanted = [
        (segment, url)
        for place in reversed(tries)
        for segment, url in place.backup_records()
        if in_globs(segment, globs)
    ]
    notes: dict[str, list[Backup]] = {}
    with ThreadPoolExecutor(_READ_AT_ONCE, thread_name_prefix="notes") as pool:
        # One that is gone by now: the run under way found that it had not overwritten the object.
        read = pool.map(lambda item: read_note_at(services.store, item[1]), wanted)
        for (segment, _), note in zip(wanted, read, strict=True):
            if note is not None:
                notes.setdefault(segment, []).append(note)
    return notes


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


def no_such_run(services: Services, run_id: str) -> ConfigError:
    """The error for a run that a table does not have."""
    settings = services.settings
    known = known_runs(services)
    last = " (the last ten)" if len(known) > 10 else ""
    return ConfigError(
        f"{settings.table} has no run {run_id!r} in {settings.workspace}: it never ran, or keepRuns has passed. "
        f"Give the run's id as Airflow shows it. Folders of runs there{last}: {', '.join(known[-10:]) or 'none'}"
    )
