"""Threads of the page's own for what asks a store: one that is slow or silent takes none of the API server's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from botocore.config import Config
from fastapi import HTTPException

Value = TypeVar("Value")

LIMITS = Config(connect_timeout=3, read_timeout=8, retries={"mode": "standard", "total_max_attempts": 2})
"""How long a store may be silent to somebody who waits before a page: shorter than tasks wait, and than `_WAIT_S`."""

_THREADS = 4
_WAIT_S = 20.0
_RETRY_S = 5


class StoreThreads(Generic[Value]):
    """So many pieces of work at once, and of those of one key only one, whoever waits for it."""

    def __init__(self, threads: int = _THREADS, *, wait_s: float = _WAIT_S) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="deep-store-sync-page")
        self._at_work: dict[Hashable, Future[Value]] = {}
        self._wait_s = wait_s

    async def run(self, key: Hashable, work: Callable[[], Value]) -> Value:
        """What the work returns, or raises. The event loop goes on meanwhile.

        Work that has begun goes on when nobody waits for it any more: who asks again, finds it further.

        Raises:
            HTTPException: 503 with `Retry-After`, if it has not ended in time.
        """
        future = self._at_work.get(key)
        if future is None:
            future = self._at_work[key] = self._pool.submit(work)
            future.add_done_callback(lambda _: self._at_work.pop(key, None))
        waiting = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait([waiting], timeout=self._wait_s)
            begun = future.running()
        finally:
            waiting.cancel()  # with it the work, if no thread has begun it
        if done and not waiting.cancelled():
            return waiting.result()
        raise HTTPException(503, self._why(begun=begun), headers={"Retry-After": str(_RETRY_S)})

    def _why(self, *, begun: bool) -> str:
        if begun:
            return (
                f"The workspace is still being read, after {self._wait_s:.0f} s: its store answers slowly, or the "
                "table is very large. Look at the store's health if it stays like this"
            )
        return (
            "The stores of other tables answer slowly, and take all that this page may have of the API server. Look "
            "at the health of these stores if it stays like this"
        )
