"""What servers may be made to download because of one run: `maxServerDownloadBytes`, over all its batches.

The plan takes no more than that of what servers are expected to download. This is the bound itself, for what turns out
otherwise: before a segment is refreshed, or servers are made to take it, its bytes are added to a note of the batch in
the run's workspace, and the notes of all batches are summed up. Two batches that ask for the last of it at the same
moment may both go without, and never get more.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from deep_store_sync.planning.order import fits
from deep_store_sync.workspace import Workspace


@dataclass(slots=True)
class DownloadBudget:
    """The budget as one batch sees it, `most` bytes, or None where there is no bound. Safe to use from threads.

    A batch that is tried again counts what its first try had counted: that may have been published.
    """

    workspace: Workspace
    batch: str
    most: int | None
    _mine: int | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, size: int) -> bool:
        """Count so many bytes, if there are as many left.

        Raises:
            DeepStoreError: the notes cannot be written or listed.
        """
        if self.most is None or not size:
            return True
        with self._lock:
            notes = self.workspace.downloads()
            if self._mine is None:
                self._mine = max(notes.get(self.batch, ()), default=0)
            others = _total(counts for batch, counts in notes.items() if batch != self.batch)
            if not fits(size, others + self._mine, self.most):
                return False
            wanted = self._mine + size
            self.workspace.note_downloads(self.batch, wanted)
            others = _total(counts for batch, counts in self.workspace.downloads().items() if batch != self.batch)
            if not fits(size, others + self._mine, self.most):
                self.workspace.forget_downloads(self.batch, wanted)
                return False
            if self._mine:
                self.workspace.forget_downloads(self.batch, self._mine)
            self._mine = wanted
            return True


def _total(batches: Iterable[Iterable[int]]) -> int:
    return sum(max(counts, default=0) for counts in batches)


def left_for_later(most: int) -> str:
    """The message of a segment that servers may not download in this run."""
    return (
        f"not published: servers may download no more for this run (maxServerDownloadBytes is {most}); "
        "a later one goes on"
    )
