"""Everything that is known of one segment, what a run would do with it, and why. It only reads."""

from __future__ import annotations

import difflib
import glob
import heapq
import logging
import os.path
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.decide import lies_in
from deep_store_sync.errors import DeepStoreSyncError, NotInTableError, ObjectNotFoundError
from deep_store_sync.find import PlannedTable, plan_table
from deep_store_sync.model import Action, PlannedSegment, RunRequest, SegmentRecord, StampState
from deep_store_sync.planning.table_state import column, replicas
from deep_store_sync.rows import rows_of
from deep_store_sync.services import Services
from deep_store_sync.stamp import AT_KEY, CRC_KEY, ETAG_KEY, HASH_KEY, INCURABLE_KEY, RUN_KEY
from deep_store_sync.store.object_mark import ObjectMark, read_mark
from deep_store_sync.store.object_url import shown_url
from deep_store_sync.upkeep.object_metadata import read_object_metadata
from deep_store_sync.upkeep.remedies import remedy
from deep_store_sync.workdir import work_folder

_NEAR = 5
_LOOKED_AT = 500


@dataclass(frozen=True, slots=True)
class Stamp:
    """The stamp in ZooKeeper. `state` is what it counts for; `says` why it counts for nothing, where it does not."""

    state: StampState
    says: str
    table_hash: str | None
    crc: str | None
    etag: str | None
    run: str | None
    at: str | None
    incurable: str | None


