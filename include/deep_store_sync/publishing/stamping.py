"""The fourth step of a run: stamp what was verified and needs no message to servers, and mark what cannot be cured."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import fields, replace

from deep_store_sync.errors import DeepStoreSyncError
from deep_store_sync.failure_budget import FailureBudget
from deep_store_sync.model import Outcome, Pending, PlannedSegment, Published, RebuildResult, SegmentOutcome
from deep_store_sync.publishing.publish_segment import SegmentPublisher
from deep_store_sync.publishing.segment_writes import LostRaceError
from deep_store_sync.services import Services
from deep_store_sync.workspace import Workspace


def stamp_batch(services: Services, plan_url: str, batch_id: str, published_url: str, *, log: logging.Logger) -> str:
    """Bring the outcomes of a batch to an end. A stamp that cannot be set is that segment's failure; the others go on.

    Returns:
        URL of the results (`SegmentOutcome` rows, one for each segment of the batch).

    Raises:
        DeepStoreSyncError: there are no results at `published_url`.
    """
    workspace = Workspace.of_plan(services.store, plan_url)
    plan = workspace.read_plan(batch_id)
    published = workspace.read_results("published", batch_id, Published)
    if published is None:
        raise DeepStoreSyncError(
            f"{published_url} is not there: clear upload_and_refresh of this batch to run it again"
        )
    rows = {row.segment: row for row in plan.segments if row.batch == batch_id}
    rebuilt = {result.segment: result for result in workspace.read_results("rebuilt", batch_id, RebuildResult) or ()}
    publisher = SegmentPublisher(services, workspace, plan.request.run_id, log)
    outcomes = []
    for result in published:
        if result.pending is not None:
            result = _finish(publisher, rows[result.segment], rebuilt[result.segment], result)
            log.info("%s: %s%s", result.segment, result.outcome, f" ({result.message})" if result.message else "")
        outcomes.append(SegmentOutcome(**{field.name: getattr(result, field.name) for field in fields(SegmentOutcome)}))
    failed = [result.segment for result in outcomes if result.outcome is Outcome.FAILED]
    FailureBudget(services, workspace, plan, log).record(failed)
    url = workspace.write_results("stamped", batch_id, outcomes, SegmentOutcome)
    _remove_staged(services, [result for result in rebuilt.values() if result.staged_url], log)
    return url


def _finish(publisher: SegmentPublisher, row: PlannedSegment, rebuilt: RebuildResult, result: Published) -> Published:
    reason = result.message if result.pending is Pending.MARK_INCURABLE else None
    try:
        publisher.stamp(row, rebuilt, crc=result.new_crc, etag=result.etag, incurable_reason=reason)
    except LostRaceError as error:
        return replace(result, outcome=Outcome.LOST_RACE, message=str(error))
    except DeepStoreSyncError as error:
        return replace(result, outcome=Outcome.FAILED, message=f"not stamped, the next run looks at it again: {error}")
    except Exception as error:
        publisher.log.exception("%s: unexpected", row.segment)
        return replace(result, outcome=Outcome.FAILED, message=f"not stamped: {type(error).__name__}: {error}")
    return result


def _remove_staged(services: Services, staged: Iterable[RebuildResult], log: logging.Logger) -> None:
    """What was published is in the deep store, what was not is built anew by the next run: the archives only cost."""
    try:
        for result in staged:
            services.store.delete(result.staged_url or "")
    except DeepStoreSyncError as error:
        log.warning("staged archives stay in the workspace, let an expiration rule remove them: %s", error)
