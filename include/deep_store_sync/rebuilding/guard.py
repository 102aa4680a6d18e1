"""A segment's rebuild, watched while it is under way: how large it grows, how long it takes, how full the disk gets."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

from deep_store_sync.checkpoint import checkpoints
from deep_store_sync.errors import RebuildError
from deep_store_sync.rebuilding.disk import no_space
from deep_store_sync.rebuilding.limits import Limits
from deep_store_sync.spoken import spoken_bytes

_LOOK_EVERY_S = 0.25
# So that small segments, whose every index is large beside them, are not stopped.
_SLACK = 16 << 20
# With less than this left, an error is put down to the disk. Pinot names the cause only in its log, removes what it
# could not finish, and so has room again by the time that it says that something went wrong.
_NEARLY_FULL = 64 << 20


@contextmanager
def guarded(folder: Path, segment_dir: Path, limits: Limits, on_timeout: Callable[[], None]) -> Iterator[None]:
    """Stop what is done inside the block at its next checkpoint when it grows too large or takes too long.

    Args:
        folder: all that the segment has on disk. Copies of it do not add up: what counts is the largest.
        segment_dir: its unpacked files, somewhere in `folder`.
        limits: how large, and how long.
        on_timeout: called before it is stopped for its time.

    Raises:
        RebuildError: it did, or it failed for want of disk. What has grown is looked at once more at the end.
    """
    guard = _Guard(folder, segment_dir, limits, on_timeout)
    try:
        with checkpoints(guard.check):
            yield
        guard.check_size()
    except RebuildError as error:
        if guard.least_free < _NEARLY_FULL:
            raise RebuildError(no_space(folder.parent, error)) from error
        raise


class _Guard:
    def __init__(self, folder: Path, segment_dir: Path, limits: Limits, on_timeout: Callable[[], None]) -> None:
        self._folder = folder
        self._name = segment_dir.name
        self._limits = limits
        self._on_timeout = on_timeout
        self._files = _sizes(segment_dir)
        self._original = sum(self._files.values())
        self._most = self._original * limits.max_growth + _SLACK
        self._started = self._next = monotonic()
        self.least_free = shutil.disk_usage(folder).free

    def check(self) -> None:
        now = monotonic()
        if now < self._next:
            return
        self._next = now + _LOOK_EVERY_S
        self.least_free = min(self.least_free, shutil.disk_usage(self._folder).free)
        self.check_size()
        if now - self._started > self._limits.segment_timeout_s:
            self._on_timeout()
            raise RebuildError(
                f"rebuilding took longer than {self._limits.segment_timeout_s:g} s and was stopped; what Java was "
                "doing, if anything, is in this log. Raise engine.segmentTimeout if the segment is only large"
            )

    def check_size(self) -> None:
        copies = self._copies()
        largest = max(copies, key=lambda copy: sum(copies[copy].values()), default=self._folder)
        size = sum(copies[largest].values())
        if size > self._most:
            raise RebuildError(
                f"it grew from {spoken_bytes(self._original)} to {spoken_bytes(size)} while it was rebuilt "
                f"({self._what_grew(largest, copies[largest])}), and was stopped. A star-tree over columns with many "
                f"values does that most often: change the config, or raise engine.maxGrowth, which is "
                f"{self._limits.max_growth:g}"
            )

    def _copies(self) -> dict[Path, dict[Path, int]]:
        """The sizes of files by the folders that hold them: the segment's own or a copy of it, or what is on its way.

        While a column is written anew, and the rows are sorted, there are several.
        """
        copies: dict[Path, dict[Path, int]] = defaultdict(dict)
        for path, size in _sizes(self._folder).items():
            parts = path.parent.parts
            if parts:  # the archive is in no folder
                depth = parts.index(self._name) + 1 if self._name in parts else len(parts)
                copy = Path(*parts[:depth])
                copies[copy][path.relative_to(copy)] = size
        return copies

    def _what_grew(self, copy: Path, files: dict[Path, int]) -> str:
        gains = {path: size - self._files.get(path, 0) for path, size in files.items()}
        most = sorted(gains.items(), key=lambda gain: -gain[1])[:3]
        return ", ".join(f"{copy / path} by {spoken_bytes(gain)}" for path, gain in most if gain > 0)


def _sizes(folder: Path) -> dict[Path, int]:
    """What the files in a folder take on disk. They may come and go meanwhile."""
    sizes = {}
    for parent, _, names in os.walk(folder):  # passes over folders that are gone
        for name in names:
            path = Path(parent, name)
            with suppress(OSError):
                sizes[path.relative_to(folder)] = path.lstat().st_blocks * 512
    return sizes
