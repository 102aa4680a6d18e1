from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deep_store_sync.workdir import work_folder

LOG = logging.getLogger("tests.workdir")

OWNER = """
import logging, sys
from pathlib import Path
from deep_store_sync.workdir import work_folder
with work_folder(Path(sys.argv[1]), logging.getLogger()) as folder:
    (folder / "segment").mkdir()
    (folder / "segment" / "columns.psf").write_bytes(b"x")
    print(folder, flush=True)
    sys.stdin.readline()
"""


@contextmanager
def owner(parent: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that works in a folder of its own."""
    command = [sys.executable, "-c", OWNER, str(parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_it_goes_with_what_is_in_it(tmp_path: Path) -> None:
    with work_folder(tmp_path / "new", LOG) as folder:
        assert folder.parent == tmp_path / "new"
        (folder / "a").mkdir()
        (folder / "a" / "b").write_text("c")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_it_goes_however_the_block_ends(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), work_folder(tmp_path, LOG) as folder:
        raise error((folder / "a").write_text("b"))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with owner(tmp_path) as (process, left):
        process.kill()
        process.wait()
        assert (left / "segment" / "columns.psf").exists()
        with work_folder(tmp_path, LOG) as folder:
            assert list(tmp_path.iterdir()) == [folder]
    assert f"removed {left}, which a task that was killed had left" in caplog.text


def test_what_a_live_process_works_in_is_left(tmp_path: Path) -> None:
    with owner(tmp_path) as (process, live):
        with work_folder(tmp_path, LOG) as folder:
            assert set(tmp_path.iterdir()) == {folder, live}
        assert (live / "segment" / "columns.psf").exists()
        assert process.poll() is None


def test_what_is_not_ours_is_left(tmp_path: Path) -> None:
    (tmp_path / "deep-store-sync-work-of-somebody-else").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lock").touch()
    (tmp_path / "deep-store-sync-work-link").symlink_to(elsewhere)
    with work_folder(tmp_path, LOG):
        pass
    assert (tmp_path / "deep-store-sync-work-of-somebody-else").is_dir()
    assert (elsewhere / "lock").exists()


@pytest.mark.parametrize(
    ("owner", "goes"),
    [
        (f"{socket.gethostname()}\nan earlier start", True),
        (f"another container\n{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}", True),
        ("another machine\nanother start", False),
        ("another machine\n", False),
        ("", True),
    ],
)
def test_another_machines_folder_is_left_on_a_shared_disk(tmp_path: Path, owner: str, goes: bool) -> None:
    left = tmp_path / "deep-store-sync-work-x"
    left.mkdir()
    (left / "lock").write_text(owner)
    with work_folder(tmp_path, LOG):
        assert left.exists() is not goes


def test_the_lock_says_whose_it_is(tmp_path: Path) -> None:
    with work_folder(tmp_path, LOG) as folder:
        assert (folder / "lock").read_text().splitlines()[0] == socket.gethostname()


@pytest.mark.parametrize("has_lock", [True, False])
@pytest.mark.parametrize("age_s", [0, 7200])
def test_a_folder_whose_owner_died_before_it_had_its_name_goes_in_time(
    tmp_path: Path, has_lock: bool, age_s: int
) -> None:
    left = tmp_path / ".deep-store-sync-work-x"
    left.mkdir()
    if has_lock:
        (left / "lock").touch()
    os.utime(left, (time.time() - age_s,) * 2)
    with work_folder(tmp_path, LOG):
        assert left.exists() is (age_s == 0)


@pytest.mark.parametrize("age_s", [0, 7200])
def test_a_folder_whose_owner_died_while_it_was_removed_goes_in_time(tmp_path: Path, age_s: int) -> None:
    """The lock may be the first to go."""
    left = tmp_path / "deep-store-sync-work-x"
    (left / "segment").mkdir(parents=True)
    os.utime(left, (time.time() - age_s,) * 2)
    with work_folder(tmp_path, LOG):
        assert left.exists() is (age_s == 0)
