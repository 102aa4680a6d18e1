"""Server reloads that are under way.

Pinot lists the reload jobs of a table, old ones too, but not which of them still run: that only the status call of each
job tells.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableSet
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deep_store_sync.errors import PinotNotFoundError, PinotUnavailableError
from deep_store_sync.pinot.reload_job import ReloadJob, ReloadStatus

if TYPE_CHECKING:
    from deep_store_sync.pinot.controller import ControllerClient


@dataclass(frozen=True, slots=True)
class ActivityReport:
    """The reloads of a table: those that still run, and those that never ended and are too old to be waited for."""

    active: tuple[ReloadJob, ...] = ()
    given_up: tuple[ReloadJob, ...] = ()


def active_reloads(
    jobs: Collection[ReloadJob],
    statuses: Mapping[str, ReloadStatus | None],
    *,
    now_ms: int,
    give_up_after_ms: int,
    table_created_ms: int | None = None,
) -> ActivityReport:
    """Sort jobs into running and given up; those that ended are in neither.

    `statuses` maps job id to status, None for a job that the controller no longer knows; a job that is missing in it
    could not be asked for and counts as running. A job from before the table was created belongs to an earlier table of
    the same name. The age of a job is taken from the controller where it tells (its clock set the submission time),
    else from `now_ms`.
    """
    active: list[ReloadJob] = []
    given_up: list[ReloadJob] = []
    for job in jobs:
        status = statuses.get(job.id, _UNASKED)
        if status is None or status.ended:
            continue
        if table_created_ms is not None and job.submitted_ms is not None and job.submitted_ms < table_created_ms:
            continue
        age_ms = status.age_ms
        if age_ms is None and job.submitted_ms is not None:
            age_ms = now_ms - job.submitted_ms
        # A job without any time cannot grow old: it would block for ever.
        (given_up if age_ms is None or age_ms > give_up_after_ms else active).append(job)
    return ActivityReport(tuple(active), tuple(given_up))


_UNASKED = ReloadStatus(None, None, None)


def find_active_reloads(
    controller: ControllerClient,
    table: str,
    *,
    now_ms: int,
    give_up_after_ms: int,
    table_created_ms: int | None = None,
    ended: MutableSet[str] | None = None,
) -> ActivityReport:
    """Ask the controller for the reloads of a table (name with type), and each for its status.

    Every status call makes the controller ask all servers concerned. Who asks repeatedly hands in a set for `ended`:
    the ids of jobs that have ended are kept there, and these jobs are not asked about again.

    Raises:
        PinotNotFoundError: there is no such table.
        PinotError: the controller does not answer, or not what it should.
    """
    seen = ended if ended is not None else set()
    jobs = [job for job in controller.reload_jobs(table) if job.id not in seen]
    statuses: dict[str, ReloadStatus | None] = {}
    ideal_state: Mapping[str, Mapping[str, str]] | None = None
    for job in jobs:
        try:
            statuses[job.id] = controller.reload_status(job.id)
        except PinotNotFoundError:
            statuses[job.id] = None
        except PinotUnavailableError:
            # For a segment that was deleted since, the controller answers 500 (Pinot 1.5.1,
            # PinotHelixResourceManager.getServers). If it is the controller that fails, asking for the ideal state
            # fails as well.
            if ideal_state is None:
                ideal_state = controller.ideal_state(table)
            if job.segments and not any(segment in ideal_state for segment in job.segments):
                statuses[job.id] = None
    for id_, status in statuses.items():
        if status is None or status.ended:
            seen.add(id_)
    return active_reloads(
        jobs, statuses, now_ms=now_ms, give_up_after_ms=give_up_after_ms, table_created_ms=table_created_ms
    )
