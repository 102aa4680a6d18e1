"""How far a whole run is: batches, segments, bytes, rate, and the time that is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from deep_store_sync.model import PlannedSegment
from deep_store_sync.plan import Batch
from deep_store_sync.spoken import spoken_bytes, spoken_seconds

# Before so much of the work is done, what it took says little of the rest.
_ENOUGH = 0.02


class RunProgress:
    """Is told what is done, by any thread, and tells `show` the share of the work that is, from 0 to 1, in words too.

    The work is the bytes of the plan's objects, to be rebuilt and to be published: half of it is done when all of them
    are rebuilt.
    """

    def __init__(
        self,
        show: Callable[[float, str], None] = lambda share, words: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._show = show
        self._clock = clock
        self._lock = threading.Lock()
        self._batches: Sequence[Batch] = ()
        self._started = clock()
        self._number = 0
        self._doing = ""
        self._segments = {"rebuilt": 0, "published": 0}
        self._bytes = {"rebuilt": 0, "published": 0}

    def note(self, words: str) -> None:
        """Say what is being done before there is a plan."""
        self._show(0.0, words)

    def planned(self, batches: Sequence[Batch]) -> None:
        """The work is known, and begins now."""
        self._batches, self._started = batches, self._clock()

    def begins(self, number: int, doing: str) -> None:
        """The batch with this number, from 1, is now being rebuilt, or published."""
        with self._lock:
            self._number, self._doing = number, doing
            self._tell()

    def rebuilt(self, row: PlannedSegment) -> None:
        """A segment is rebuilt, or will not be."""
        self._count("rebuilt", row.size_bytes)

    def published(self, row: PlannedSegment) -> None:
        """A segment has come to its end."""
        self._count("published", row.size_bytes)

    def _count(self, what: str, size_bytes: int) -> None:
        with self._lock:
            self._segments[what] += 1
            self._bytes[what] += size_bytes
            self._tell()

    def _tell(self) -> None:
        self._show(self.share, self.words())

    @property
    def share(self) -> float:
        """How much of the work is done, from 0 to 1."""
        segments, size = sum(batch.segments for batch in self._batches), sum(batch.bytes for batch in self._batches)
        # By number where ZooKeeper knows no sizes.
        done, total = (sum(self._bytes.values()), size) if size else (sum(self._segments.values()), segments)
        return min(1.0, done / (2 * total)) if total else 0.0

    def words(self) -> str:
        """The same for people."""
        segments, size = sum(batch.segments for batch in self._batches), sum(batch.bytes for batch in self._batches)
        elapsed, share = self._clock() - self._started, self.share
        done = self._bytes["rebuilt"]
        parts = [
            f"batch {self._number} of {len(self._batches)} {self._doing}",
            f"{self._segments['rebuilt']:,} of {segments:,} segments rebuilt, {self._segments['published']:,} done",
            f"{spoken_bytes(done)} of {spoken_bytes(size)}",
        ]
        if share >= _ENOUGH and elapsed > 0:
            parts.append(f"{spoken_bytes(round(done / elapsed))}/s")
            if share < 1:
                parts.append(f"about {spoken_seconds(elapsed / share * (1 - share))} left")
        return ", ".join(parts)
