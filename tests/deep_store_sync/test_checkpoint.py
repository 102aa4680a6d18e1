"""That long work can be stopped: each loop over bytes that a rebuild goes through has its checkpoints."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.deep_store_sync.pinot_segments import build_segment, rows, table_config

from deep_store_sync.checkpoint import CheckedFile, checkpoint, checkpoints
from deep_store_sync.errors import DeepStoreError, StoppedError
from deep_store_sync.segment.archive import Compression, pack, read_metadata, unpack
from deep_store_sync.segment.fingerprint import take_fingerprint
from deep_store_sync.store.deep_store import DeepStore

SEGMENT = "s"


class Stop:
    """Lets `after` checkpoints pass, and raises at the next."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self) -> None:
        if not self.left:
            raise StoppedError("stop")
        self.left -= 1


def test_outside_of_any_block_a_checkpoint_is_nothing() -> None:
    checkpoint()
    with pytest.raises(StoppedError), checkpoints(Stop(0)):
        checkpoint()
    checkpoint()


def test_blocks_within_one_another_all_count() -> None:
    inner, outer = Stop(1), Stop(2)
    with checkpoints(outer), checkpoints(inner):
        checkpoint()
        assert (outer.left, inner.left) == (1, 0)
        with pytest.raises(StoppedError):
            checkpoint()


def test_a_block_is_of_its_own_thread() -> None:
    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            checkpoint()
        except StoppedError as error:
            errors.append(error)

    with checkpoints(Stop(0)):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert errors == []


def test_each_read_of_a_checked_file_is_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with CheckedFile(path) as file, checkpoints(Stop(2)):
        assert file.read(4) == b"0123"
        assert file.readinto(bytearray(2)) == 2
        with pytest.raises(StoppedError):
            file.read()


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose files take several chunks, incompressible ones for the most part."""
    folder = build_segment(tmp_path_factory.mktemp("built"), SEGMENT, rows(50), table_config())
    (folder / "v3" / "big").write_bytes(os.urandom(5 << 20))
    return folder


@pytest.mark.parametrize("compression", Compression)
def test_packing_and_unpacking(segment: Path, tmp_path: Path, compression: Compression) -> None:
    archive = tmp_path / "archive"
    stops(lambda: pack(segment, archive, compression))
    pack(segment, archive, compression)
    count = 0

    def into_a_new_folder() -> None:
        nonlocal count
        count += 1
        unpack(archive, tmp_path / str(count), SEGMENT)

    stops(into_a_new_folder)
    stops(lambda: read_metadata(archive, SEGMENT), after=0)


def test_digests(segment: Path) -> None:
    stops(lambda: take_fingerprint(segment))


@pytest.mark.parametrize("multipart_threshold", [1 << 30, 1 << 20])
def test_downloads_and_uploads(store: DeepStore, prefix: str, tmp_path: Path, multipart_threshold: int) -> None:
    path = tmp_path / "body"
    path.write_bytes(bytes(11 << 20))
    store = DeepStore(store._client, multipart_threshold=multipart_threshold, part_bytes=5 << 20)
    # The HTTP client makes an error of its own of what a body raises.
    with checkpoints(Stop(2)), pytest.raises((StoppedError, DeepStoreError)):
        store.write_workspace(f"{prefix}/object", path)
    assert not store.exists(f"{prefix}/object")
    store.write_workspace(f"{prefix}/object", path)
    with checkpoints(Stop(2)), pytest.raises(StoppedError):
        store.download(f"{prefix}/object", tmp_path / "there")
    assert not (tmp_path / "there").exists()


def stops(work: Callable[[], Any], after: int = 2) -> None:
    """It ends at a checkpoint in the middle, and comes to its end without."""
    with checkpoints(Stop(after)), pytest.raises(StoppedError):
        work()
    work()
