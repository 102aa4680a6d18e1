from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from deep_store_sync.system_trouble import is_wrong_path, system_trouble


@pytest.mark.parametrize(
    ("number", "wrong_path", "remedy"),
    [
        (errno.ENOSPC, False, "free some space there"),
        (errno.EDQUOT, False, "engine.workdir"),
        (errno.EACCES, True, "let this user read and write there"),
        (errno.EROFS, True, "name a place that can be written to"),
        (errno.ENOENT, True, "check the path"),
        (errno.EMFILE, False, "ulimit -n"),
        (errno.EIO, False, "the log of this machine may say more"),
    ],
    ids=["no space", "quota", "permission", "read only", "not there", "files", "anything"],
)
def test_what_where_and_the_remedy(number: int, wrong_path: bool, remedy: str) -> None:
    error = OSError(number, os.strerror(number), "/work/x")
    assert system_trouble(error).startswith(f"/work/x: {os.strerror(number)}; ")
    assert remedy in system_trouble(error)
    assert is_wrong_path(error) is wrong_path


def test_both_paths_of_a_call_or_none(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        (tmp_path / "a").rename(tmp_path / "b")
    assert system_trouble(caught.value).startswith(f"{tmp_path}/a and {tmp_path}/b: No such file or directory; ")
    assert system_trouble(OSError("odd")).startswith("this machine: odd; ")
    assert system_trouble(TimeoutError()).startswith("this machine: TimeoutError; ")
    assert not is_wrong_path(OSError("odd"))
