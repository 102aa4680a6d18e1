"""What the page takes of the API server while stores are slow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from fastapi import HTTPException

from deep_store_sync_airflow.page.store_threads import _THREADS, _WAIT_S, LIMITS, StoreThreads


class SlowWork:
    """Work that lasts until it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.is_begun, self.go = Event(), Event()

    def __call__(self) -> int:
        self.begun += 1
        self.is_begun.set()
        assert self.go.wait(60)
        return self.begun


@pytest.fixture
def slow() -> Iterator[SlowWork]:
    work = SlowWork()
    yield work
    work.go.set()


async def begun(threads: StoreThreads[int], key: str, work: SlowWork) -> asyncio.Future[int]:
    """Somebody waits for work that has a thread; who comes after does so for a moment only."""
    waiting = asyncio.ensure_future(threads.run(key, work))
    await asyncio.to_thread(work.is_begun.wait, 60)
    threads._wait_s = 0.05
    return waiting


async def refused(threads: StoreThreads[int], key: str, work: SlowWork) -> HTTPException:
    with pytest.raises(HTTPException) as found:
        await threads.run(key, work)
    assert found.value.status_code == 503
    assert found.value.headers == {"Retry-After": "5"}
    return found.value


def test_of_one_key_the_work_is_done_once_for_all_who_wait(slow: SlowWork) -> None:
    async def all_of() -> list[int]:
        threads = StoreThreads[int](4)
        waiting = [asyncio.ensure_future(threads.run("a", slow)) for _ in range(5)]
        assert await threads.run("b", lambda: 7) == 7
        assert not any(one.done() for one in waiting)
        slow.go.set()
        found = await asyncio.gather(*waiting)
        assert await threads.run("a", slow) == 2
        return found

    assert asyncio.run(all_of()) == [1] * 5


def test_who_waits_too_long_is_told_and_the_work_goes_on(slow: SlowWork) -> None:
    async def twice() -> int:
        threads = StoreThreads[int](1)
        first = await begun(threads, "a", slow)
        assert "still being read" in (await refused(threads, "a", slow)).detail
        assert "still being read" in (await refused(threads, "a", slow)).detail
        slow.go.set()
        return await first

    assert asyncio.run(twice()) == 1


def test_work_that_finds_no_thread_in_time_is_not_done(slow: SlowWork) -> None:
    other = SlowWork()

    async def both() -> None:
        threads = StoreThreads[int](1)
        first = await begun(threads, "a", slow)
        told = await asyncio.gather(*(refused(threads, "b", other) for _ in range(3)))
        assert all("other tables" in one.detail for one in told)
        slow.go.set()
        threads._wait_s = 60
        assert await first == 1
        assert await threads.run("c", lambda: 3) == 3
        assert other.begun == 0
        other.go.set()
        assert await threads.run("b", other) == 1

    asyncio.run(both())


def test_an_error_reaches_everybody_who_waits(slow: SlowWork) -> None:
    def fails() -> int:
        slow()
        raise KeyError("a fault")

    async def both() -> None:
        threads = StoreThreads[int](1)
        waiting = [asyncio.ensure_future(threads.run("a", fails)) for _ in range(2)]
        await asyncio.sleep(0)
        slow.go.set()
        assert [type(error) for error in await asyncio.gather(*waiting, return_exceptions=True)] == [KeyError] * 2

    asyncio.run(both())


def test_a_silent_store_is_given_up_before_who_waits_for_it_is_sent_away() -> None:
    limits: Any = LIMITS
    assert (_THREADS, _WAIT_S, limits.read_timeout) == (4, 20, 8)  # as docs/page.md says
    tries = limits.retries["total_max_attempts"]
    assert tries * max(limits.connect_timeout, limits.read_timeout) + tries < _WAIT_S
