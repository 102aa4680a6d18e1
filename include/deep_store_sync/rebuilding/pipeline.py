"""A batch as a pipeline: while segments are rebuilt, others are downloaded and unpacked, or packed and uploaded.

A segment that is under way has a thread, which takes it through all its steps. As many segments are rebuilt at once as
there are engine processes, as many are fetched at once, and two more are under way besides, so that no step waits for
another one longer than it has to. They begin in the plan's order, and end in any.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from deep_store_sync.checkpoint import checkpoint, checkpoints
from deep_store_sync.errors import ArchiveError, DeepStoreSyncError, EngineError, ObjectChangedError, StoppedError
from deep_store_sync.failure_budget import FailureBudget
from deep_store_sync.model import Plan, PlannedSegment, RebuildResult, Rebuilt
from deep_store_sync.rebuilding.disk import DiskBudget, DiskShare, is_no_space, no_space, used_bytes
from deep_store_sync.rebuilding.engines import EnginePool, place
from deep_store_sync.rebuilding.guard import guarded
from deep_store_sync.rebuilding.limits import Limits
from deep_store_sync.rebuilding.progress import Progress
from deep_store_sync.rebuilding.rebuild_segment import fetch, not_begun, out_of_time, rebuild, stage
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.time_budget import TimeBudget
from deep_store_sync.workspace import Workspace

# Segments under way besides those that are rebuilt.
_BESIDES = 2
_LOOK_EVERY_S = 0.1
# How long threads that are to stop are waited for: they do at their next checkpoint, unless the network keeps them.
_LEAVING_S = 2.0


@dataclass(frozen=True, slots=True)
class Job:
    """What the segments of a batch have in common."""

    store: DeepStore
    workspace: Workspace
    plan: Plan
    folder: Path
    limits: Limits
    failures: FailureBudget
    time: TimeBudget
    log: logging.Logger


class Pipeline:
    """Takes the segments of a batch through their steps, once."""

    def __init__(self, job: Job, engines: EnginePool, progress: Progress) -> None:
        self._job = job
        self._engines = engines
        self._progress = progress
        self._fetching = threading.Semaphore(job.limits.parallel_segments)
        self._disk = DiskBudget(job.limits.disk_bytes)
        self._leaving = False

    def run(self, segments: list[PlannedSegment], should_stop: Callable[[], str | None]) -> list[RebuildResult]:
        """Work on the segments until each has a result, and return those in the segments' order.

        The calling thread only waits, so that a signal reaches it at once, and asks `should_stop`. However this ends,
        the engines have ended then.

        Raises:
            StoppedError: `should_stop` gave a reason.
            EngineError: Java could not be started.
        """
        threads = ThreadPoolExecutor(self._job.limits.parallel_segments + _BESIDES, "deep-store-sync")
        futures: list[Future[RebuildResult]] = []
        try:
            futures += [threads.submit(self._take_through, *numbered) for numbered in enumerate(segments)]
            unfinished = set(futures)
            while unfinished:
                if reason := should_stop():
                    raise StoppedError(f"{reason}: the batch was left before all of its segments were rebuilt")
                done, unfinished = wait(unfinished, _LOOK_EVERY_S, FIRST_EXCEPTION)
                for future in done:
                    future.result()
            return [future.result() for future in futures]
        finally:
            self._leaving = True
            threads.shutdown(wait=False, cancel_futures=True)
            wait([future for future in futures if not future.cancelled()], _LEAVING_S)
            self._engines.close()

    def _go_on(self) -> None:
        if self._leaving:
            raise StoppedError("the batch was left")

    def _take_through(self, number: int, planned: PlannedSegment) -> RebuildResult:
        folder = self._job.folder / str(number)
        with checkpoints(self._go_on), self._disk.share() as share:
            try:
                result = self._steps(planned, folder, share)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        self._progress.done(planned, result)
        if result.status is Rebuilt.FAILED:
            self._job.failures.record([planned.segment])
        return result

    def _steps(self, planned: PlannedSegment, folder: Path, share: DiskShare) -> RebuildResult:
        job = self._job
        result = RebuildResult(planned.segment, Rebuilt.FAILED, crc=planned.crc)
        try:
            if reason := job.failures.used_up():
                return not_begun(planned, reason)
            if reason := job.time.used_up(planned):
                return out_of_time(planned, reason)
            with place(self._fetching):
                fetched = fetch(job.store, job.plan, planned, folder, share.wait_for, job.limits.disk_bytes)
            if isinstance(fetched, RebuildResult):
                return fetched
            result = fetched.result
            share.is_unpacked(result.object_bytes, used_bytes(fetched.segment_dir))
            with self._engines.lent() as engine:
                engine.start()
                with guarded(folder, fetched.segment_dir, job.limits, on_timeout=engine.dump_stacks):
                    ready = rebuild(engine, job.plan, fetched)
            if isinstance(ready, RebuildResult):
                return ready
            result = ready.result
            return stage(job.store, ready, job.workspace.staged_url(planned.segment))
        except Exception as error:
            checkpoint()  # an upload that is stopped, for one, ends with an error of the HTTP client
            return self._ended(planned, result, error)

    def _ended(self, planned: PlannedSegment, result: RebuildResult, error: Exception) -> RebuildResult:
        """What goes wrong with one segment is that segment's result."""
        if isinstance(error, (EngineError, StoppedError)):
            raise error
        if isinstance(error, ObjectChangedError):
            return replace(result, status=Rebuilt.LOST_RACE, message=str(error))
        if is_no_space(error):
            message = no_space(self._job.folder, error)
        elif isinstance(error, ArchiveError):
            message = f"{planned.url}: {error}"
        elif isinstance(error, DeepStoreSyncError):
            message = str(error)
        else:
            self._job.log.error("%s: unexpected", planned.segment, exc_info=error)
            message = (
                f"the worker's disk: {error}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            )
        return replace(result, status=Rebuilt.FAILED, message=message)
