"""The third step of a run: publish a batch in waves.

What only has to be stamped goes first and at once; what is published goes in waves of `waveSegments`, each of which is
proven to be loaded before the next one begins.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from deep_store_sync.failure_budget import FailureBudget
from deep_store_sync.model import DeferredBy, Outcome, PlannedSegment, Published, RebuildResult, Rebuilt, Servers
from deep_store_sync.publishing.outcomes import Item, ended
from deep_store_sync.publishing.wave import WavePublisher
from deep_store_sync.services import Services
from deep_store_sync.spoken import spoken_pace
from deep_store_sync.workdir import work_folder
from deep_store_sync.workspace import Workspace

_ENDED: Mapping[Rebuilt, Outcome] = {
    Rebuilt.NOT_ELIGIBLE: Outcome.NOT_ELIGIBLE,
    Rebuilt.LOST_RACE: Outcome.LOST_RACE,
    Rebuilt.FAILED: Outcome.FAILED,
    Rebuilt.LEFT_ALONE: Outcome.DEFERRED,
    Rebuilt.NO_TIME: Outcome.DEFERRED,
}
_DEFERRED_BY = {Rebuilt.LEFT_ALONE: DeferredBy.FAILURES, Rebuilt.NO_TIME: DeferredBy.TIME}


def upload_and_refresh(
    services: Services,
    plan_url: str,
    batch_id: str,
    rebuilt_url: str,
    *,
    log: logging.Logger,
    should_stop: Callable[[], str | None] = lambda: None,
    done: Callable[[PlannedSegment], None] = lambda row: None,
    last_try: bool = True,
) -> str:
    """Publish what a batch rebuilt. `should_stop` gives the reason while the kill switch is on.

    `done` is told of each segment that has come to its end, but for its stamp. `last_try` says that nobody tries again
    if this ends with an error that may pass: then what is left of the batch counts for the failure budget.

    A segment that cannot be published gets its outcome, and the others go on. What is done is stored after each wave,
    so that it is known even if this does not come to its end.

    Returns:
        URL of the results (`Published` rows, one for each segment of the batch).

    Raises:
        PinotError: the controller does not answer, so that no decision can be made.
        DeepStoreError: plan or results cannot be read or written.
    """
    workspace = Workspace.of_plan(services.store, plan_url)
    workspace.forget_results(batch_id, "stamped")
    plan = workspace.read_plan(batch_id)
    # RebuildSegment forgets what was published before, so what is found is an earlier try's, of this very rebuild.
    earlier = {
        result.segment: result
        for result in workspace.read_results("published", batch_id, Published) or ()
        if result.outcome is Outcome.SYNCED
    }
    rebuilt = {result.segment: result for result in workspace.read_results("rebuilt", batch_id, RebuildResult) or ()}
    rows = [row for row in plan.segments if row.batch == batch_id]
    results: list[Published] = []
    in_sync: list[Item] = []
    work: list[Item] = []
    for row in rows:
        result = rebuilt.get(row.segment)
        if row.segment in earlier:
            results.append(earlier[row.segment])
        elif result is None:
            results.append(Published(row.segment, Outcome.FAILED, f"{rebuilt_url} has no result for it", crc=row.crc))
        elif result.status in _ENDED:
            by = _DEFERRED_BY.get(result.status)
            results.append(ended(row, result, _ENDED[result.status], result.message, by))
        elif result.status is Rebuilt.INCURABLE or (
            result.status is Rebuilt.UNCHANGED and row.servers is not Servers.STALE
        ):
            in_sync.append((row, result))
        else:
            work.append((row, result))
    # What an earlier try of this task failed to publish is tried again.
    failures = FailureBudget(services, workspace, plan, log)
    failures.forget([row.segment for row, _ in (*in_sync, *work)])

    def unfinished() -> list[str]:
        ended_so_far = {result.segment for result in results}
        return [row.segment for row in rows if row.segment not in ended_so_far]

    with (
        failures.counting(unfinished, last_try=last_try),
        work_folder(services.settings.engine.workdir, log) as folder,
    ):
        publisher = WavePublisher(services, workspace, plan, batch_id, folder, log)
        of_name = {row.segment: row for row in rows}
        results += publisher.only_stamp(in_sync, should_stop)
        for outcome in results:
            done(of_name[outcome.segment])
        began, done_bytes, total_bytes = time.monotonic(), 0, sum(row.size_bytes for row, _ in work)
        for wave in _waves(work, services.settings.wave_segments):
            published = publisher.publish(wave, should_stop)
            results += published
            for outcome in published:
                done(of_name[outcome.segment])
            workspace.write_results("published", batch_id, results, Published)
            done_bytes += sum(of_name[outcome.segment].size_bytes for outcome in published)
            pace = spoken_pace(done_bytes, total_bytes, time.monotonic() - began)
            log.info("%d of %d segments of %s done; %s", len(results), len(rows), batch_id, pace)
        _log_outcomes(results, log)
        return workspace.write_results("published", batch_id, results, Published)


def _waves(work: Sequence[Item], size: int) -> Iterator[list[tuple[PlannedSegment, RebuildResult]]]:
    rest = iter(work)
    while wave := list(islice(rest, size)):
        yield wave


def _log_outcomes(results: Sequence[Published], log: logging.Logger) -> None:
    for result in results:
        details = ", ".join(filter(None, [result.mode and str(result.mode), result.message]))
        log.info("%s: %s%s", result.segment, result.outcome, f" ({details})" if details else "")
