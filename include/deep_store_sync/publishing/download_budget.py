"""What servers may be made to download because of one run: `maxServerDownloadBytes`, over all its batches.

The plan takes no more than that of what servers are expected to download. This is the bound itself, for what turns out
otherwise: before a segment is refreshed, or servers are made to take it, its bytes are added to a note of one's own in
the run's workspace, and the notes of all are summed up. Two that ask for the last of it at the same moment may both go
without, and never get more.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from uuid import uuid4

from deep_store_sync.planning.order import fits
from deep_store_sync.workspace import Workspace


@dataclass(slots=True)
class DownloadBudget:
    """The budget as one try of a batch sees it, `most` bytes, or None without a bound. Safe to use from threads.

    What an earlier try of the batch has counted stays counted: that may have been published, or may still be.
    """

    workspace: Workspace
    batch: str
    most: int | None
    _writer: str = field(init=False)
    _mine: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._writer = f"{self.batch}/{uuid4().hex}"

    def take(self, size: int) -> bool:
        """Count so many bytes, if there are as many left.

        Raises:
            DeepStoreError: the notes cannot be written or listed.
        """
        if self.most is None or not size:
            return True
        with self._lock:
            if not fits(size, self._others() + self._mine, self.most):
                return False
            wanted = self._mine + size
            self.workspace.note_downloads(self._writer, wanted)
            if not fits(size, self._others() + self._mine, self.most):
                self.workspace.forget_downloads(self._writer, wanted)
                return False
            if self._mine:
                self.workspace.forget_downloads(self._writer, self._mine)
            self._mine = wanted
            return True

    def _others(self) -> int:
        notes = self.workspace.downloads().items()
        return sum(max(counts) for writer, counts in notes if writer != self._writer)


def left_for_later(most: int) -> str:
    """The message of a segment that servers may not download in this run."""
    return (
        f"not published: servers may download no more for this run (maxServerDownloadBytes is {most}); "
        "a later one goes on"
    )
