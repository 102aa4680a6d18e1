"""How fast pushes follow one another.

Where each push has all servers size all segments (`pinot.storage_quota`), pushes go one at a time, and after each comes
a pause as long as it took: of what controller and servers can do in this way, one task takes half at most.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

LONGEST_PAUSE_S = 60.0


@dataclass(slots=True)
class PushPace:
    """The pace of one task, over all of its threads."""

    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _slow: bool | None = None

    def know(self, quota: Callable[[], str | None]) -> None:
        """Have `quota` tell the table's storage quota, if it has not been asked yet. What it raises is raised."""
        if self._slow is not None:  # and a push under way keeps nobody from that
            return
        with self._lock:
            if self._slow is None:
                self._slow = quota() is not None

    @contextmanager
    def pushing(self) -> Iterator[None]:
        """A push happens inside of this, once the quota is known."""
        with self._lock:
            if self._slow:
                start = self.clock()
                try:
                    yield
                finally:
                    self.sleep(min(self.clock() - start, LONGEST_PAUSE_S))
                return
        yield
