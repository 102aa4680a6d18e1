"""What is known of each segment: which version was pushed last, and what is under way. Writers and checker share it.

The order counts: a writer notes the beginning before it does anything and the end after all of it is done, and the
checker looks before and after it looks at the cluster. What the two looks allow is then never too little.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Known:
    """A segment at one moment.

    `pushed` is the newest version whose push has ended, `begun` the newest whose push has begun. `pushing` and
    `deleted` say that a push, or a deletion up to the moment when servers have the segment again, is under way.
    `changes` counts beginnings and ends.
    """

    pushed: int = 0
    begun: int = 0
    pushing: bool = False
    deleted: bool = False
    changes: int = 0


@dataclass(frozen=True, slots=True)
class Between:
    """What may be seen of a segment between two looks at the ledger."""

    oldest: int
    newest: int
    pushing: bool
    """At some time a push was under way: object and ZooKeeper need not fit."""
    deleted: bool
    """At some time it may not have been there."""

    @classmethod
    def looks(cls, before: Known, after: Known) -> Between:
        moved = before.changes != after.changes
        return cls(
            before.pushed,
            after.begun,
            before.pushing or after.pushing or moved,
            before.deleted or after.deleted or moved,
        )


class Ledger:
    """Safe to use from all threads. Who pushes or deletes a segment holds `of` it: Pinot leaves that to users, too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Known] = {}
        self._owners: dict[str, threading.Lock] = {}
        self._disturbances = 0
        self._disturbed = 0
        self.servers = threading.Lock()
        """Held by who stops a server or deletes a segment. Both at once end with a segment in ERROR in Pinot itself."""

    def of(self, segment: str) -> threading.Lock:
        with self._lock:
            return self._owners.setdefault(segment, threading.Lock())

    def look(self, segment: str) -> Known:
        with self._lock:
            return self._known.get(segment, Known())

    @contextmanager
    def push(self, segment: str, *, again: bool = False) -> Iterator[int]:
        """A push, of the next version or of the last one `again`. Only one that has ended well counts as pushed."""
        with self._lock:
            known = self._known.get(segment, Known())
            version = known.pushed if again else known.begun + 1
            self._change(segment, begun=max(known.begun, version), pushing=True)
        yield version
        with self._lock:
            self._change(segment, pushed=version, pushing=False)

    @contextmanager
    def deletion(self, segment: str) -> Iterator[None]:
        with self._lock:
            self._change(segment, deleted=True)
        yield
        with self._lock:
            self._change(segment, deleted=False)

    @contextmanager
    def disturbance(self) -> Iterator[None]:
        """Something that may make queries fail: a server that comes or goes, a segment that is not there."""
        with self._lock:
            self._disturbances += 1
            self._disturbed += 1
        try:
            yield
        finally:
            with self._lock:
                self._disturbances += 1
                self._disturbed -= 1

    def disturbances(self) -> tuple[int, bool]:
        """How many beginnings and ends there were, and whether one is under way."""
        with self._lock:
            return self._disturbances, self._disturbed > 0

    def _change(self, segment: str, **changes: int | bool) -> None:
        known = self._known.get(segment, Known())
        self._known[segment] = replace(known, changes=known.changes + 1, **changes)  # type: ignore[arg-type]
