"""The time budget of a run: after so long it begins no other segment, and leaves the rest to the next one.

How old a run is, the store alone tells: from when the plan was written to when the store answers. Workers' clocks do
not matter: one that is ahead would otherwise see every run at its end, and nothing would ever be done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from deep_store_sync.model import PlannedSegment
from deep_store_sync.planning.order import batch_id
from deep_store_sync.store.object_info import ObjectInfo

_FIRST = batch_id(0)


class TimeBudget:
    """What is left of `maxRunTime`, as one batch sees it. Safe to use from several threads."""

    def __init__(
        self, most: timedelta | None, plan: Callable[[], ObjectInfo], passed: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing is asked where there is no bound.

        Args:
            most: how long a run begins segments, None without a bound.
            plan: asks the store for the attributes of the plan's object.
            passed: seconds, from any moment on.
        """
        self._most = most
        self._passed = passed
        self._until = None if most is None else passed() + (most - age(plan())).total_seconds()

    def used_up(self, planned: PlannedSegment) -> str | None:
        """Why this segment is not to be begun any more, or None.

        The first batch of a run always is: no run is in vain, however long its tasks had to wait for a worker.
        """
        if self._until is None or self._passed() < self._until or planned.batch == _FIRST:
            return None
        return f"maxRunTime of {self._most} was over before it was begun. The next run takes it up"


def age(found: ObjectInfo) -> timedelta:
    """How old an object is, by the store's clock. A store that does not tell the time has written it just now."""
    if found.last_modified is None or found.answered is None:
        return timedelta()
    return found.answered - found.last_modified
