"""What has to be true of the table at any moment, and what once a run has come to its end, seen from outside."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.crash.segment_view import DamagedError, SegmentView, read_archive
from tests.e2e.crash.table import CrashTable, Shape
from tests.e2e.kit import LOG

from deep_store_sync.errors import DeepStoreSyncError
from deep_store_sync.model import SegmentRecord
from deep_store_sync.stamp import HASH_KEY, read_stamp
from deep_store_sync.store.deep_store import ObjectInfo, parse_url
from deep_store_sync.store.object_mark import read_mark
from deep_store_sync.upkeep.verify_table import Verdict, verify_table

_SWEPT_AFTER_S = 2 * 3600.0


def problems(table: CrashTable) -> list[str]:
    """What is wrong now, though a run may be under way, or dead."""
    return [*_segments(table, ended=False), *_queries(table)]


def problems_after_run(table: CrashTable) -> list[str]:
    """What is wrong now that a run has come to its end, and nothing was killed since it began."""
    return [*_segments(table, ended=True), *_queries(table), *_at_rest(table)]


def problems_after_command(table: CrashTable) -> list[str]:
    """What is wrong now that a command has come to its end, after a run has."""
    return [*_segments(table, ended=False), *_queries(table), *_at_rest(table)]


def leftovers(work: Path, temporary: Path) -> list[str]:
    """What runs have left on the worker."""
    return [str(path) for folder in (work, temporary) for path in folder.rglob("*")]


def age(*places: Path) -> None:
    """Have what is left on the worker look old: a folder without a lock is left alone at first.

    It may be somebody's who is about to lock it.
    """
    then = time.time() - _SWEPT_AFTER_S
    for folder in (path for place in places for path in place.iterdir()):
        os.utime(folder, (then, then))


def unfinished_uploads(table: CrashTable) -> list[str]:
    """Keys of multipart uploads that were begun and neither completed nor dropped."""
    bucket, _ = parse_url(table.sync.workspace)
    client = table.sync.sandbox.s3.client()
    try:
        return [upload["Key"] for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]
    finally:
        client.close()


def _segments(table: CrashTable, *, ended: bool) -> Iterator[str]:
    services = table.sync.services
    records = {record.name: record for record in services.controller.segments(table.sync.table)}
    if records.keys() != table.original.keys():
        yield f"the table has the segments {sorted(records)}"
    for name, record in records.items():
        try:
            found = services.store.head(str(record.url))
            view = read_archive(services.store.read(str(record.url)), name)
        except (DeepStoreSyncError, DamagedError) as error:
            yield f"{name}: its download URL leads nowhere: {error}"
            continue
        for problem in (*_rows(view, table.original[name]), *_crcs(view, record, found, ended=ended)):
            yield f"{name}: {problem}"
        for problem in _stamp(table, view, record, found, ended=ended):
            yield f"{name}: {problem}"


def _rows(view: SegmentView, original: SegmentView) -> Iterator[str]:
    if view.rows != original.rows:
        yield f"it has {view.rows} rows, {original.rows} were pushed"
    if changed := [column for column, digest in original.columns.items() if view.columns.get(column) != digest]:
        yield f"its columns {', '.join(changed)} hold other values than were pushed"
    if view.creation_ms != original.creation_ms:
        yield f"its creation time is {view.creation_ms}, it was {original.creation_ms}"


def _crcs(view: SegmentView, record: SegmentRecord, found: ObjectInfo, *, ended: bool) -> Iterator[str]:
    if view.crc == record.crc:
        return
    mark = read_mark(found.metadata)
    ours = mark is not None and mark.unfinished(zookeeper_crc=record.crc or 0, object_crc=view.crc)
    if ended or not ours:
        yield f"the object's CRC is {view.crc}, ZooKeeper's {record.crc}, and the mark is {mark}"


def _stamp(
    table: CrashTable, view: SegmentView, record: SegmentRecord, found: ObjectInfo, *, ended: bool
) -> Iterator[str]:
    stamp = read_stamp(record.custom, record.crc, found.etag).table_hash
    if stamp is not None and stamp not in table.shapes_of:
        yield f"its stamp is of no config that there was: {stamp}"
    elif stamp is not None and view.crc != record.crc:
        yield "it is stamped, and the object is not the one that ZooKeeper speaks of"
    elif stamp is not None and not _fits(view, table.shapes_of[stamp]):
        yield f"its stamp says {table.shapes_of[stamp]}, and it has {sorted(view.indexes)}, {view.types}"
    if ended and stamp != table.hash:
        yield f"it is not stamped for the present config, but has {record.custom.get(HASH_KEY)}"
    if not any(_fits(view, shape) for shape in table.shapes_of.values()):
        yield f"it is as no config has asked for: {sorted(view.indexes)}, {view.types}"


def _fits(view: SegmentView, shape: Shape) -> bool:
    return view.indexes == shape.indexes and view.types["extra"] == ("LONG" if shape.wide else "INT")


def _queries(table: CrashTable) -> Iterator[str]:
    if (answers := table.query()) != table.answers:
        yield f"queries answer {answers}, before it was {table.answers}"


def _at_rest(table: CrashTable) -> Iterator[str]:
    sync = table.sync
    for row in verify_table(sync.services, log=LOG).segments:
        if row.verdict is not Verdict.TRUE:
            yield f"{row.segment}: verify says {row.message}"
    crcs = {record.name: record.crc for record in sync.services.controller.segments(sync.table)}
    for server in sync.sandbox.servers:
        served = sync.services.servers.segment_crcs(sync.sandbox.server_admin_url(server), sync.table)
        if served != crcs:
            yield f"{server} serves the CRCs {served}, ZooKeeper has {crcs}"
