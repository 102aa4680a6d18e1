"""Rebuilding a segment that lies on this machine: what a run does with one, without a cluster and without a store."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from deep_store_sync.errors import ConfigError
from deep_store_sync.jvm.process import EngineProcess
from deep_store_sync.model import (
    Action,
    Plan,
    PlannedSegment,
    RebuildResult,
    Rebuilt,
    RunRequest,
    Servers,
    StampState,
)
from deep_store_sync.rebuilding.guard import guarded
from deep_store_sync.rebuilding.limits import Limits
from deep_store_sync.rebuilding.method import Method
from deep_store_sync.rebuilding.rebuild_segment import Fetched, open_archive, rebuild
from deep_store_sync.segment.archive import Compression, archived_segment, pack, read_metadata
from deep_store_sync.segment.segment_files import CreationMeta, read_layout
from deep_store_sync.system_trouble import system_trouble
from deep_store_sync.table_hash import building_config


class Done(StrEnum):
    """What was done with a segment."""

    NOTHING = "nothing"
    """It is as the config wants it."""
    PREPROCESSED = "preprocessed"
    """Pinot's preprocessing, as a server's reload does it, was all that it took."""
    REGENERATED = "regenerated"
    """Columns, or all rows, were written anew."""
    REFUSED = "refused"
    """It must not be rebuilt for this config."""


@dataclass(frozen=True, slots=True)
class LocalRebuild:
    """What a rebuild came to.

    `why` says why it was regenerated or refused, and what will stay stale on servers all the same; `changes` names what
    was changed. `crc` and `new_crc` are those before and after, `bytes` and `new_bytes` the sizes of the files.
    `output` is what was written, None where nothing had to be done.
    """

    segment: str
    done: Done
    why: tuple[str, ...]
    changes: tuple[str, ...]
    crc: int
    new_crc: int
    bytes: int
    new_bytes: int
    seconds: float
    output: Path | None


def rebuild_local(
    source: Path,
    table_config: Mapping[str, Any],
    schema: Mapping[str, Any],
    output: Path,
    *,
    engine: EngineProcess,
    limits: Limits,
    folder: Path,
) -> LocalRebuild:
    """Rebuild a segment's folder or archive for a table config and schema, verify it, and write it into `output`.

    A folder comes out as a folder with the segment's name, an archive as one with the same name and compression.

    Args:
        source: a segment's folder, or its archive.
        table_config: as a controller gives it.
        schema: as a controller gives it.
        output: the folder to write into; it is made. What is there is never overwritten.
        engine: Pinot.
        limits: how large it may grow, and how long it may take.
        folder: where there is room for what is written meanwhile; it is empty.

    Raises:
        ConfigError: there is no such source, or the output exists or cannot be written.
        SegmentError: it is no segment, cannot be rebuilt, or does not hold what the original holds.
        EngineError: Java could not be started.
    """
    started = time.monotonic()
    if not source.exists():
        raise ConfigError(f"{source}: there is no such folder or file")
    _check_writable(output)
    work = folder / "segment"
    work.mkdir()
    archive = work / "object"
    if source.is_dir():
        segment = read_layout(source).name
        named = source.absolute() if source.name == segment else _linked(source, folder / segment)
        pack(named, archive, Compression.LZ4)
    else:
        segment = archived_segment(source)
        archive.symlink_to(source.absolute())
    target = output / (segment if source.is_dir() else source.name)
    if target.exists():
        raise ConfigError(f"{target} is there already, and is not overwritten: give another --output")
    crc = CreationMeta.from_bytes(read_metadata(archive, segment)[0]).crc
    config = building_config(table_config)
    row = PlannedSegment(segment, Action.REBUILD, "", "", Servers.UNKNOWN, StampState.NONE, crc=crc)
    plan = Plan("", RunRequest("local"), 0, config, schema, (row,))
    known = RebuildResult(segment, Rebuilt.FAILED, crc=crc)
    opened = open_archive(plan, row, work, known, mark=None, started=started, most_bytes=limits.disk_bytes)
    if isinstance(opened, RebuildResult):
        return _ended(opened, started, 0)
    size = _size(opened.segment_dir)
    with guarded(work, opened.segment_dir, limits, on_timeout=engine.dump_stacks):
        ready = rebuild(engine, plan, opened)
    if isinstance(ready, RebuildResult):
        return _ended(ready, started, size, opened)
    assert ready.segment_dir is not None  # noqa: S101 - only a push that was cut short is staged as it is
    new_size = _size(ready.segment_dir)
    _write(ready.segment_dir, target, None if source.is_dir() else opened.compression)
    found = _ended(ready.result, started, size, opened)
    return replace(found, new_bytes=new_size, output=target)


def _ended(result: RebuildResult, started: float, size: int, opened: Fetched | None = None) -> LocalRebuild:
    method = opened.method if opened else Method()
    why: tuple[str, ...] = (*method.reasons, *filter(None, [method.incurable]))
    if result.status is Rebuilt.NOT_ELIGIBLE:
        done, why = Done.REFUSED, (result.message,)
    elif result.status is not Rebuilt.CHANGED:
        done = Done.NOTHING
    else:
        done = Done.REGENERATED if result.regenerated or method.rewrites else Done.PREPROCESSED
    return LocalRebuild(
        segment=result.segment,
        done=done,
        why=why,
        changes=result.changes,
        crc=result.crc,
        new_crc=result.new_crc,
        bytes=size,
        new_bytes=size,
        seconds=time.monotonic() - started,
        output=None,
    )


def _linked(source: Path, link: Path) -> Path:
    link.symlink_to(source.absolute(), target_is_directory=True)
    return link


def _check_writable(output: Path) -> None:
    """Try the folder, or the one that it would be made in: what has taken its time should have somewhere to go."""
    place = output.absolute()
    try:
        while not place.exists():
            place = place.parent
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise ConfigError(f"--output {output}: {system_trouble(error)}") from error


def _write(segment_dir: Path, target: Path, compression: Compression | None) -> None:
    """Bring a segment to its place under another name first, so that what has this name is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        if compression is None:
            shutil.move(segment_dir, part)
        else:
            pack(segment_dir, part, compression)
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        part.unlink(missing_ok=True)
        raise


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
