"""What else may be at work on a table: rebalances, segment replacements and minion tasks, as the controller knows them.

Times are by the controller's clock, which set them, and None where it does not tell.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class RebalanceJob:
    """A rebalance of a table (job type `TABLE_REBALANCE`).

    `status` is Pinot's own word. `seen_ms` is its last sign of life: it writes its progress every few minutes (Pinot
    1.5.1, `ZkBasedTableRebalanceObserver`), for as long as it takes.
    """

    id: str
    status: str
    seen_ms: int | None = None

    @property
    def ended(self) -> bool:
        """Whether it moves no more segments."""
        return self.status != "IN_PROGRESS"

    def touches(self, segments: Collection[str]) -> bool:
        """Whether it may work on one of these: it may move any."""
        return bool(segments)

    def describe(self) -> str:
        """The job in words for a log."""
        return f"rebalance job {self.id}"


@dataclass(frozen=True, slots=True)
class Replacement:
    """A lineage entry that is in progress: `segments`, on either side of it, are being replaced or replace others."""

    id: str
    segments: frozenset[str]

    def touches(self, segments: Collection[str]) -> bool:
        """Whether it works on one of these."""
        return not self.segments.isdisjoint(segments)

    def describe(self) -> str:
        """The entry in words for a log."""
        return f"segment replacement {self.id} ({_names(self.segments)})"


@dataclass(frozen=True, slots=True)
class MinionTask:
    """A minion task that works on a table. `segments` are its input; None means that it does not name any."""

    name: str
    kind: str
    segments: frozenset[str] | None = None
    started_ms: int | None = None

    def touches(self, segments: Collection[str]) -> bool:
        """Whether it may work on one of these."""
        return bool(segments) if self.segments is None else not self.segments.isdisjoint(segments)

    def describe(self) -> str:
        """The task in words for a log."""
        return f"{self.kind} {self.name}" + (f" ({_names(self.segments)})" if self.segments else "")


def _names(segments: Collection[str]) -> str:
    shown = ", ".join(sorted(segments)[:_SHOWN])
    more = len(segments) - _SHOWN
    return f"segments {shown}" + (f" and {more} more" if more > 0 else "")
