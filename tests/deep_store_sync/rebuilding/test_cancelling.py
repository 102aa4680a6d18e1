"""A batch that is to end before its time: it does within seconds, and leaves no process and no file."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Collection

import psutil
import pytest
from tests.deep_store_sync.rebuilding import explosive
from tests.deep_store_sync.rebuilding.kit import LOG, Batch, FakeStore, engines_of, when_growing
from tests.polling import WAIT_S, until

from deep_store_sync.checkpoint import checkpoint
from deep_store_sync.errors import DeepStoreUnavailableError, ObjectNotFoundError, StoppedError
from deep_store_sync.model import Rebuilt
from deep_store_sync.rebuilding.rebuild import rebuild_batch
from deep_store_sync.workspace import Workspace


@pytest.fixture
def endless(explosive_batch: Batch) -> Batch:
    """A batch whose first segment takes for ever to rebuild."""
    explosive_batch.limit(max_growth=1e6)
    for name in ("large", "small 0", "small 1"):
        explosive_batch.add(name)
    return explosive_batch


def in_the_middle(batch: Batch) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A process that works on the batch, and the Java processes of it, one of which is at the endless segment."""
    process = batch.process(explosive.CONFIG, explosive.SCHEMA)
    until(lambda: any(batch.workdir.glob(explosive.GROWING)) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return process, engines_of(process.pid)


def test_a_task_that_airflow_terminates(endless: Batch) -> None:
    process, engines = in_the_middle(endless)
    assert len(engines) == 1
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=WAIT_S)
    assert said.splitlines()[-1].startswith("StoppedError: the task was cancelled: the batch was left before")
    assert list(endless.workdir.iterdir()) == []
    assert not any(engine.is_running() for engine in engines)


def test_a_task_that_airflow_kills_leaves_no_process_and_its_files_go_with_the_next_batch(
    endless: Batch, caplog: pytest.LogCaptureFixture
) -> None:
    process, engines = in_the_middle(endless)
    process.kill()
    process.communicate()
    psutil.wait_procs(engines, timeout=WAIT_S)
    assert not any(engine.is_running() for engine in engines)
    (left,) = endless.workdir.iterdir()
    assert any(left.glob(explosive.GROWING))

    caplog.set_level(logging.INFO)
    endless.planned = [row for row in endless.planned if row.segment == "small 0"]
    (result,) = endless.run(explosive.CONFIG, explosive.SCHEMA)  # which finds the folder empty in the end
    assert result.status is Rebuilt.CHANGED
    assert f"removed {left}" in caplog.text


def test_the_files_of_a_live_batch_are_left(endless: Batch) -> None:
    process, engines = in_the_middle(endless)
    (live,) = endless.workdir.iterdir()
    url = endless.write_plan(explosive.CONFIG, explosive.SCHEMA)
    with pytest.raises(StoppedError, match="enough"):
        rebuild_batch(endless.services, url, "b1", log=LOG, should_stop=lambda: "enough")
    assert list(endless.workdir.iterdir()) == [live]
    assert any(live.glob(explosive.GROWING))
    assert process.poll() is None
    assert all(engine.is_running() for engine in engines)
    process.terminate()
    process.communicate(timeout=WAIT_S)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_interrupts_the_main_thread(endless: Batch, error: type[BaseException]) -> None:
    def should_stop() -> None:
        if any(endless.workdir.glob(explosive.GROWING)):
            raise error

    with pytest.raises(error):
        endless.run(explosive.CONFIG, explosive.SCHEMA, should_stop=should_stop)
    assert engines_of(os.getpid()) == []


class TimedOutError(BaseException):
    """As Airflow's own, no Exception: nobody catches it by accident."""


def test_a_task_that_takes_too_long(endless: Batch) -> None:
    """Airflow has SIGALRM raise in the main thread once taskTimeout is over, wherever that is then."""

    def time_out(*_: object) -> None:
        raise TimedOutError

    before = signal.signal(signal.SIGALRM, time_out)
    try:
        with (
            when_growing(endless.workdir, lambda: os.kill(os.getpid(), signal.SIGALRM)),
            pytest.raises(TimedOutError),
        ):
            endless.run(explosive.CONFIG, explosive.SCHEMA)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert engines_of(os.getpid()) == []
    assert list(endless.workdir.iterdir()) == []


def test_the_reason_is_told_and_no_results_are_left(endless: Batch) -> None:
    reasons: list[str] = []
    with (
        when_growing(endless.workdir, lambda: reasons.append("disks are full")),
        pytest.raises(StoppedError, match=r"^disks are full: the batch was left before"),
    ):
        endless.run(explosive.CONFIG, explosive.SCHEMA, should_stop=lambda: reasons[0] if reasons else None)
    assert engines_of(os.getpid()) == []
    workspace = Workspace.of_plan(endless.store, endless.write_plan())
    with pytest.raises(ObjectNotFoundError):
        endless.store.head(workspace.result_url("rebuilt", "b1"))


@pytest.fixture
def slow(batch: Batch, fake_store: FakeStore) -> FakeStore:
    for number in range(4):
        batch.add(f"s {number}")
    return fake_store


def ours_since(others: Collection[threading.Thread]) -> list[threading.Thread]:
    """Threads of the product that there were not before."""
    return [
        thread for thread in threading.enumerate() if thread.name.startswith("deep-store-sync") and thread not in others
    ]


@pytest.mark.parametrize("step", ["after_head", "on_stage"])
def test_downloads_and_uploads_stop_at_their_next_chunk(
    batch: Batch, slow: FakeStore, step: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A fake transfer that never ends stands for one that takes long: `test_checkpoint` has the real ones."""
    caplog.set_level(logging.INFO)
    begun = threading.Event()

    def endless_transfer(_: str) -> None:
        begun.set()
        try:
            while True:
                checkpoint()
                time.sleep(0.01)
        except StoppedError:
            raise DeepStoreUnavailableError("no usable answer") from None  # as the HTTP client puts it

    setattr(slow, step, endless_transfer)
    others = threading.enumerate()
    with pytest.raises(StoppedError, match="enough"):
        batch.run(should_stop=lambda: "enough" if begun.is_set() else None)
    assert "no usable answer" not in caplog.text
    assert not ours_since(others)


def test_a_network_that_gives_no_answer_holds_nobody_up(batch: Batch, fake_store: FakeStore) -> None:
    begun, over = threading.Event(), threading.Event()

    def stuck(_: str) -> None:
        begun.set()
        over.wait(WAIT_S)

    fake_store.after_head = stuck
    batch.add("s 0")
    batch.add("s 1")
    others = threading.enumerate()
    with pytest.raises(StoppedError, match="enough"):
        batch.run(should_stop=lambda: "enough" if begun.is_set() else None)
    assert not over.is_set()
    over.set()
    until(lambda: not ours_since(others))
    assert list(batch.workdir.iterdir()) == []  # nor does whoever was stuck leave anything afterwards
