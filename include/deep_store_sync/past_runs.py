"""How fast finished runs of a table went, by what they left in the workspace."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from deep_store_sync.errors import DeepStoreError
from deep_store_sync.estimate import Pace
from deep_store_sync.runs import Run, RunFinder
from deep_store_sync.services import Services

# Of each kind of run (scheduled, manual, backfill, shell) so many of the last ones are looked at: an estimate is to
# cost the same whatever number of runs there are.
_OF_A_KIND = 5


def known_pace(services: Services, log: logging.Logger) -> Pace | None:
    """What the last runs of a table came to that wrote a report and downloaded anything.

    None without any, or where they cannot be read, which is logged: an estimate can do without.
    """
    settings = services.settings
    try:
        found = RunFinder().find(services.store, settings.workspace, settings.table, of_a_kind=_OF_A_KIND)
    except DeepStoreError as error:
        log.warning("past runs cannot be read, so that nobody knows how long it takes: %s", error)
        return None
    return pace(of.run for of in found)


def pace(runs: Iterable[Run]) -> Pace | None:
    """What these runs came to, of those that have ended, tell their totals, and downloaded anything; None without any.

    A run's time is from plan to report, by the store's clock.
    """
    told = [
        (run.totals.downloaded_bytes, run.duration_s)
        for run in runs
        if run.totals and run.totals.downloaded_bytes and run.duration_s and run.duration_s > 0
    ]
    return Pace(len(told), sum(size for size, _ in told), sum(seconds for _, seconds in told)) if told else None
