"""Taking stamps away, so that the next run looks into the segments again. Objects and servers are not touched."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from deep_store_sync.errors import DeepStoreSyncError
from deep_store_sync.model import SegmentRecord
from deep_store_sync.plan import in_globs
from deep_store_sync.publishing.segment_writes import LostRaceError, SegmentWrites
from deep_store_sync.services import Services
from deep_store_sync.stamp import RUN_KEY, no_stamp, stamp_entries
from deep_store_sync.upkeep.object_metadata import read_object_metadata
from deep_store_sync.workdir import work_folder

_AT_ONCE = 4


class Unstamped(StrEnum):
    """What became of one stamp."""

    UNSTAMPED = "unstamped"
    WOULD_BE = "would be unstamped"
    LEFT_ALONE = "left alone"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SegmentUnstamp:
    """One segment that had a stamp, and the run that had set it."""

    segment: str
    outcome: Unstamped
    message: str = ""
    stamped_by: str | None = None


def unstamp(
    services: Services,
    *,
    globs: Sequence[str] = (),
    run_id: str | None = None,
    dry_run: bool = False,
    log: logging.Logger,
    done: Callable[[int, int], None] = lambda done, total: None,
) -> list[SegmentUnstamp]:
    """Blank the stamps of segments that match one of the globs, and that `run_id` has set where it is given.

    `done` is told of how many it is settled, and of how many it will be.

    It is an equal-CRC push with compare-and-set on the CRC: no server hears of it.

    Raises:
        PinotError: the controller does not answer.
    """
    writes = SegmentWrites(services, log)
    scope = [
        record
        for record in services.controller.segments(services.settings.table)
        if stamp_entries(record.custom)
        and in_globs(record.name, globs)
        and run_id in (None, record.custom.get(RUN_KEY))
    ]
    with (
        work_folder(services.settings.engine.workdir, log) as folder,
        ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="unstamp") as pool,
    ):
        rows = []
        for row in pool.map(lambda record: _unstamp(services, writes, record, folder, dry_run=dry_run), scope):
            rows.append(row)
            done(len(rows), len(scope))
        return rows


def _unstamp(
    services: Services, writes: SegmentWrites, record: SegmentRecord, folder: Path, *, dry_run: bool
) -> SegmentUnstamp:
    by = record.custom.get(RUN_KEY) or None
    if dry_run:
        return SegmentUnstamp(record.name, Unstamped.WOULD_BE, stamped_by=by)
    try:
        seen = writes.look(record.name, record.url or "")
        if (seen.record.crc, seen.record.url) != (record.crc, record.url):
            raise LostRaceError("the segment was pushed again meanwhile")
        meta, properties = read_object_metadata(services.store, seen.object, record.name, folder)
        if meta.crc != record.crc:
            raise LostRaceError(
                f"the object's CRC is {meta.crc} and ZooKeeper's {record.crc}: a push is under way, or was cut short"
            )
        custom = no_stamp(seen.record.custom)
        writes.push(record.name, record.url or "", seen.record, meta=meta, properties=properties, custom=custom)
    except LostRaceError as error:
        return SegmentUnstamp(record.name, Unstamped.LEFT_ALONE, str(error), by)
    except DeepStoreSyncError as error:
        return SegmentUnstamp(record.name, Unstamped.FAILED, str(error), by)
    return SegmentUnstamp(record.name, Unstamped.UNSTAMPED, stamped_by=by)
