"""`RebuildSegment`: the segments of a batch, rebuilt on this machine and staged in the workspace.

A batch is a pipeline of three: while one segment is rebuilt, the next is downloaded and unpacked, and the last one is
packed and uploaded. There are never more than three segments on disk, each as its object's archive or its folder, or
both for a moment, and for a segment whose columns are rewritten its original folder too. Memory does not grow with the
size of a segment, but for Java's heap.
"""

from __future__ import annotations

import errno
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from deep_store_sync.errors import (
    ArchiveError,
    ConfigError,
    DeepStoreSyncError,
    EngineError,
    ObjectChangedError,
    StoppedError,
)
from deep_store_sync.jvm.engine import SegmentEngine
from deep_store_sync.jvm.jars import find_jars
from deep_store_sync.model import Action, Plan, PlannedSegment, RebuildResult, Rebuilt
from deep_store_sync.segment.rebuild_segment import Fetched, Ready, fetch, rebuild, stage
from deep_store_sync.workspace import Workspace

if TYPE_CHECKING:
    from deep_store_sync.services import Services

_T = TypeVar("_T")

# Segments on disk at once: one in each step.
_ON_DISK = 3


def rebuild_batch(
    services: Services,
    plan_url: str,
    batch_id: str,
    *,
    workdir: Path | None = None,
    log: logging.Logger,
    should_stop: Callable[[], bool],
) -> str:
    """Rebuild the segments of a batch, and leave a result for each.

    What goes wrong with a segment ends up in its result, and the others go on.

    Args:
        services: clients and settings of the table.
        plan_url: the run's plan.
        batch_id: a batch of it.
        workdir: where there is room for three segments; None means the system's folder for temporary files. What is
            left there of a batch goes with it, however it ends.
        log: gets a line for each segment.
        should_stop: asked before each segment.

    Returns:
        The URL of the results.

    Raises:
        StoppedError: `should_stop` said so. No results are left.
        EngineError: no Java, no jars, or jars of another Pinot version than the cluster's.
        ConfigError: the plan has no such batch.
        DeepStoreError: plan or results cannot be read or written.
    """
    workspace = Workspace.of_plan(services.store, plan_url)
    plan = workspace.read_plan()
    segments = [row for row in plan.segments if row.batch == batch_id]
    if not segments:
        raise ConfigError(f"{plan_url} has no batch {batch_id!r}: it belongs to another plan")
    workspace.forget_results(batch_id, "rebuilt", "published", "stamped")
    with tempfile.TemporaryDirectory(dir=workdir, prefix="deep-store-sync-", ignore_cleanup_errors=True) as folder:
        batch = _Batch(services, plan, workspace, Path(folder), log, _Progress(segments))
        results = batch.run(segments, should_stop)
    return workspace.write_results("rebuilt", batch_id, results, RebuildResult)


@dataclass(slots=True)
class _Progress:
    segments: Iterable[PlannedSegment]
    count: int = 0
    total_count: int = field(init=False)
    done_bytes: int = 0
    total_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        segments = list(self.segments)
        self.total_count = len(segments)
        self.total_bytes = sum(segment.size_bytes for segment in segments)

    def line(self, planned: PlannedSegment, result: RebuildResult) -> str:
        self.count += 1
        self.done_bytes += planned.size_bytes
        what = ", ".join(filter(None, [str(result.status), result.message, "; ".join(result.changes)]))
        sizes = spoken_bytes(result.object_bytes)
        if result.staged_bytes:
            sizes += f" → {spoken_bytes(result.staged_bytes)}"
        return (
            f"{self.count}/{self.total_count} {result.segment}: {what} ({sizes}; download {result.download_s:.1f} s, "
            f"rebuild {result.rebuild_s:.1f} s, verify {result.verify_s:.1f} s, stage {result.stage_s:.1f} s); "
            f"{spoken_bytes(self.done_bytes)} of {spoken_bytes(self.total_bytes)}"
        )


