"""Making servers take what the deep store has: forced-download reloads of single segments, waited for to the end.

A reload job's own word is not enough to tell how it ended. Each server counts what it has loaded since the job was
submitted, and compares its own clock with the controller's for that (Pinot 1.5.1, `ControllerJobStatusResource`): one
whose clock is ahead calls a job complete that it has not begun, one whose clock is behind never does. So what counts is
what servers say of the segments themselves, and the job's word only where they leave a doubt.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from deep_store_sync.decide import server_state
from deep_store_sync.errors import DeepStoreSyncError, PinotError, PinotNotFoundError
from deep_store_sync.model import PlannedSegment, ServerAnswer, Servers
from deep_store_sync.pinot.reload_job import ReloadStatus
from deep_store_sync.services import Services

_POLL_S = 1.0
_LOOK_S = (1.0, 2.0, 5.0, 15.0, 30.0)
_LOGS = "look at the servers' logs"


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a forced reload: `failure` in words when it did not end, else what the servers say now."""

    failure: str | None = None
    servers: Servers = Servers.UNKNOWN
    servers_say: str = ""


def force_download(services: Services, table: str, segment: str, log: logging.Logger) -> None:
    """Ask once, without waiting. A refusal is logged: the caller sees by the proof whether it helped."""
    try:
        services.controller.reload(table, segment, force_download=True)
    except DeepStoreSyncError as error:
        log.warning("%s: the forced-download reload was not accepted: %s", segment, error)


def make_servers_take(
    services: Services,
    table: str,
    rows: Collection[PlannedSegment],
    *,
    log: logging.Logger,
    overrides_by_tier: Mapping[str, bool],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Taken]:
    """Reload segments with a forced download on every hosting server, until servers have no more of them stale.

    It is waited for `proofTimeout` at most: a segment that all replicas still call stale then, after a reload that has
    ended, is one that reloading does not cure. `overrides_by_tier` says for which segments `isStale` means nothing.
    """
    result: dict[str, Taken] = {}
    jobs: dict[str, str] = {}
    for row in rows:
        try:
            jobs[row.segment] = services.controller.reload(table, row.segment, force_download=True)
        except DeepStoreSyncError as error:
            result[row.segment] = Taken(failure=f"the forced-download reload was not accepted: {error}")
    deadline = clock() + services.settings.proof_timeout.total_seconds()
    ended: set[str] = set()
    waiting = [row for row in rows if row.segment in jobs]
    looks, next_look = 0, 0.0
    while waiting:
        for row in waiting:
            status = None if row.segment in ended else _status(services, jobs[row.segment], log)
            if status is not None and status.ended:
                ended.add(row.segment)
                if status.failed or status.status not in (None, "COMPLETED"):
                    result[row.segment] = Taken(
                        failure=f"the forced-download reload (job {jobs[row.segment]}) failed on a server: {_LOGS}"
                    )
        waiting = [row for row in waiting if row.segment not in result]
        if not waiting:
            break
        now = clock()
        last_look = now >= deadline
        if not last_look and (now < next_look or not any(row.segment in ended for row in waiting)):
            sleep(_POLL_S)
            continue
        answers, unanswered = _stale(services, table, waiting, log)
        # Every server compares all segments of the table for that: less and less often.
        took = clock() - now
        looks, next_look = looks + 1, clock() + max(_LOOK_S[min(looks, len(_LOOK_S) - 1)], took)
        for row in waiting:
            overrides = overrides_by_tier[row.segment]
            servers, words = server_state(row.segment, row.replicas, answers, overrides_by_tier=overrides)
            if unanswered is not None:
                if last_look:
                    result[row.segment] = Taken(
                        failure="servers were made to download the segment, and whether they have it could not be "
                        f"asked within proofTimeout: {unanswered}"
                    )
            elif servers is Servers.CLEAN or (servers is Servers.UNKNOWN and row.segment in ended):
                result[row.segment] = Taken(servers=servers, servers_say=words)
            elif last_look:
                result[row.segment] = _in_vain(row, jobs[row.segment], row.segment in ended, servers, words, answers)
        waiting = [row for row in waiting if row.segment not in result]
    return result


def _in_vain(
    row: PlannedSegment, job: str, ended: bool, servers: Servers, words: str, answers: Mapping[str, ServerAnswer]
) -> Taken:
    """What is to be said of a segment that servers were not seen to have taken in time."""
    if not ended:
        return Taken(
            failure=f"the forced-download reload (job {job}) has not ended within proofTimeout, and servers say: "
            f"{words}. {_LOGS.capitalize()}"
        )
    if not all((answer := answers.get(server)) is not None and answer.valid for server in row.replicas):
        # One bad replica may be the one that did not answer the reload either: no proof that nothing helps.
        return Taken(failure=f"still stale ({words}), and not every replica answered: {_LOGS}")
    return Taken(servers=servers, servers_say=words)


def _stale(
    services: Services, table: str, rows: Collection[PlannedSegment], log: logging.Logger
) -> tuple[Mapping[str, ServerAnswer], PinotError | None]:
    """What servers call stale of the segments, or what kept the controller from telling."""
    try:
        return services.controller.stale(table, {row.segment for row in rows}), None
    except PinotError as error:
        log.debug("isStale: %s", error)
        return {}, error


def _status(services: Services, job: str, log: logging.Logger) -> ReloadStatus | None:
    """How far a job is; None when that is not known now. A job that Pinot has forgotten has ended."""
    try:
        return services.controller.reload_status(job)
    except PinotNotFoundError:
        return ReloadStatus(status=None, total=0, succeeded=0)
    except DeepStoreSyncError as error:
        log.debug("reload job %s: %s", job, error)
        return None
