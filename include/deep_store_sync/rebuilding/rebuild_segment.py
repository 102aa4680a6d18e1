"""One segment on its way through a batch: fetched, rebuilt and verified, staged.

Three steps, each of which may run while another segment is in another one. Between them a segment is a folder of its
own in the work folder, with the object's archive beside it until the rebuilt segment is verified.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from deep_store_sync.errors import RebuildRefusedError
from deep_store_sync.failure_budget import left_alone
from deep_store_sync.jvm.process import EngineProcess
from deep_store_sync.model import Action, Plan, PlannedSegment, RebuildResult, Rebuilt, Servers
from deep_store_sync.rebuilding.apply_method import Applied, apply_method
from deep_store_sync.rebuilding.method import Method, choose_method
from deep_store_sync.segment.archive import Compression, pack, read_metadata, unpack
from deep_store_sync.segment.buffer_facts import read_buffer_facts
from deep_store_sync.segment.data_crc import compute_data_crc
from deep_store_sync.segment.fingerprint import Fingerprint, take_fingerprint
from deep_store_sync.segment.segment_files import (
    METADATA_PROPERTIES,
    CreationMeta,
    SegmentLayout,
    files_dir,
    parse_layout,
    write_creation_meta,
)
from deep_store_sync.segment.verify import Changes, Rewrite, compare
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.store.object_mark import ObjectMark, read_mark
from deep_store_sync.table_hash import config_for_tier


@dataclass(frozen=True, slots=True)
class Fetched:
    """A segment that is on disk and wants to be rebuilt.

    `unfinished` says that the object is an earlier push of ours of which ZooKeeper does not know yet.
    """

    planned: PlannedSegment
    result: RebuildResult
    folder: Path
    archive: Path
    segment_dir: Path
    compression: Compression
    meta: CreationMeta
    original: Fingerprint
    unfinished: bool
    method: Method


@dataclass(frozen=True, slots=True)
class Ready:
    """A rebuilt and verified segment that wants to be staged. Without a folder, the archive is staged as it is."""

    result: RebuildResult
    folder: Path
    archive: Path
    segment_dir: Path | None
    compression: Compression


def fetch(
    store: DeepStore,
    plan: Plan,
    planned: PlannedSegment,
    folder: Path,
    make_room: Callable[[int], None],
    most_bytes: int | None = None,
) -> Fetched | RebuildResult:
    """Download a segment and unpack it into a folder of its own, unless it turns out that nothing is to be rebuilt.

    `make_room` is called before anything is written, with the bytes of the archive. `most_bytes` is what the unpacked
    files may take.

    Raises:
        DeepStoreSyncError: the object cannot be read, or is no archive of this segment.
    """
    result = RebuildResult(planned.segment, Rebuilt.FAILED, crc=planned.crc)
    started = time.monotonic()
    found = store.head(planned.url)
    result = replace(result, etag=found.etag, object_bytes=found.size)
    if found.archived:
        message = f"the object is in the archived storage class {found.storage_class}: restore it first"
        return replace(result, status=Rebuilt.NOT_ELIGIBLE, message=message)
    make_room(found.size)
    folder.mkdir()
    store.download(planned.url, folder / "object", if_match=found.etag)
    return open_archive(
        plan, planned, folder, result, mark=read_mark(found.metadata), started=started, most_bytes=most_bytes
    )


def open_archive(
    plan: Plan,
    planned: PlannedSegment,
    folder: Path,
    result: RebuildResult,
    *,
    mark: ObjectMark | None,
    started: float,
    most_bytes: int | None = None,
) -> Fetched | RebuildResult:
    """Unpack the archive `object` in a segment's folder, unless it turns out that nothing is to be rebuilt.

    `result` is what is known so far, `mark` the one that the object carries, `started` the monotonic time at which its
    download began. `most_bytes` is what the unpacked files may take.

    Raises:
        DeepStoreSyncError: it is no archive of this segment.
    """
    archive = folder / "object"
    creation_meta, properties = read_metadata(archive, planned.segment)
    meta, layout = CreationMeta.from_bytes(creation_meta), parse_layout(properties)
    result = replace(
        result,
        object_crc=meta.crc,
        new_crc=meta.crc,
        creation_ms=planned.creation_ms or meta.creation_ms,
        data_crc=meta.data_crc,
        metadata_properties=properties,
        download_s=time.monotonic() - started,
    )
    unfinished = mark is not None and mark.unfinished(zookeeper_crc=planned.crc, object_crc=meta.crc)
    refused = _refusal(planned, meta, layout, unfinished)
    if refused:
        return replace(result, status=Rebuilt.NOT_ELIGIBLE, message=refused)
    config = config_for_tier(plan.table_config, planned.tier)
    method = choose_method(layout, config, plan.schema)
    if planned.action is Action.RELOAD and not unfinished:
        if method.incurable and not method.rewrites:
            return replace(result, status=Rebuilt.INCURABLE, message=method.incurable)
        return replace(result, status=Rebuilt.RELOAD)
    if refused := method.refused or _old_format(layout):
        return replace(result, status=Rebuilt.NOT_ELIGIBLE, message=refused)
    unpacked = unpack(archive, folder, planned.segment, most_bytes=most_bytes)
    result = replace(result, download_s=time.monotonic() - started)
    started = time.monotonic()
    original = take_fingerprint(unpacked.dir)
    result = replace(result, verify_s=time.monotonic() - started)
    method = choose_method(layout, config, plan.schema, read_buffer_facts(unpacked.dir))
    if method.refused:
        return replace(result, status=Rebuilt.NOT_ELIGIBLE, message=method.refused)
    return Fetched(
        planned,
        result,
        folder,
        archive,
        unpacked.dir,
        unpacked.compression,
        meta,
        original,
        unfinished,
        method,
    )


def not_begun(planned: PlannedSegment, reason: str) -> RebuildResult:
    """The result of a segment that is left alone, since so many others failed."""
    return RebuildResult(planned.segment, Rebuilt.LEFT_ALONE, left_alone(reason), crc=planned.crc)


def out_of_time(planned: PlannedSegment, reason: str) -> RebuildResult:
    """The result of a segment that the run did not come to."""
    return RebuildResult(planned.segment, Rebuilt.NO_TIME, reason, crc=planned.crc)


def _refusal(planned: PlannedSegment, meta: CreationMeta, layout: SegmentLayout, unfinished: bool) -> str | None:
    if layout.name != planned.segment:
        return f"the object holds the segment {layout.name!r} by its own metadata: pushing it would change that one"
    if planned.segment.endswith("v3"):
        # Pinot 1.5.1, SegmentLocalFSDirectory.getSegmentPath: it looks for the files of format v3 beside that folder.
        return "its name ends in v3, and Pinot loads no columns of such a segment: ingest it under another name"
    if layout.rows == 0:
        return "the segment has no rows: Pinot refuses to have it pushed"
    if meta.crc != planned.crc and not unfinished:
        return (
            f"the object's CRC is {meta.crc}, not ZooKeeper's {planned.crc}: somebody's push may be under way, or was "
            "cut short; the next run looks again"
        )
    return None


def _old_format(layout: SegmentLayout) -> str | None:
    if layout.version == "v3":
        return None
    # Preprocessing would convert it where the table config or the server says v3 (ImmutableSegmentLoader), and nothing
    # of a format before v3 can be held against what came out.
    return (
        f"it is in segment format {layout.version}, and only v3 can be verified: have segments ingested with the "
        "segmentFormatVersion v3, the default, and ingest or convert this one anew (Pinot's "
        "SegmentV1V2ToV3FormatConverter)"
    )


def rebuild(engine: EngineProcess, plan: Plan, fetched: Fetched) -> Ready | RebuildResult:
    """Bring a fetched segment to the plan's config and schema, and verify it.

    Raises:
        RebuildError: it cannot be done.
        VerificationError: the rebuilt segment does not hold what the original holds.
    """
    planned, result = fetched.planned, fetched.result
    started = time.monotonic()
    try:
        applied = apply_method(
            engine, fetched.method, fetched.segment_dir, fetched.folder, plan.table_config, plan.schema, planned.tier
        )
    except RebuildRefusedError as error:
        return replace(result, status=Rebuilt.NOT_ELIGIBLE, message=str(error))
    segment_dir = applied.segment_dir
    result = replace(result, rebuild_s=time.monotonic() - started)
    changes = Changes()
    if applied.changed:
        started = time.monotonic()
        changes = compare(
            fetched.original,
            take_fingerprint(segment_dir),
            _value_comparison(engine, fetched, applied),
            applied.regenerated,
        )
        engine.check_loads(segment_dir, plan.table_config, plan.schema, planned.tier)
        result = replace(result, verify_s=result.verify_s + time.monotonic() - started)
    if not changes.changes:
        if not fetched.unfinished:
            if applied.incurable and planned.servers is Servers.STALE:
                return replace(result, status=Rebuilt.INCURABLE, message=applied.incurable)
            return replace(result, status=Rebuilt.UNCHANGED)
        message = "the object is as the config wants it, and ZooKeeper has not been told of it yet"
        staged = replace(result, status=Rebuilt.CHANGED, message=message, staged_crc=fetched.meta.crc)
        return Ready(staged, fetched.folder, fetched.archive, None, fetched.compression)
    started = time.monotonic()
    crc = engine.crc(segment_dir)
    # Keeping the CRC leaves every server at its local copy: right only where all are known to have the same indexes in
    # theirs. Publishing decides; this only makes it rare that the archive has to be written once more.
    regenerated = applied.values_changed
    quiet = planned.servers is Servers.CLEAN and not (changes.invisible or regenerated or fetched.unfinished)
    staged_crc = fetched.meta.crc if quiet else crc
    data_crc = fetched.meta.data_crc
    if regenerated and data_crc is not None:
        data_crc = compute_data_crc(segment_dir)
    write_creation_meta(segment_dir, CreationMeta(staged_crc, result.creation_ms, data_crc))
    result = replace(
        result,
        status=Rebuilt.CHANGED,
        new_crc=crc,
        staged_crc=staged_crc,
        changes=changes.changes,
        invisible_changes=changes.invisible,
        regenerated=regenerated,
        data_crc=data_crc,
        metadata_properties=(files_dir(segment_dir) / METADATA_PROPERTIES).read_bytes(),
        rebuild_s=result.rebuild_s + time.monotonic() - started,
    )
    fetched.archive.unlink()
    if segment_dir != fetched.segment_dir:
        shutil.rmtree(fetched.segment_dir)
    return Ready(result, fetched.folder, fetched.archive, segment_dir, fetched.compression)


def _value_comparison(
    engine: EngineProcess, fetched: Fetched, applied: Applied
) -> Callable[[tuple[str, ...]], dict[str, Rewrite]]:
    """Compares with the original: where that was changed in place, it is unpacked from its archive once more."""
    sort_by = applied.regenerated.sorted_by if applied.regenerated else ()

    def compare_with_original(columns: tuple[str, ...]) -> dict[str, Rewrite]:
        if applied.original_kept:
            return engine.compare_values(fetched.segment_dir, applied.segment_dir, columns, sort_by)
        folder = fetched.folder / "original"
        folder.mkdir()
        try:
            original = unpack(fetched.archive, folder, fetched.planned.segment)
            return engine.compare_values(original.dir, applied.segment_dir, columns, sort_by)
        finally:
            shutil.rmtree(folder)

    return compare_with_original


def stage(store: DeepStore, ready: Ready, staged_url: str) -> RebuildResult:
    """Pack a rebuilt segment as its object was packed, and leave it in the workspace.

    Raises:
        DeepStoreSyncError: it cannot be written.
    """
    started = time.monotonic()
    if ready.segment_dir is not None:
        pack(ready.segment_dir, ready.archive, ready.compression)
        shutil.rmtree(ready.segment_dir)
    etag = store.write_workspace(staged_url, ready.archive)
    return replace(
        ready.result,
        staged_url=staged_url,
        staged_etag=etag,
        staged_bytes=ready.archive.stat().st_size,
        stage_s=time.monotonic() - started,
    )
