"""The last look before a wave: may it still be published?

In this order, since the last ones have to be as fresh as can be: the kill switch, the run's failure budget, what else
is at work on the wave's segments, and whether table config and schema are still those that the plan was made for. What
may not be published is left as it is, with the reason.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deep_store_sync.failure_budget import FailureBudget, left_alone
from deep_store_sync.model import DeferredBy, Outcome, Plan, PlannedSegment, Published
from deep_store_sync.pinot.activity import ActivityReport, Looks, Operation, find_activity
from deep_store_sync.publishing.outcomes import Item, ended
from deep_store_sync.services import Services
from deep_store_sync.table_hash import TableHashes

_DRIFT = "not published: table config or schema changed after the plan was made; the next run plans anew"
_POLL_S = 2.0

Held = tuple[list[Published], list[Item], Mapping[str, Any]]
"""What must not be done any more, with its outcome; the rest; and the table config as it is now."""


@dataclass(slots=True)
class LastCheck:
    """Looks before each wave of one batch."""

    services: Services
    plan: Plan
    failures: FailureBudget
    log: logging.Logger
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _looks: Looks = field(default_factory=Looks)
    _said: set[str] = field(default_factory=set)
    _out_of_patience: bool = False

    def look(self, items: Sequence[Item], should_stop: Callable[[], str | None], *, undisturbed: bool) -> Held:
        """Split the items of a wave. With `undisturbed`, nothing else may be at work on what is published.

        Raises:
            PinotError: the controller does not answer, so that no decision can be made.
            DeepStoreError: nor does the store.
        """
        if stopping := should_stop():
            return self._left(items, stopping), [], {}
        if reason := self.failures.used_up():
            self.log.warning("the failure budget is used up (%s): %d segments are left as they are", reason, len(items))
            message = left_alone(reason)
            return [ended(*item, Outcome.DEFERRED, message, DeferredBy.FAILURES) for item in items], [], {}
        held: list[Published] = []
        if undisturbed:
            busy, stopping = self._wait(items, should_stop)
            if stopping:
                return self._left(items, stopping), [], {}
            held, items = self._undisturbed(items, busy)
        drifted, table_config = self.drifted([row for row, _ in items])
        if drifted:
            self.log.warning("table config or schema changed: %d segments are dropped untouched", len(drifted))
        held += [
            ended(row, result, Outcome.DEFERRED, _DRIFT, DeferredBy.DRIFT)
            for row, result in items
            if row.segment in drifted
        ]
        return held, [(row, result) for row, result in items if row.segment not in drifted], table_config

    def drifted(self, rows: Sequence[PlannedSegment]) -> tuple[set[str], Mapping[str, Any]]:
        """Segments whose planned hash is no longer the table's, and the table config as it is now."""
        controller, table = self.services.controller, self.plan.table
        table_config = controller.table_config(table)
        hashes = TableHashes(table_config, controller.schema(table))
        return {row.segment for row in rows if hashes.current(row.tier) != row.table_hash}, table_config

    @property
    def ended_reloads(self) -> frozenset[str]:
        """The reload jobs of the table that had ended when it was looked last."""
        return frozenset(self._looks.ended)

    def _left(self, items: Sequence[Item], reason: str) -> list[Published]:
        self.log.warning("the kill switch is on (%s): %d segments are left as they are", reason, len(items))
        return [ended(*item, Outcome.DEFERRED, f"stopped: {reason}", DeferredBy.STOPPED) for item in items]

    def _wait(self, items: Sequence[Item], should_stop: Callable[[], str | None]) -> tuple[list[Operation], str | None]:
        """Wait until nothing else works on the items, `proofTimeout` at most; returns what does even then.

        A task of its own waits for as long as it takes before each batch; this is for what began after that. The other
        part of the answer is the reason of the kill switch, if that was seen to be on meanwhile.
        """
        segments = [row.segment for row, _ in items]
        patience_s = 0.0 if self._out_of_patience else self.services.settings.proof_timeout.total_seconds()
        deadline = self.clock() + patience_s
        waited = False
        while True:
            busy = self._at_work(segments)
            if waited and (reason := should_stop()):
                return busy, reason
            if not busy:
                return busy, None
            if self.clock() >= deadline:
                # The next waves of the batch do not wait for it once more.
                self._out_of_patience = True
                return busy, None
            waited = True
            self.sleep(_POLL_S)

    def _undisturbed(self, items: Sequence[Item], busy: Sequence[Operation]) -> tuple[list[Published], Sequence[Item]]:
        """What something else works on, and the rest."""
        held, rest = [], []
        for row, result in items:
            operation = next((operation for operation in busy if operation.touches([row.segment])), None)
            if operation is None:
                rest.append((row, result))
            else:
                message = f"not published: {operation.describe()} is at work on it; the next run looks again"
                held.append(ended(row, result, Outcome.DEFERRED, message, DeferredBy.OPERATION))
        if held:
            self.log.warning("%d segments are left as they are: other operations are at work on them", len(held))
        return held, rest

    def _at_work(self, segments: Sequence[str]) -> list[Operation]:
        """The operations on one of these segments."""
        report = self._activity()
        for line in report.lines():
            if line not in self._said:
                self._said.add(line)
                self.log.warning("%s", line)
        return [operation for operation in (*report.active, *report.replacements) if operation.touches(segments)]

    def _activity(self) -> ActivityReport:
        give_up_ms = self.services.settings.give_up_after_ms
        return find_activity(self.services.controller, self.plan.table, give_up_after_ms=give_up_ms, looks=self._looks)
