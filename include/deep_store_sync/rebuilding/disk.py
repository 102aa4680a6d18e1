"""The worker's disk: who may take how much of it, how much a folder holds, and whether it is full."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deep_store_sync.checkpoint import checkpoint
from deep_store_sync.errors import RebuildError
from deep_store_sync.spoken import spoken_bytes

# An archive is seldom smaller than a third of its segment. It is only guessed with until the segment is unpacked.
_USUAL_COMPRESSION = 3
_LOOK_EVERY_S = 0.1


class DiskBudget:
    """Bytes that the segments of a batch share."""

    def __init__(self, total_bytes: int) -> None:
        self._total = total_bytes
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def share(self) -> Iterator[DiskShare]:
        """One segment's part of the budget: nothing yet. It is given back at the end of the block."""
        share = DiskShare(self)
        try:
            yield share
        finally:
            self.take(-share.taken)

    def take(self, size: int, *, wait: bool = False) -> None:
        """Take `size` bytes; a negative size gives bytes back.

        With `wait`, this waits until they are free, or until nobody else has any.
        """
        with self._changed:
            while wait and self._taken and self._taken + size > self._total:
                self._changed.wait(_LOOK_EVERY_S)
                checkpoint()
            self._taken += size
            self._changed.notify_all()

    def refuse_above(self, size: int, what: str) -> None:
        """Raise RebuildError for what does not fit even if nothing else is on the disk."""
        if size > self._total:
            raise RebuildError(
                f"{what} take {spoken_bytes(size)} of disk at least, and a batch may take {spoken_bytes(self._total)}: "
                "raise engine.disk, or give engine.workdir a larger disk"
            )


class DiskShare:
    """What one segment has of the budget. `taken` is in bytes."""

    def __init__(self, budget: DiskBudget) -> None:
        self._budget = budget
        self.taken = 0

    def wait_for(self, archive_bytes: int) -> None:
        """Take what a segment may need, by the size of its archive, and wait until there is as much.

        Raises:
            RebuildError: it can never fit.
        """
        self._budget.refuse_above(2 * archive_bytes, "its archive and its files")
        guess = _need(archive_bytes, _USUAL_COMPRESSION * archive_bytes)
        self._budget.take(guess, wait=True)
        self.taken = guess

    def is_unpacked(self, archive_bytes: int, unpacked_bytes: int) -> None:
        """Take what it needs by the size of its files, without waiting: who waits and has some may wait for ever.

        Raises:
            RebuildError: it can never fit.
        """
        self._budget.refuse_above(archive_bytes + 2 * unpacked_bytes, "its archive, its files and the rebuilt ones")
        need = _need(archive_bytes, unpacked_bytes)
        self._budget.take(need - self.taken)
        self.taken = need


def _need(archive_bytes: int, unpacked_bytes: int) -> int:
    """The archive, and the segment's files four times over.

    That is the peak of a sort (the files, with columns written anew, in the new order, and put together). Without one
    there are the files, the rebuilt ones, and what was there before once more, to compare with.
    """
    return archive_bytes + 4 * unpacked_bytes


def used_bytes(folder: Path) -> int:
    """What a folder takes on disk. Files may come and go meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):  # passes over folders that are gone
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH118 - often
    return total


def no_space(folder: Path, error: Exception) -> str:
    """Words for an error whose cause is that the disk of `folder` is full."""
    return (
        f"no space left in {folder} ({error}): give engine.workdir a larger disk, or lower engine.disk or "
        "engine.parallelSegments, so that fewer segments are on it at once"
    )


def is_no_space(error: Exception) -> bool:
    """Whether an error says itself that a disk is full."""
    by_number = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return by_number or "No space left on device" in str(error) or "Disk quota exceeded" in str(error)
