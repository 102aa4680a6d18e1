"""A server reload as the controller keeps it: what was asked for, and how far it is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

_ENDED = frozenset({"COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class ReloadJob:
    """A reload that was asked for, as the controller keeps it.

    No `segments` means the whole table, no `instance` every server.
    """

    id: str
    table: str
    submitted_ms: int | None = None
    segments: tuple[str, ...] = ()
    instance: str | None = None
    messages: int | None = None

    def touches(self, segments: Collection[str]) -> bool:
        """Whether it reloads one of these."""
        return any(segment in segments for segment in self.segments) if self.segments else bool(segments)

    def describe(self) -> str:
        """The job in words for a log: id, and what it reloads."""
        what = f"segments {', '.join(self.segments)}" if self.segments else "all segments"
        return f"reload job {self.id} ({what}{f' on {self.instance}' if self.instance else ''})"


@dataclass(frozen=True, slots=True)
class ReloadStatus:
    """How far a reload job is, summed over the servers. Counts are of segments on servers.

    `status` is Pinot's own word, since 1.5; `failed` is None where no server counts failures. `unanswered` is the
    number of servers that did not answer. `age_ms` is by the controller's clock.
    """

    status: str | None
    total: int | None
    succeeded: int | None
    failed: int | None = None
    unanswered: int = 0
    age_ms: int | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing is outstanding: by Pinot's word, else when every segment on every server was counted."""
        if self.status is not None:
            return self.status in _ENDED
        if self.total is None or self.succeeded is None:
            return False
        return self.unanswered == 0 and self.succeeded + (self.failed or 0) >= self.total