@dataclass(frozen=True, slots=True)
class Object:
    """The object in the deep store, None for what is not known. `problem` says why it is not."""

    url: str | None
    etag: str | None = None
    bytes: int | None = None
    crc: int | None = None
    written_by: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """One server: what the ideal state wants of it, what the external view sees, and its answer to isStale.

    `stale` is None where there is no valid answer; `says` is the reason for the answer, or for there being none.
    """

    server: str
    wanted: str | None
    seen: str | None
    stale: bool | None
    says: str


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a run would do: `rule` is the line of the decision table that decides, `to_do` what somebody should."""

    action: Action
    reason: str
    rule: str
    batch: str | None
    to_do: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """One segment. `on_schedule` and `forced` are two runs over the whole table, as they would go now."""

    table: str
    segment: str
    record: SegmentRecord
    table_hash: str
    stamp: Stamp
    object: Object
    replicas: tuple[Replica, ...]
    on_schedule: Ruling
    forced: Ruling


def explain(services: Services, segment: str, *, log: logging.Logger) -> Explanation:
    """Explain one segment.

    Raises:
        NotInTableError: the table has no such segment; near names are in the message.
        PinotError: the controller does not answer, or has no such table.
    """
    settings = services.settings
    planned = plan_table(services, RunRequest("explain"), log=log)
    names = column(planned.state.segments, "name")
    place = pc.index(names, segment).as_py()
    if place < 0:
        raise NotInTableError(f"{settings.table} has no segment {segment}{_near(segment, names.to_pylist())}")
    record = services.controller.segment(settings.table, segment)
    row = _row(planned.rows.record_batches(), segment)
    found = _object(services, record, log)
    alone = RunRequest("explain", force=True, segments=(glob.escape(segment),))
    forced = plan_table(services, alone, log=log, state=planned.state)
    return Explanation(
        table=settings.table,
        segment=segment,
        record=record,
        table_hash=row.table_hash,
        stamp=_stamp(record, row.stamp, found),
        object=found,
        replicas=tuple(_replicas(services, planned, place)),
        on_schedule=_ruling(row, force=False),
        forced=_ruling(_row(forced.rows.record_batches(), segment), force=True),
    )


def _row(groups: Iterable[pa.RecordBatch], segment: str) -> PlannedSegment:
    """The row of a segment that is in the plan."""
    found = (group.filter(pc.equal(group.column("segment"), segment)) for group in groups)
    return rows_of(next(group for group in found if len(group)), PlannedSegment)[0]


def _ruling(row: PlannedSegment, *, force: bool) -> Ruling:
    rule = (
        "it may not be touched, whatever stamp and servers say"
        if row.action is Action.NOT_ELIGIBLE
        else f"stamp {row.stamp}, servers {row.servers}, {'with forceReload' if force else 'on schedule'}"
    )
    return Ruling(row.action, row.reason, rule, row.batch, remedy(row))


def _stamp(record: SegmentRecord, state: StampState, found: Object) -> Stamp:
    custom = record.custom
    says = ""
    if not custom.get(HASH_KEY):
        says = "it was never stamped, or the stamp was taken away"
    elif custom.get(CRC_KEY) != str(record.crc):
        says = "it speaks of an earlier push, and counts for nothing"
    elif found.etag and custom.get(ETAG_KEY) != found.etag:
        says = "it speaks of an object that was overwritten since, without ZooKeeper being told: it counts for nothing"
    elif state is StampState.OUTDATED:
        says = "it is for an older table config or schema"
    return Stamp(
        state,
        says,
        *(custom.get(key) or None for key in (HASH_KEY, CRC_KEY, ETAG_KEY, RUN_KEY, AT_KEY, INCURABLE_KEY)),
    )


def _object(services: Services, record: SegmentRecord, log: logging.Logger) -> Object:
    """What lies at the download URL. Of an archive no more is read than it takes to find the CRC."""
    if not record.url:
        return Object(None, problem="no download URL: servers hold the only copies, or it is not committed yet")
    found = Object(shown_url(record.url).strip("'"))
    if not lies_in(record.url, services.settings.deep_store_prefixes):
        return replace(found, problem="it lies outside deepStorePrefixes, and was not looked at")
    try:
        head = services.store.head(record.url)
        mark = read_mark(head.metadata)
        found = replace(found, etag=head.etag, bytes=head.size, written_by=mark.run if mark else None)
        if head.archived:
            return replace(found, problem=f"it is in the archived storage class {head.storage_class}")
        if record.crypter:
            return replace(found, problem=f"it is encrypted ({record.crypter})")
        with work_folder(services.settings.engine.workdir, log) as folder:
            meta, _ = read_object_metadata(services.store, head, record.name, folder)
    except ObjectNotFoundError:
        return replace(found, problem="there is no such object")
    except DeepStoreSyncError as error:
        return replace(found, problem=str(error))
    return replace(found, crc=meta.crc, problem=_mismatch(record, meta.crc, mark))


def _mismatch(record: SegmentRecord, crc: int, mark: ObjectMark | None) -> str | None:
    if crc == record.crc:
        return None
    if mark is not None and mark.unfinished(zookeeper_crc=record.crc or 0, object_crc=crc):
        return f"its CRC is not ZooKeeper's: run {mark.run} was cut short, and the next run finishes it"
    return "its CRC is not ZooKeeper's: somebody's push is under way, or was cut short"


def _replicas(services: Services, planned: PlannedTable, place: int) -> Iterator[Replica]:
    state = planned.state
    names = column(state.segments, "name")
    views = state.wanted, state.seen or replicas(services.controller.long.seen_replicas(state.table), names)
    wanted, seen = ({} if (n := view.numbers[place].as_py()) < 0 else view.sets[n] for view in views)
    stale = state.stale.sets[state.stale.numbers[place].as_py()]
    for server in sorted({*wanted, *seen}):
        answer = state.stale.servers.get(server)
        valid = answer is not None and answer.valid
        why = (answer.error or "its answer is not valid") if answer else "no answer"
        says = stale.get(server, "in sync") if valid else why
        yield Replica(server, wanted.get(server), seen.get(server), server in stale if valid else None, says)


def _near(wanted: str, names: Sequence[str]) -> str:
    """Names like this one, for a message: of those that begin alike, or hold it, the most similar ones."""
    if not names:
        return ": the table has no segments"
    holding = [name for name in names if wanted.lower() in name.lower()][:_NEAR]
    alike = heapq.nlargest(_LOOKED_AT, names, key=lambda name: len(os.path.commonprefix((wanted, name))))  # noqa: RUF071
    near = list(dict.fromkeys([*holding, *difflib.get_close_matches(wanted, alike, _NEAR)]))[:_NEAR]
    return f". Near are {', '.join(near)}" if near else f": none of its {len(names):,} segments is called like that"
