"""What objects take of memory on their way: a part or two at a time, whatever their size."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.store.multipart import SMALLEST_PART

SIZE = 64 * 1024**2
FEW_BYTES = 6 * 1024**2


@contextmanager
def at_most(peak: int) -> Iterator[None]:
    """Fails when Python has more bytes than this at once inside."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < peak
    finally:
        tracemalloc.stop()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


def test_one_request_streams(store: DeepStore, prefix: str, large: Path, tmp_path: Path) -> None:
    url = prefix + "/s"
    store.write_workspace(url, b"old")
    before = store.head(url)
    with at_most(FEW_BYTES):
        store.replace(url, large, if_match=before.etag, like=before, metadata={})
    assert store.head(url).size == SIZE
    with at_most(FEW_BYTES):
        store.download(url, tmp_path / "file")
    assert (tmp_path / "file").stat().st_size == SIZE


def test_parts_are_in_memory_one_at_a_time(s3: Any, store: DeepStore, prefix: str, large: Path) -> None:
    url = prefix + "/s"
    store.write_workspace(url, b"old")
    before = store.head(url)
    parts = DeepStore(s3, multipart_threshold=1024, part_bytes=SMALLEST_PART)
    with at_most(2 * SMALLEST_PART + FEW_BYTES):
        parts.replace(url, large, if_match=before.etag, like=before, metadata={})
    assert store.head(url).size == SIZE
    assert store.head(url).etag.endswith(f"-{-(-SIZE // SMALLEST_PART)}")


def test_the_threshold_is_what_one_request_takes_and_can_only_be_lowered(s3: Any) -> None:
    # S3: "Uploading and copying objects": 5 GiB.
    assert DeepStore(s3).multipart_threshold == 5 * 1024**3
    assert DeepStore(s3, multipart_threshold=2**60).multipart_threshold == 5 * 1024**3
