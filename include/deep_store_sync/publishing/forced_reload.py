"""Making servers take what the deep store has: forced-download reloads of single segments, waited for to the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from deep_store_sync.decide import server_state
from deep_store_sync.errors import DeepStoreSyncError, PinotNotFoundError
from deep_store_sync.model import PlannedSegment, Servers
from deep_store_sync.pinot.reload_job import ReloadStatus
from deep_store_sync.services import Services

_POLL_S = 1.0
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
    """Reload segments with a forced download on every hosting server, and ask the servers again when that has ended.

    It is waited for `proofTimeout` at most. `overrides_by_tier` says for which segments `isStale` means nothing.
    """
    result: dict[str, Taken] = {}
    running: dict[str, str] = {}
    for row in rows:
        try:
            running[row.segment] = services.controller.reload(table, row.segment, force_download=True)
        except DeepStoreSyncError as error:
            result[row.segment] = Taken(failure=f"the forced-download reload was not accepted: {error}")
    deadline = clock() + services.settings.proof_timeout.total_seconds()
    while running:
        for segment, job in list(running.items()):
            status = _status(services, job, log)
            if status is not None and status.ended:
                del running[segment]
                if status.failed or status.status not in (None, "COMPLETED"):
                    result[segment] = Taken(
                        failure=f"the forced-download reload (job {job}) failed on a server: {_LOGS}"
                    )
        if not running or clock() >= deadline:
            break
        sleep(_POLL_S)
    for segment, job in running.items():
        result[segment] = Taken(
            failure=f"the forced-download reload (job {job}) has not ended within proofTimeout: {_LOGS}"
        )
    reloaded = [row for row in rows if row.segment not in result]
    answers = services.controller.stale(table) if reloaded else {}
    for row in reloaded:
        servers, words = server_state(
            row.segment, row.replicas, answers, overrides_by_tier=overrides_by_tier[row.segment]
        )
        answered = all((answer := answers.get(server)) is not None and answer.valid for server in row.replicas)
        if servers is Servers.STALE and not answered:
            # One bad replica may be the one that did not answer the reload either: no proof that nothing helps.
            result[row.segment] = Taken(failure=f"still stale ({words}), and not every replica answered: {_LOGS}")
        else:
            result[row.segment] = Taken(servers=servers, servers_say=words)
    return result


def _status(services: Services, job: str, log: logging.Logger) -> ReloadStatus | None:
    """How far a job is; None when that is not known now. A job that Pinot has forgotten has ended."""
    try:
        return services.controller.reload_status(job)
    except PinotNotFoundError:
        return ReloadStatus(status=None, total=0, succeeded=0)
    except DeepStoreSyncError as error:
        log.debug("reload job %s: %s", job, error)
        return None
