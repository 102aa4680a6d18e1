"""Reading parts of an object as of a file."""

from __future__ import annotations

import io
import random

import pytest

from deep_store_sync.errors import ObjectChangedError, ObjectNotFoundError
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.store.object_file import ObjectFile


class CountedStore:
    """A store of which it is known what was read."""

    def __init__(self, store: DeepStore) -> None:
        self._store = store
        self.read: list[tuple[int, int]] = []
        self.head = store.head

    def read_part(self, url: str, start: int, length: int, *, if_match: str) -> bytes:
        self.read.append((start, length))
        return self._store.read_part(url, start, length, if_match=if_match)


def opened(store: DeepStore, url: str) -> tuple[ObjectFile, CountedStore]:
    counted = CountedStore(store)
    return ObjectFile(counted, url), counted  # type: ignore[arg-type]


def test_it_reads_like_any_file(store: DeepStore, prefix: str) -> None:
    data = random.Random(1).randbytes(3 * 1024**2)
    store.write_workspace(f"{prefix}/o", data)
    file, counted = opened(store, f"{prefix}/o")
    assert (file.readable(), file.seekable()) == (True, True)
    for start, length in ((0, 10), (len(data) - 8, 8), (1_000_000, 5), (len(data) - 5, 50), (len(data) + 3, 1)):
        assert file.seek(start) == start
        assert file.read(length) == data[start : start + length]
    assert file.seek(-4, io.SEEK_END) == len(data) - 4
    assert file.tell() == len(data) - 4
    assert file.read() == data[-4:]
    assert len(counted.read) == 3


def test_what_was_fetched_at_once_is_not_fetched_again(store: DeepStore, prefix: str) -> None:
    data = random.Random(1).randbytes(3 * 1024**2)
    store.write_workspace(f"{prefix}/o", data)
    file, counted = opened(store, f"{prefix}/o")
    file.fetch(1000, 500_000)
    for start in (1000, 400_000, 2000, len(data) - 100):
        file.seek(start)
        assert file.read(100) == data[start : start + 100]
    assert counted.read == [(len(data) - 1024**2, 1024**2), (1000, 500_000)]


def test_a_small_object_is_read_with_one_request(store: DeepStore, prefix: str) -> None:
    store.write_workspace(f"{prefix}/o", b"small")
    file, counted = opened(store, f"{prefix}/o")
    assert file.read() == b"small"
    assert counted.read == [(0, 5)]
    store.write_workspace(f"{prefix}/o", b"")
    assert opened(store, f"{prefix}/o")[0].read() == b""


def test_an_object_that_is_overwritten_meanwhile_is_an_error(store: DeepStore, prefix: str) -> None:
    store.write_workspace(f"{prefix}/o", bytes(3 * 1024**2))
    file, _ = opened(store, f"{prefix}/o")
    store.write_workspace(f"{prefix}/o", b"x" * 3 * 1024**2)
    with pytest.raises(ObjectChangedError):
        file.read(5)
    with pytest.raises(ObjectNotFoundError):
        ObjectFile(store, f"{prefix}/none")
