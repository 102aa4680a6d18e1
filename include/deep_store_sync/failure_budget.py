"""The failure budget of a run: after so many failures, the rest of the table is left as it is.

What fails one segment after the other is seldom the segments' fault: a config that Pinot cannot build, a disk that is
full, servers that load nothing. Batches work side by side in tasks that know nothing of one another, so each leaves a
note of every segment that failed in the run's workspace, and counts the notes before it begins another one. A batch
that ends with an error as a whole (no Java, no jars, a controller that is away) leaves notes of all its segments. One
whose process is killed leaves none: notes that it left before would count while it is at work, too, and end runs whose
workers are only moved to other machines.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from deep_store_sync.errors import DeepStoreSyncError, StoppedError
from deep_store_sync.model import Plan
from deep_store_sync.services import Services
from deep_store_sync.workspace import Workspace

SHARE_COUNTS_FROM = 5
"""Failures below which the share does not count: of a run over three segments, one failure is a third."""

KEPT_S = 5.0
"""How long the notes of others are not listed again: a batch of small segments would do little else."""


def used_up(failed: int, planned: int, *, max_failures: int | None, max_failed_share: float) -> str | None:
    """Why no other segment may be begun after so many failures in a run that is to work on `planned` segments, or None.

    `max_failed_share` is a number from 0 to 1.
    """
    if max_failures is not None and failed >= max_failures:
        return f"{failed} segments of this run have failed, and maxFailures is {max_failures}"
    if failed >= SHARE_COUNTS_FROM and failed > max_failed_share * planned:
        return f"{failed} of {planned} segments of this run have failed, and maxFailedShare is {max_failed_share:g}"
    return None


class FailureBudget:
    """Counts the failures of a run over all its batches. Safe to use from several threads."""

    def __init__(
        self,
        services: Services,
        workspace: Workspace,
        plan: Plan,
        log: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = services.settings
        self._workspace = workspace
        self._log = log
        self._planned = plan.work or 0
        self._clock = clock
        self._lock = threading.Lock()
        self._own: set[str] = set()
        self._noted: set[str] = set()
        self._listed: float | None = None

    def used_up(self, *, apart_from: Collection[str] = ()) -> str | None:
        """Why the rest is to be left alone now, or None.

        What was recorded here counts at once, what other batches record after `KEPT_S` at most. Segments that are about
        to be tried again, `apart_from`, do not count.

        Raises:
            DeepStoreError: the notes cannot be listed.
        """
        with self._lock:
            if self._listed is None or self._clock() >= self._listed + KEPT_S:
                self._noted, self._listed = self._workspace.failures(), self._clock()
            failed = len((self._noted | self._own).difference(apart_from))
        return used_up(
            failed,
            self._planned,
            max_failures=self._settings.max_failures,
            max_failed_share=self._settings.max_failed_share,
        )

    def record(self, segments: Collection[str]) -> None:
        """Count these segments as failed, each once.

        A note that cannot be written is missing in the count of other batches, and no more than that.
        """
        with self._lock:
            self._own.update(segments)
        try:
            for segment in segments:
                self._workspace.note_failure(segment)
        except DeepStoreSyncError as error:
            self._log.warning("failures that the failure budget does not count: %s", error)

    @contextmanager
    def counting(self, segments: Callable[[], Collection[str]], *, last_try: bool) -> Iterator[None]:
        """Count what `segments` gives as failed, when what is done inside ends with an error.

        An error that may pass counts at the last try only: a batch that is tried again must not end the run before
        that. The kill switch is no failure.
        """
        try:
            yield
        except StoppedError:
            raise
        except Exception as error:
            if last_try or (isinstance(error, DeepStoreSyncError) and not error.transient):
                self.record(segments())
            raise

    def forget(self, segments: Collection[str]) -> None:
        """Count these segments no more: they are tried again.

        Raises:
            DeepStoreError: the notes cannot be listed or removed.
        """
        for segment in self._workspace.failures() & set(segments):
            self._workspace.forget_failure(segment)
        with self._lock:
            self._own.difference_update(segments)
            self._noted.difference_update(segments)


def left_alone(reason: str) -> str:
    """The message of a segment that was not begun for this reason."""
    return f"left as it is: {reason}. Mend what failed; the next run takes it up again"
