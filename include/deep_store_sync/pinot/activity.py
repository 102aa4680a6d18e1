"""What else is at work on a table: server reloads, rebalances, segment replacements, minion tasks.

Pinot lists the reload jobs of a table, old ones too, but not which of them still run: that only the status call of each
job tells.

What never ends is given up at a configured age, else it would block for ever. Ages are told by the controller's clock
alone, which dated what it lists: where it tells how long ago a job was submitted, it tells the time as well. Where it
does not, what counts is how long has been waited here.

Segments that are being committed, pauseless or not, need not be asked for: ZooKeeper says so of each, and a plan leaves
them out (`decide.ineligible`). So it does with segments in a replacement: nobody has to wait for that to end, and only
what is about to be published is held against it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, MutableSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from deep_store_sync.errors import PinotAccessError, PinotError, PinotNotFoundError, PinotUnavailableError
from deep_store_sync.pinot.operations import MinionTask, RebalanceJob, Replacement
from deep_store_sync.pinot.reload_job import ReloadJob, ReloadStatus

if TYPE_CHECKING:
    from deep_store_sync.pinot.controller import ControllerClient

Operation: TypeAlias = ReloadJob | RebalanceJob | Replacement | MinionTask


@dataclass(frozen=True, slots=True)
class ActivityReport:
    """What is at work on a table, and what never ended and is too old to be waited for.

    `replacements` are under way, too. `unknown` are sentences on what could not be asked for.
    """

    active: tuple[Operation, ...] = ()
    given_up: tuple[Operation, ...] = ()
    replacements: tuple[Replacement, ...] = ()
    unknown: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """A line for a log of everything in it."""
        return [
            *(f"under way: {operation.describe()}" for operation in (*self.active, *self.replacements)),
            *(f"no longer waited for, it never ended: {operation.describe()}" for operation in self.given_up),
            *self.unknown,
        ]


def active_reloads(
    jobs: Collection[ReloadJob],
    statuses: Mapping[str, ReloadStatus | None],
    *,
    now_ms: int | None,
    give_up_after_ms: int,
    table_created_ms: int | None = None,
    waited_ms: Callable[[ReloadJob], int] | None = None,
) -> ActivityReport:
    """Sort jobs into running and given up; those that ended are in neither.

    `statuses` maps job id to status, None for a job that the controller no longer knows; a job that is missing in it
    could not be asked for and counts as running. A job from before the table was created belongs to an earlier table of
    the same name. The age of a job is taken from the controller where it tells, else from `now_ms`, by its clock too,
    which set the submission time, else it is what `waited_ms` says; one without an age is given up.
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
        if age_ms is None:
            age_ms = _age(job.submitted_ms, now_ms)
        if age_ms is None and waited_ms is not None:
            age_ms = waited_ms(job)
        (given_up if age_ms is None or age_ms > give_up_after_ms else active).append(job)
    return ActivityReport(tuple(active), tuple(given_up))


_UNASKED = ReloadStatus(None, None, None)


def _age(since_ms: int | None, now_ms: int | None) -> int | None:
    return None if since_ms is None or now_ms is None else now_ms - since_ms


@dataclass(slots=True)
class Looks:
    """What is known from one look to the next of somebody who waits."""

    ended: set[str] = field(default_factory=set)
    """Reload jobs that have ended, and are not asked about again: for every status, all servers concerned are asked."""
    first_seen: dict[str, float] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic

    def waited_ms(self, operation: Operation) -> int:
        """How long ago an operation was seen first."""
        now = self.clock()
        return int(1000 * (now - self.first_seen.setdefault(operation.describe(), now)))


def find_activity(
    controller: ControllerClient, table: str, *, give_up_after_ms: int, looks: Looks | None = None
) -> ActivityReport:
    """Ask the controller for all that is at work on a table (name with type). Who asks repeatedly hands in `looks`.

    Raises:
        PinotNotFoundError: there is no such table.
        PinotError: the controller does not answer, or not what it should.
    """
    looks = looks or Looks()
    created_ms = controller.table_created_ms(table)
    jobs, statuses = _ask_reloads(controller, table, looks.ended)
    rebalances = [job for job in controller.rebalance_jobs(table) if not job.ended]
    tasks, unknown = _minion_tasks(controller, table)
    dated: list[tuple[Operation, int | None]] = [
        *((job, job.seen_ms) for job in rebalances),
        *((task, task.started_ms) for task in tasks),
    ]
    now_ms = _controllers_time_ms(controller, table, jobs, statuses, rebalances) if dated else None
    reloads = active_reloads(
        jobs,
        statuses,
        now_ms=now_ms,
        give_up_after_ms=give_up_after_ms,
        table_created_ms=created_ms,
        waited_ms=looks.waited_ms,
    )
    active: list[Operation] = list(reloads.active)
    given_up: list[Operation] = list(reloads.given_up)
    for operation, since_ms in dated:
        if created_ms is not None and since_ms is not None and since_ms < created_ms:
            continue  # of an earlier table of that name
        age_ms = _age(since_ms, now_ms)
        if age_ms is None:
            age_ms = looks.waited_ms(operation)
        (given_up if age_ms > give_up_after_ms else active).append(operation)
    return ActivityReport(tuple(active), tuple(given_up), tuple(controller.replacements(table)), unknown)


def _ask_reloads(
    controller: ControllerClient, table: str, ended: MutableSet[str]
) -> tuple[list[ReloadJob], dict[str, ReloadStatus | None]]:
    """The reload jobs that are not known to have ended, and the status of each that has one."""
    jobs = [job for job in controller.reload_jobs(table) if job.id not in ended]
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
            ended.add(id_)
    return jobs, statuses


def _controllers_time_ms(
    controller: ControllerClient,
    table: str,
    jobs: Collection[ReloadJob],
    statuses: Mapping[str, ReloadStatus | None],
    rebalances: Collection[RebalanceJob],
) -> int | None:
    """The controller's time now, if there is a job to tell it by; it dates none of its answers."""
    for job in jobs:
        time_ms = _time_of(job, statuses.get(job.id))
        if time_ms is not None:
            return time_ms
    try:
        for rebalance in rebalances:
            return controller.rebalance_time_ms(rebalance.id)
        for job in controller.reload_jobs(table):
            if (time_ms := _time_of(job, controller.reload_status(job.id))) is not None:
                return time_ms
    except PinotError:
        pass  # one that may not be asked about, or is gone
    return None


def _time_of(job: ReloadJob, status: ReloadStatus | None) -> int | None:
    if status is None or status.age_ms is None or job.submitted_ms is None:
        return None
    return job.submitted_ms + status.age_ms


def _minion_tasks(controller: ControllerClient, table: str) -> tuple[list[MinionTask], tuple[str, ...]]:
    """The tasks that wait or run, and what could not be asked for: it takes permissions on the whole cluster."""
    try:
        return controller.minion_tasks(table), ()
    except PinotAccessError as error:
        return [], (f"minion tasks are not looked at, and may work on the table ({error})",)
