"""Verifying a table: whether what deep store and ZooKeeper say of each segment is the same, and stamps are true.

It only reads. Of an archive it reads no more than it takes to find the CRC.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from deep_store_sync.decide import lies_in
from deep_store_sync.errors import (
    ConfigError,
    ObjectChangedError,
    ObjectNotFoundError,
    PinotNotFoundError,
    SegmentError,
)
from deep_store_sync.model import SegmentRecord, StampState
from deep_store_sync.plan import in_globs
from deep_store_sync.services import Services
from deep_store_sync.stamp import CRC_KEY, ETAG_KEY, HASH_KEY, RUN_KEY, read_stamp
from deep_store_sync.store.object_mark import read_mark
from deep_store_sync.store.object_url import shown_url
from deep_store_sync.table_hash import TableHashes
from deep_store_sync.upkeep.object_metadata import read_object_metadata
from deep_store_sync.workdir import work_folder

_AT_ONCE = 8
_CONSUMING = ("IN_PROGRESS", "COMMITTING")


class Verdict(StrEnum):
    """What was found of one segment."""

    TRUE = "true"
    PROBLEM = "problem"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class SegmentCheck:
    """One segment: the verdict with its reason, and what its stamp says where it speaks of this very object."""

    segment: str
    verdict: Verdict
    message: str = ""
    stamp: StampState = StampState.NONE
    stamped_by: str | None = None


@dataclass(frozen=True, slots=True)
class TableCheck:
    """What a verification came to. `total` counts the table's segments, checked or not."""

    table: str
    total: int
    segments: tuple[SegmentCheck, ...]

    @property
    def true(self) -> bool:
        """Whether no problem was found."""
        return all(row.verdict is not Verdict.PROBLEM for row in self.segments)


def verify_table(
    services: Services,
    *,
    globs: Sequence[str] = (),
    sample: int | None = None,
    log: logging.Logger,
    done: Callable[[int, int], None] = lambda done, total: None,
) -> TableCheck:
    """Check the segments that match one of the globs, or a random `sample` of so many of them.

    `done` is told how many are checked, and of how many.

    Raises:
        PinotError: the controller does not answer.
        DeepStoreUnavailableError, DeepStoreAccessError: nor does the store.
    """
    controller, table = services.controller, services.settings.table
    hashes = TableHashes(controller.table_config(table), controller.schema(table))
    records = controller.segments(table)
    scope = [record for record in records if in_globs(record.name, globs)]
    if sample is not None and sample < len(scope):
        scope = sorted(random.sample(scope, sample), key=lambda record: record.name)
    log.info("%s: checking %d of %d segments", table, len(scope), len(records))
    with (
        work_folder(services.settings.engine.workdir, log) as folder,
        ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="verify") as pool,
    ):
        checked = []
        for check in pool.map(lambda record: _check(services, record, hashes, folder), scope):
            checked.append(check)
            done(len(checked), len(scope))
    return TableCheck(table, len(records), tuple(checked))


def _check(services: Services, record: SegmentRecord, hashes: TableHashes, folder: Path) -> SegmentCheck:
    found = _look(services, record, hashes, folder)
    if found.verdict is not Verdict.PROBLEM:
        return found
    # A push may have come between the two looks, at ZooKeeper and at the object: only what stays is a problem.
    try:
        again = services.controller.segment(services.settings.table, record.name)
    except PinotNotFoundError:
        return SegmentCheck(record.name, Verdict.NOT_CHECKED, "deleted meanwhile")
    return _look(services, again, hashes, folder)


def _look(services: Services, record: SegmentRecord, hashes: TableHashes, folder: Path) -> SegmentCheck:
    def verdict(verdict: Verdict, message: str) -> SegmentCheck:
        return SegmentCheck(record.name, verdict, message)

    if record.status in _CONSUMING:
        return verdict(Verdict.NOT_CHECKED, "consuming or committing: nothing is in the deep store yet")
    if not record.url:
        return verdict(Verdict.PROBLEM, "no download URL: servers hold the only copies")
    if not lies_in(record.url, services.settings.deep_store_prefixes):
        return verdict(Verdict.NOT_CHECKED, f"its download URL {shown_url(record.url)} lies outside deepStorePrefixes")
    if record.crypter:
        return verdict(Verdict.NOT_CHECKED, f"encrypted ({record.crypter})")
    try:
        found = services.store.head(record.url)
        if found.archived:
            return verdict(Verdict.NOT_CHECKED, f"in the archived storage class {found.storage_class}")
        meta, _ = read_object_metadata(services.store, found, record.name, folder)
    except ObjectNotFoundError:
        return verdict(Verdict.PROBLEM, f"the object {record.url} is not there")
    except ObjectChangedError:
        return verdict(Verdict.PROBLEM, f"the object {record.url} was overwritten while it was read: verify again")
    except (SegmentError, ConfigError) as error:
        return verdict(Verdict.PROBLEM, f"{record.url}: {error}")
    if meta.crc != record.crc:
        mark = read_mark(found.metadata)
        ours = mark is not None and mark.unfinished(zookeeper_crc=record.crc or 0, object_crc=meta.crc)
        whose = (
            f"a push of run {mark.run} that was cut short: the next run finishes it"
            if ours and mark
            else ("somebody's push is under way, or was cut short: push the segment again from its source")
        )
        return verdict(Verdict.PROBLEM, f"the object's CRC is {meta.crc} and ZooKeeper's {record.crc}. It is {whose}")
    return _check_stamp(record, found.etag, hashes)


def _check_stamp(record: SegmentRecord, etag: str, hashes: TableHashes) -> SegmentCheck:
    custom = record.custom
    stamp = read_stamp(custom, record.crc, etag)
    state = hashes.state(stamp.table_hash, record.tier)
    by = custom.get(RUN_KEY) or None
    if stamp.table_hash:
        return SegmentCheck(record.name, Verdict.TRUE, stamp=state, stamped_by=by)
    if custom.get(HASH_KEY) and custom.get(CRC_KEY) == str(record.crc):
        message = (
            f"its stamp (run {by}) speaks of the ETag {custom.get(ETAG_KEY)}, and the object has {etag}: it was "
            "overwritten since, and ZooKeeper was not told. The next run looks into it"
        )
        return SegmentCheck(record.name, Verdict.PROBLEM, message)
    superseded = "its stamp speaks of an earlier push and counts for nothing" if custom.get(HASH_KEY) else ""
    return SegmentCheck(record.name, Verdict.TRUE, superseded)


def stamps(check: TableCheck) -> Mapping[StampState, int]:
    """How many of the checked segments have which stamp."""
    return {
        state: sum(row.stamp is state and row.verdict is Verdict.TRUE for row in check.segments) for state in StampState
    }


def summary(check: TableCheck) -> str:
    """The result in a line."""
    counts = {verdict: sum(row.verdict is verdict for row in check.segments) for verdict in Verdict}
    by_stamp = ", ".join(f"{count} {state}" for state, count in stamps(check).items())
    return (
        f"{check.table}: {len(check.segments)} of {check.total} segments: {counts[Verdict.TRUE]} true (stamp: "
        f"{by_stamp}), {counts[Verdict.PROBLEM]} with a problem, {counts[Verdict.NOT_CHECKED]} not checked"
    )