class _Batch:
    """The pipeline. Each step has a thread of its own, so that a signal reaches the main thread at once."""

    def __init__(
        self,
        services: Services,
        plan: Plan,
        workspace: Workspace,
        folder: Path,
        log: logging.Logger,
        progress: _Progress,
    ) -> None:
        self._services = services
        self._plan = plan
        self._workspace = workspace
        self._folder = folder
        self._log = log
        self._progress = progress
        self._engine: SegmentEngine | None = None
        self._room = threading.Semaphore(_ON_DISK)
        self._leaving = False

    def run(self, segments: list[PlannedSegment], should_stop: Callable[[], bool]) -> list[RebuildResult]:
        with ExitStack() as stack:
            threads = [ThreadPoolExecutor(1, f"deep-store-sync-{name}") for name in ("fetch", "rebuild", "stage")]
            for thread in threads:
                # Wait for what runs: it works in a folder that goes afterwards. What has not begun never does.
                stack.callback(thread.shutdown, wait=True, cancel_futures=True)
            stack.callback(self._let_go)
            return self._pipeline(segments, should_stop, *threads)

    def _pipeline(
        self,
        segments: list[PlannedSegment],
        should_stop: Callable[[], bool],
        fetching: ThreadPoolExecutor,
        rebuilding: ThreadPoolExecutor,
        staging: ThreadPoolExecutor,
    ) -> list[RebuildResult]:
        engine_needed = any(planned.action is not Action.RELOAD for planned in segments)
        starting = rebuilding.submit(self._start_engine) if engine_needed else None
        fetches = [fetching.submit(self._fetch, number, planned) for number, planned in enumerate(segments)]
        if starting:
            starting.result()  # without an engine there is no point in going on
        staged: list[Future[RebuildResult]] = []
        for number, (planned, fetched) in enumerate(zip(segments, fetches, strict=True)):
            if should_stop():
                raise StoppedError("the kill switch is on: this batch was left before it was rebuilt")
            ready = rebuilding.submit(self._rebuild, fetched.result()).result()
            staged.append(staging.submit(self._stage, number, planned, ready))
        return [future.result() for future in staged]

    def _let_go(self) -> None:
        self._leaving = True
        self._room.release()  # a download that waits for room need not wait any more

    def _fetch(self, number: int, planned: PlannedSegment) -> Fetched | RebuildResult:
        if not self._leaving:
            self._room.acquire()
        if self._leaving:
            raise CancelledError
        nothing = RebuildResult(planned.segment, Rebuilt.FAILED, crc=planned.crc)
        return self._guarded(
            nothing, planned.url, lambda: fetch(self._services.store, self._plan, planned, self._folder / str(number))
        )

    def _rebuild(self, fetched: Fetched | RebuildResult) -> Ready | RebuildResult:
        if isinstance(fetched, RebuildResult):
            return fetched
        engine = self._start_engine()
        return self._guarded(fetched.result, fetched.planned.url, lambda: rebuild(engine, self._plan, fetched))

    def _stage(self, number: int, planned: PlannedSegment, ready: Ready | RebuildResult) -> RebuildResult:
        try:
            if isinstance(ready, RebuildResult):
                result = ready
            else:
                url = self._workspace.staged_url(planned.segment)
                result = self._guarded(ready.result, planned.url, lambda: stage(self._services.store, ready, url))
        finally:
            shutil.rmtree(self._folder / str(number), ignore_errors=True)
            self._room.release()
        level = logging.WARNING if result.status is Rebuilt.FAILED else logging.INFO
        self._log.log(level, "%s", self._progress.line(planned, result))
        return result

    def _start_engine(self) -> SegmentEngine:
        if self._engine is not None:
            return self._engine
        settings = self._services.settings.engine
        jars = find_jars(
            self._services.controller.version(),
            configured=settings.jars,
            allow_mismatch=settings.allow_version_mismatch,
        )
        started = time.monotonic()
        self._engine = SegmentEngine.start(jars, settings.heap)
        self._log.info("Pinot %s from %s, ready after %.1f s", jars.version, jars.source, time.monotonic() - started)
        return self._engine

    def _guarded(self, before: RebuildResult, url: str, step: Callable[[], _T]) -> _T | RebuildResult:
        """A step of one segment: what goes wrong in it is that segment's result."""
        try:
            return step()
        except EngineError:
            raise
        except ObjectChangedError as error:
            return replace(before, status=Rebuilt.LOST_RACE, message=str(error))
        except ArchiveError as error:
            return replace(before, status=Rebuilt.FAILED, message=f"{url}: {error}")
        except DeepStoreSyncError as error:
            return replace(before, status=Rebuilt.FAILED, message=str(error))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                self._log.exception("%s: unexpected", before.segment)
                return replace(before, status=Rebuilt.FAILED, message=f"the worker's disk: {error}")
            where = self._folder.parent
            message = f"no space left in {where}: a batch needs room there for three segments, packed and unpacked"
            return replace(before, status=Rebuilt.FAILED, message=message)
        except Exception as error:
            self._log.exception("%s: unexpected", before.segment)
            return replace(before, status=Rebuilt.FAILED, message=f"{type(error).__name__}: {error}")


def spoken_bytes(count: int) -> str:
    """A number of bytes as a person reads it."""
    if count < 1000:
        return f"{count} B"
    size, units = float(count), iter(("kB", "MB", "GB", "TB", "PB"))
    while size >= 1000:
        size, unit = size / 1000, next(units)
    return f"{size:.1f} {unit}"
