from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from deep_store_sync.checkpoint import checkpoint
from deep_store_sync.errors import RebuildError
from deep_store_sync.rebuilding import guard
from deep_store_sync.rebuilding.guard import guarded
from deep_store_sync.rebuilding.limits import Limits

MIB = 1 << 20
LIMITS = Limits(heap_bytes=0, parallel_segments=1, disk_bytes=0, max_growth=2.0, segment_timeout_s=60.0)


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    (tmp_path / "segment").mkdir()
    (tmp_path / "object").write_bytes(os.urandom(50 * MIB))  # the archive does not count
    (tmp_path / "segment" / "columns.psf").write_bytes(os.urandom(MIB))
    return tmp_path / "segment"


def watched(segment: Path) -> Any:
    return guarded(segment.parent, segment, LIMITS, on_timeout=lambda: None)


@pytest.mark.parametrize("at", ["a checkpoint", "the end"])
def test_growth_is_noticed_at(segment: Path, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_LOOK_EVERY_S", 0.0)

    def grow() -> None:
        with watched(segment):
            (segment / "index").write_bytes(os.urandom(19 * MIB))
            if at == "a checkpoint":
                checkpoint()
                raise AssertionError("not noticed")

    with pytest.raises(RebuildError, match=r"grew from 1\.0 MB to 21\.0 MB .*\(segment/index by 19\.9 MB\), and was"):
        grow()


def test_twice_its_size_and_a_little_more_is_no_trouble(segment: Path) -> None:
    with watched(segment):
        (segment / "index").write_bytes(os.urandom(16 * MIB))
        checkpoint()


def test_what_is_only_there_while_columns_are_written_anew_does_not_count(segment: Path) -> None:
    """The folders of a sort that writes a column anew before: all of them have the segment's files for a moment."""
    size = 12 * MIB
    (segment / "columns.psf").write_bytes(os.urandom(size))
    with watched(segment):
        for folder in ("regenerated/regenerate-x/segment/v3", "regenerated/columns-y/columns/v3", "original/segment"):
            (segment.parent / folder).mkdir(parents=True)
            (segment.parent / folder / "columns.psf").write_bytes(os.urandom(size))
        (segment.parent / "regenerated" / "segment").mkdir()
        (segment.parent / "regenerated" / "segment" / "columns.psf").write_bytes(os.urandom(size))
        checkpoint()


@pytest.mark.parametrize("where", ["regenerated/segment/v3", "regenerated again/x/segment", "regenerated/columns-y/v3"])
def test_what_is_written_anew_counts(segment: Path, where: str) -> None:
    folder = segment.parent / where
    said = rf"grew from 1\.0 MB to 19\.9 MB .*\({where}/columns.psf by 1[78]\.\d MB, {where}/index by 1\.0 MB\)"

    def write() -> None:
        with watched(segment):
            folder.mkdir(parents=True)
            (folder / "columns.psf").write_bytes(os.urandom(18 * MIB))
            (folder / "index").write_bytes(os.urandom(MIB))

    with pytest.raises(RebuildError, match=said):
        write()


def test_folders_may_go_while_they_are_measured(segment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def fake_scandir_that_comes_too_late(path: Any = ".") -> Any:
        if str(path).endswith("load-x"):
            Path(path).rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fake_scandir_that_comes_too_late)
    with watched(segment):
        (segment.parent / "load-x").mkdir()
    assert not (segment.parent / "load-x").exists()


def test_time_is_noticed_at_a_checkpoint(segment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    now = [0.0]
    monkeypatch.setattr(guard, "monotonic", lambda: now[0])
    with guarded(segment.parent, segment, LIMITS, on_timeout=lambda: told.append("stacks")):
        now[0] = 60.0
        checkpoint()
        assert told == []
        now[0] = 60.5
        with pytest.raises(RebuildError, match="took longer than 60 s"):
            checkpoint()
    assert told == ["stacks"]


def test_an_error_while_the_disk_is_nearly_full_is_put_down_to_it(
    segment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_free = [1 << 40]
    usage = shutil.disk_usage(segment)
    monkeypatch.setattr(guard.shutil, "disk_usage", lambda _: usage._replace(free=fake_free[0]))
    with pytest.raises(RebuildError, match=r"^an index was not built$"), watched(segment):
        raise RebuildError("an index was not built")

    def fill() -> None:
        with watched(segment):
            fake_free[0] = MIB
            checkpoint()
            fake_free[0] = 1 << 40  # what could not be finished is gone by now
            raise RebuildError("an index was not built")

    with pytest.raises(RebuildError, match=r"^no space left in .*\(an index was not built\)"):
        fill()
