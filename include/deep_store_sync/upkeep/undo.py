"""Taking segments of a run back, one wave after the other.

The notes that the run left before each overwrite say what there is to do (`publishing.backup`); object and ZooKeeper
say how much of it is done. Nothing else is kept, so a rollback that was killed anywhere is finished by the next one:

    the run's object,   ZooKeeper as the run left it           nothing done
    the run's object,   no stamp                               the controller takes pushes of the segment
    the old object,     no stamp                               only ZooKeeper is behind
    the old object,     its CRC, and its stamp if it had one   done, once servers have it

Each step is a compare-and-set. A segment that somebody has pushed since, or another run has rebuilt, is left alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from deep_store_sync.decide import keys_expire
from deep_store_sync.errors import BackupError, DeepStoreSyncError, PushRefusedError
from deep_store_sync.model import SegmentRecord
from deep_store_sync.plan import hosting_servers
from deep_store_sync.publishing.backup import (
    Backup,
    Original,
    fetch_original,
    find_kept,
    has_been_put_back,
    put_back,
    written_by,
)
from deep_store_sync.publishing.forced_reload import force_download
from deep_store_sync.publishing.proof import Proof, ServerWatch
from deep_store_sync.publishing.segment_writes import LostRaceError, Seen, SegmentWrites
from deep_store_sync.services import Services
from deep_store_sync.stamp import carried_over, no_stamp, read_stamp, stamp_entries
from deep_store_sync.store.object_mark import first_written
from deep_store_sync.upkeep.object_metadata import read_object_metadata
from deep_store_sync.workdir import work_folder
from deep_store_sync.workspace import Workspace

# Segments of a wave that are worked on side by side. Each holds one archive on disk.
_AT_ONCE = 4


class Undone(StrEnum):
    """What became of one segment."""

    ROLLED_BACK = "rolled back"
    WOULD_BE = "would be rolled back"
    AS_BEFORE = "as before"
    LEFT_ALONE = "left alone"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SegmentRollback:
    """One segment after a rollback. `crc` is what ZooKeeper has now, or is to have in the end."""

    segment: str
    outcome: Undone
    message: str = ""
    crc: int = 0


@dataclass(frozen=True, slots=True)
class _Step:
    """A segment on its way: what became of it, and the CRC that servers are to load, where they have to load it."""

    result: SegmentRollback
    servers_load: int | None = None


class _Found(StrEnum):
    """What is in an object's place."""

    THE_RUNS = "the run's object"
    PUT_BACK = "the old object, put back"
    UNTOUCHED = "the old object, which the run did not get to overwrite"


class _LeftAloneError(DeepStoreSyncError):
    """The segment is not the run's any more, or cannot be brought back."""


