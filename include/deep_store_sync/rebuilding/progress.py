"""How far a batch is, as lines of its log."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from deep_store_sync.model import PlannedSegment, RebuildResult, Rebuilt
from deep_store_sync.spoken import spoken_bytes, spoken_pace


class Progress:
    """A line for each segment that is done, in the order in which they get done, and a call of `done`."""

    def __init__(
        self, segments: Sequence[PlannedSegment], log: logging.Logger, done: Callable[[PlannedSegment], None]
    ) -> None:
        self._log = log
        self._tell = done
        self._lock = threading.Lock()
        self._count = 0
        self._total_count = len(segments)
        self._done_bytes = 0
        self._began = time.monotonic()
        self._total_bytes = sum(segment.size_bytes for segment in segments)

    def done(self, planned: PlannedSegment, result: RebuildResult) -> None:
        """Write the line of a segment."""
        what = ", ".join(filter(None, [str(result.status), result.message, "; ".join(result.changes)]))
        sizes = spoken_bytes(result.object_bytes)
        if result.staged_bytes:
            sizes += f" → {spoken_bytes(result.staged_bytes)}"
        with self._lock:
            self._count += 1
            self._done_bytes += planned.size_bytes
            self._log.log(
                logging.WARNING if result.status is Rebuilt.FAILED else logging.INFO,
                "%s",
                f"{self._count}/{self._total_count} {result.segment}: {what} ({sizes}; download "
                f"{result.download_s:.1f} s, rebuild {result.rebuild_s:.1f} s, verify {result.verify_s:.1f} s, stage "
                f"{result.stage_s:.1f} s); "
                + spoken_pace(self._done_bytes, self._total_bytes, time.monotonic() - self._began),
            )
        self._tell(planned)
