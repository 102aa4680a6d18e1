"""The folder that a task works in. It goes when the work ends, and if the task is killed, when the next one starts.

A process that is killed removes nothing. So each folder holds a file that its owner keeps locked: the system lets go of
the lock when the owner dies, and whoever comes next can tell. On a disk that machines share, a lock may be unknown to
the others, so the file says whose it is, and another machine's folder is left to that machine.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deep_store_sync import clock

_PREFIX = "deep-store-sync-work-"
_LOCK = "lock"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# How long a folder may be without a lock: its owner locks it in the next moment, or removes it, or is dead.
_UNLOCKED_S = 3600.0


@contextmanager
def work_folder(parent: Path | None, log: logging.Logger) -> Iterator[Path]:
    """A folder of one's own, which goes with all that is in it, however the block ends.

    Args:
        parent: where the folder is made; None means the system's folder for temporary files. Folders there whose owners
            are dead are removed first.
        log: is told what was removed.
    """
    parent = parent or Path(tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent, log)
    # Under another name until it is locked, so that nobody takes it for a dead one's.
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=f".{_PREFIX}"))
    try:
        with (folder / _LOCK).open("w") as lock:
            lock.write("\n".join(_this_machine()))
            lock.flush()
            with suppress(OSError):  # no locks on this file system: then nobody can take the folder for a dead one's
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder = folder.rename(folder.with_name(folder.name.removeprefix(".")))
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path, log: logging.Logger) -> None:
    for folder in (*parent.glob(f"{_PREFIX}*"), *parent.glob(f".{_PREFIX}*")):
        # What others left here, or cannot be read, is for them to remove.
        with suppress(OSError):
            found = folder.lstat()
            if folder.is_symlink() or found.st_uid != os.getuid():
                continue
            unlocked = folder.name.startswith(".") or not (folder / _LOCK).exists()  # not yet, or half removed already
            if unlocked and clock.now().timestamp() - found.st_mtime < _UNLOCKED_S:
                continue
            with (folder / _LOCK).open("a+") as lock:
                lock.seek(0)
                owner = lock.read().splitlines()
                if owner and not _is_this_machine(owner):
                    continue
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                log.info("removed %s, which a task that was killed had left", folder)


def _this_machine() -> list[str]:
    return [socket.gethostname(), _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""]


def _is_this_machine(owner: list[str]) -> bool:
    """Whether a lock is this machine's, which may be called otherwise by now, as containers are, or started anew."""
    name, boot_id = _this_machine()
    return owner[0] == name or (boot_id != "" and boot_id in owner[1:])
