"""`RebuildSegment`: the segments of a batch, rebuilt on this machine and staged in the workspace."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from deep_store_sync.errors import ConfigError
from deep_store_sync.failure_budget import FailureBudget
from deep_store_sync.jvm.jars import find_jars
from deep_store_sync.jvm.process import EngineProcess
from deep_store_sync.model import Action, PlannedSegment, RebuildResult
from deep_store_sync.rebuilding.engines import EnginePool
from deep_store_sync.rebuilding.limits import Limits, decide_limits, limits_line, look_at_machine
from deep_store_sync.rebuilding.pipeline import Job, Pipeline
from deep_store_sync.rebuilding.progress import Progress
from deep_store_sync.rebuilding.rebuild_segment import not_begun, out_of_time
from deep_store_sync.time_budget import TimeBudget
from deep_store_sync.workdir import work_folder
from deep_store_sync.workspace import Workspace

if TYPE_CHECKING:
    from deep_store_sync.services import Services


def rebuild_batch(
    services: Services,
    plan_url: str,
    batch_id: str,
    *,
    log: logging.Logger,
    should_stop: Callable[[], str | None],
    done: Callable[[PlannedSegment], None] = lambda row: None,
    last_try: bool = True,
) -> str | None:
    """Rebuild the segments of a batch, and leave a result for each.

    What goes wrong with a segment ends up in its result, and the others go on. However this ends, no process and no
    file of it is left on this machine.

    A batch that is tried again, or cleared, is rebuilt from its beginning, whatever time it is: what an earlier try had
    begun must not end as left to the next run. Results of that try are forgotten only once another one begins.

    Args:
        services: clients and settings of the table.
        plan_url: the run's plan.
        batch_id: a batch of it.
        log: gets the limits, and a line for each segment.
        should_stop: gives the reason when the batch is to be left. It is asked in this thread, several times a second.
        done: is told of each segment that has a result, by any thread.
        last_try: whether nobody tries again if this ends with an error that may pass: then all of the batch counts for
            the failure budget.

    Returns:
        The URL of the results. None where no segment was ever begun, since the run's time was over: then there is
        nothing to publish.

    Raises:
        StoppedError: `should_stop` gave a reason. No results are left.
        EngineError: no Java, no jars, or jars of another Pinot version than the cluster's.
        ConfigError: the plan has no such batch.
        DeepStoreError: plan or results cannot be read or written.
    """
    workspace = Workspace.of_plan(services.store, plan_url)
    plan = workspace.read_plan(batch_id)
    segments = [row for row in plan.segments if row.batch == batch_id]
    if not segments:
        raise ConfigError(f"{plan_url} has no batch {batch_id!r}: it belongs to another plan")
    names = [row.segment for row in segments]
    begun = workspace.was_begun(batch_id)
    failures = FailureBudget(services, workspace, plan, log)
    if reason := failures.used_up(apart_from=names):
        log.warning("%s is left alone: %s", batch_id, reason)
        earlier = workspace.read_results("rebuilt", batch_id, RebuildResult) if begun else None
        results = earlier or [not_begun(row, reason) for row in segments]
        return workspace.write_results("rebuilt", batch_id, results, RebuildResult)
    budget = TimeBudget(None if begun else services.settings.max_run_time, lambda: services.store.head(plan_url))
    if reason := budget.used_up(segments[0]):
        log.info("%s is left to the next run: %s", batch_id, reason)
        workspace.write_results("rebuilt", batch_id, [out_of_time(row, reason) for row in segments], RebuildResult)
        return None
    if not begun:
        workspace.note_begun(batch_id)
    workspace.forget_results(batch_id, "rebuilt", "published", "stamped")
    failures.forget(names)
    with failures.counting(lambda: names, last_try=last_try):
        settings = services.settings.engine
        with work_folder(settings.workdir, log) as folder:
            machine = look_at_machine(folder)
            limits = decide_limits(settings, machine)
            log.info("%s", limits_line(settings, machine, limits, folder))
            engines = _engines(services, limits, folder / "java", log)
            if any(planned.action is not Action.RELOAD for planned in segments):
                engines.begin()
            job = Job(services.store, workspace, plan, folder, limits, failures, budget, log)
            results = Pipeline(job, engines, Progress(segments, log, done)).run(segments, should_stop)
        return workspace.write_results("rebuilt", batch_id, results, RebuildResult)


def _engines(services: Services, limits: Limits, temp_dir: Path, log: logging.Logger) -> EnginePool:
    settings = services.settings.engine
    jars = find_jars(
        services.controller.version(), configured=settings.jars, allow_mismatch=settings.allow_version_mismatch
    )
    log.info("Pinot %s from %s", jars.version, jars.source)
    return EnginePool(lambda: EngineProcess(jars, limits.heap_bytes, temp_dir=temp_dir), limits.parallel_segments)