@dataclass(slots=True)
class Undo:
    """Takes waves of segments back. `workspace` gets the notes on multipart uploads."""

    services: Services
    workspace: Workspace
    log: logging.Logger
    dry_run: bool
    sleep: Callable[[float], None] = time.sleep
    _writes: SegmentWrites = field(init=False)
    _watch: ServerWatch = field(init=False)

    def __post_init__(self) -> None:
        self._writes = SegmentWrites(self.services, self.log, self.sleep, self.workspace)
        self._watch = ServerWatch(self.services, self.log)

    def wave(self, notes: Mapping[str, Sequence[Backup]]) -> list[SegmentRollback]:
        """Take the segments back, and wait until servers have what they have to load."""
        controller, table = self.services.controller, self.services.settings.table
        keeps_away = keys_expire(controller.table_config(table))
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="rollback") as pool:
            steps = list(pool.map(lambda of_segment: self._segment(of_segment, keeps_away=keeps_away), notes.values()))
        wanted = {step.result.segment: step.servers_load for step in steps if step.servers_load is not None}
        proofs: Mapping[str, Proof] = {}
        if wanted and not self.dry_run:
            ideal_state = controller.ideal_state(table, wanted)
            replicas = {segment: hosting_servers(ideal_state, segment) for segment in wanted}
            proofs = self._watch.wait_loaded(
                wanted, replicas, force=lambda segment: force_download(self.services, table, segment, self.log)
            )
        results = [_with_proof(step.result, proofs.get(step.result.segment)) for step in steps]
        for row in results:
            self.log.info("%s: %s%s", row.segment, row.outcome, f" ({row.message})" if row.message else "")
        return results

    def _segment(self, notes: Sequence[Backup], *, keeps_away: bool) -> _Step:
        segment = notes[0].segment
        try:
            return self._segment_or_raise(notes, keeps_away=keeps_away)
        except (_LeftAloneError, LostRaceError, BackupError) as error:
            return _Step(SegmentRollback(segment, Undone.LEFT_ALONE, str(error)))
        except DeepStoreSyncError as error:
            return _Step(SegmentRollback(segment, Undone.FAILED, f"{error}. A second rollback goes on from here"))
        except Exception as error:
            self.log.exception("%s: unexpected", segment)
            return _Step(SegmentRollback(segment, Undone.FAILED, f"{type(error).__name__}: {error}"))

    def _segment_or_raise(self, notes: Sequence[Backup], *, keeps_away: bool) -> _Step:
        newest = notes[0]
        seen = self._writes.look(newest.segment, newest.url)
        note, found = _what_to_bring_back(notes, seen)
        if found is _Found.UNTOUCHED and seen.record.crc == note.crc:
            return _Step(SegmentRollback(note.segment, Undone.AS_BEFORE, crc=note.crc))
        _expect(seen.record, notes, note)
        is_back = found is not _Found.THE_RUNS
        tell = seen.record.crc != note.object_crc
        if tell and keeps_away:
            raise _LeftAloneError(
                "an upsert table with metadataTTL or deletedKeysTTL: replacing the segment on servers could bring "
                "expired rows back"
            )
        result = SegmentRollback(note.segment, Undone.ROLLED_BACK, crc=note.object_crc)
        servers_load = note.object_crc if any(not each.quiet for each in notes) else None
        if is_back and not tell and not self._stamp_is_missing(note, seen):
            return _Step(replace(result, outcome=Undone.AS_BEFORE), servers_load)
        if self.dry_run:
            if not is_back:
                find_kept(self.services.store, note)
            return _Step(replace(result, outcome=Undone.WOULD_BE))
        with work_folder(self.services.settings.engine.workdir, self.log) as folder:
            self._bring_back(note, seen, folder, is_back=is_back)
        return _Step(result, servers_load)

    def _bring_back(self, note: Backup, seen: Seen, folder: Path, *, is_back: bool) -> None:
        store, record, etag = self.services.store, seen.record, seen.object.etag
        archive = folder / "segment.tar"
        if is_back:
            meta, properties = read_object_metadata(store, seen.object, note.segment, folder)
            original = Original(archive, meta, properties, seen.object.metadata)
        else:
            original = fetch_original(store, note, archive)
            # The stamp goes first. It has to go anyway, and a controller that refuses pushes (disk use, permissions)
            # says so now, while nothing has been touched.
            if record.crc != note.object_crc or stamp_entries(record.custom):
                try:
                    self._push(note, original, record, crc=record.crc or 0, custom=no_stamp(record.custom))
                except PushRefusedError as error:
                    raise _LeftAloneError(f"nothing was changed: {error}") from error
            etag = put_back(self._writes, note, original, seen.object, crc=record.crc or 0)
            record = self._writes.look(note.segment, note.url).record
        stamp = carried_over(note.stamp, crc=note.object_crc, etag=note.etag, new_etag=etag)
        if record.crc != note.object_crc or stamp:
            custom = stamp or no_stamp(record.custom)
            self._push(note, original, record, crc=note.object_crc, custom=custom)
            self._writes.expect_ours(note.url, etag)

    def _push(
        self, note: Backup, original: Original, record: SegmentRecord, *, crc: int, custom: Mapping[str, str]
    ) -> None:
        meta = replace(original.meta, crc=crc)
        self._writes.push(note.segment, note.url, record, meta=meta, properties=original.properties, custom=custom)

    def _stamp_is_missing(self, note: Backup, seen: Seen) -> bool:
        """Whether the old object had a stamp, and has none now. One that a later run has set is not touched."""
        etag = seen.object.etag
        had = carried_over(note.stamp, crc=note.object_crc, etag=note.etag, new_etag=etag)
        has = read_stamp(seen.record.custom, seen.record.crc, etag)
        return bool(had) and not has.table_hash


def _what_to_bring_back(notes: Sequence[Backup], seen: Seen) -> tuple[Backup, _Found]:
    """The note on the object as it was before the run, and what is in its place now.

    Raises:
        _LeftAloneError: the object is neither the run's nor the one that was there before.
    """
    metadata, etag = seen.object.metadata, seen.object.etag
    for note in notes:
        if has_been_put_back(note, metadata):
            return note, _Found.PUT_BACK
    if not any(written_by(note, metadata) for note in notes):
        for note in notes:
            if etag == note.etag:
                return note, _Found.UNTOUCHED
        mark = first_written(metadata)
        raise _LeftAloneError(
            f"run {mark.run} has rebuilt it since: roll that run back first"
            if mark is not None
            else "somebody else has pushed it since"
        )
    # What the run overwrote the second time was its own object: back to the one before that.
    at = 0
    while at + 1 < len(notes) and written_by(notes[at], notes[at].metadata):
        at += 1
    return notes[at], _Found.THE_RUNS


def _expect(record: SegmentRecord, notes: Iterable[Backup], note: Backup) -> None:
    """Refuse a segment whose record in ZooKeeper is neither as the run left it nor as it was before."""
    known = {note.object_crc} | {crc for each in notes for crc in (each.crc, each.mark.old_crc, each.mark.new_crc)}
    if record.url != note.url:
        raise _LeftAloneError("it has another download URL by now: somebody has pushed it since")
    if record.crc not in known:
        raise _LeftAloneError(f"ZooKeeper has CRC {record.crc}, which is not the run's: somebody has pushed it since")


def _with_proof(result: SegmentRollback, proof: Proof | None) -> SegmentRollback:
    if proof is None:
        return result
    if proof.behind:
        message = (
            f"the old object is back, but {', '.join(proof.behind)} did not load it within proofTimeout, forced "
            "download included: look at that server's log"
        )
        return replace(result, outcome=Undone.FAILED, message=message)
    message = f"unproven on {', '.join(proof.silent)}, which gave no answer" if proof.silent else ""
    return replace(result, message=message)
