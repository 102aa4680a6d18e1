from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from deep_store_sync.checkpoint import checkpoints
from deep_store_sync.errors import RebuildError, StoppedError
from deep_store_sync.rebuilding.disk import DiskBudget, is_no_space, no_space, used_bytes


def test_what_does_not_fit_waits_for_others() -> None:
    budget = DiskBudget(100)
    got_it = threading.Event()

    def second() -> None:
        with budget.share() as share:
            share.wait_for(6)
            got_it.set()

    with budget.share() as share:
        share.wait_for(7)
        assert share.taken == 91  # an archive of 7, and four times 21
        thread = threading.Thread(target=second)
        thread.start()
        share.is_unpacked(7, 19)
        assert share.taken == 83
        assert not got_it.wait(0.05)
        share.is_unpacked(7, 3)
        assert got_it.wait(10)
    thread.join()


def test_what_fits_does_not_wait_for_what_does_not() -> None:
    budget = DiskBudget(100)
    with budget.share() as first, budget.share() as second:
        first.wait_for(3)
        second.wait_for(3)
        assert first.taken == second.taken == 39


def test_whoever_is_alone_need_not_wait_for_what_is_only_guessed() -> None:
    with DiskBudget(100).share() as share:
        share.wait_for(30)  # three times as much as there is, if it is as compressed as others
        share.is_unpacked(30, 35)


def test_what_can_never_fit_is_refused() -> None:
    with DiskBudget(100).share() as share:
        with pytest.raises(RebuildError, match=r"take 102 B of disk at least, and a batch may take 100 B: raise"):
            share.wait_for(51)
        share.wait_for(30)
        with pytest.raises(RebuildError, match="its archive, its files and the rebuilt ones take 102 B"):
            share.is_unpacked(30, 36)


def test_waiting_can_be_stopped() -> None:
    def stop() -> None:
        raise StoppedError("stop")

    budget = DiskBudget(100)
    with budget.share() as share:
        share.wait_for(9)
        with checkpoints(stop), pytest.raises(StoppedError), budget.share() as waiting:
            waiting.wait_for(9)
    with budget.share() as share:
        share.wait_for(9)  # all has been given back


def test_used_bytes_are_those_on_disk(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "full").write_bytes(bytes(range(256)) * 4096)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    assert 1 << 20 <= used_bytes(tmp_path) < 2 << 20
    assert used_bytes(tmp_path / "gone") == 0


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (RebuildError("IOException: No space left on device"), True),
        (OSError(errno.EIO, "Input/output error"), False),
        (RebuildError("IOException: Broken pipe"), False),
    ],
)
def test_an_error_that_says_that_the_disk_is_full(error: Exception, full: bool) -> None:
    assert is_no_space(error) is full


def test_a_full_disk_is_named_with_the_remedy(tmp_path: Path) -> None:
    words = no_space(tmp_path, RebuildError("IOException"))
    assert words.startswith(f"no space left in {tmp_path} (IOException): give engine.workdir a larger disk")
