"""What a batch takes of the machine, and what becomes of a segment that wants more."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.deep_store_sync.pinot_segments import build_segment, rows, schema, table_config
from tests.deep_store_sync.rebuilding import explosive
from tests.deep_store_sync.rebuilding.kit import Batch, FakeStore, engines_of, when_growing

from deep_store_sync.jvm.process import EngineProcess
from deep_store_sync.model import RebuildResult, Rebuilt
from deep_store_sync.rebuilding import guard, pipeline, rebuild_segment
from deep_store_sync.rebuilding.disk import used_bytes

WAIT_S = 60


def test_a_bounded_number_of_segments_is_on_disk(batch: Batch, fake_store: FakeStore) -> None:
    for number in range(4):
        batch.add(f"s {number}")
    batch.add("indexed")
    # No upload ends before the others have come as far as they can.
    fourth_is_fetched = threading.Event()
    fake_store.after_head = lambda url: fourth_is_fetched.set() if url.endswith("s_3") else None
    fake_store.on_stage = lambda _: fourth_is_fetched.wait(1)
    assert {result.status for result in batch.run()} == {Rebuilt.CHANGED, Rebuilt.UNCHANGED}
    assert fake_store.most_segments == 3


def test_segments_are_rebuilt_at_once_in_processes_of_their_own(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=WAIT_S)
    engines = set()

    def rebuild(engine: EngineProcess, *args: Any) -> Any:
        engines.add(id(engine))
        both.wait()
        return original(engine, *args)

    original = pipeline.rebuild
    monkeypatch.setattr(pipeline, "rebuild", rebuild)
    batch.limit(parallel_segments=2)
    for number in range(4):
        batch.add(f"s {number}")
    assert {result.status for result in batch.run()} == {Rebuilt.CHANGED}
    assert len(engines) == 2


def test_a_segment_does_not_wait_for_those_before_it(batch: Batch, fake_store: FakeStore) -> None:
    second_is_staged = threading.Event()
    fake_store.after_head = lambda url: second_is_staged.wait(WAIT_S) if url.endswith("s_0") else None
    fake_store.on_stage = lambda _: second_is_staged.set()
    batch.limit(parallel_segments=2)
    batch.add("s 0")
    batch.add("s 1")
    assert [result.status for result in batch.run()] == [Rebuilt.CHANGED] * 2


def test_a_segment_that_does_not_fit_on_the_disk_waits(batch: Batch, fake_store: FakeStore) -> None:
    for number in range(3):
        row = batch.add(f"s {number}")
    need = row.size_bytes + 4 * used_bytes(batch.built / "s 0")
    batch.limit(parallel_segments=3, disk=need * 3 // 2)
    assert {result.status for result in batch.run()} == {Rebuilt.CHANGED}
    assert fake_store.most_segments == 1


def test_a_segment_that_never_fits_on_the_disk_is_refused(batch: Batch) -> None:
    batch.add("s 0")
    batch.add("s 1", body=os.urandom(100_000))
    batch.limit(disk=150_000)
    fits, does_not = batch.run()
    assert (fits.status, does_not.status) == (Rebuilt.CHANGED, Rebuilt.FAILED)
    assert "its archive and its files take 200.0 kB of disk at least, and a batch may take 150.0 kB" in does_not.message


def explode(batch: Batch, **engine: Any) -> tuple[RebuildResult, list[RebuildResult]]:
    """The result of the large segment, and those of the small ones, of which one comes before it."""
    batch.limit(**engine)
    for name in ("small 0", "large", "small 1", "small 2"):
        batch.add(name)
    first, large, *others = batch.run(explosive.CONFIG, explosive.SCHEMA)
    return large, [first, *others]


def test_a_segment_that_grows_too_much_is_stopped(explosive_batch: Batch) -> None:
    large, small = explode(explosive_batch)
    assert large.status is Rebuilt.FAILED
    assert large.message.startswith("it grew from ")
    assert "star-tree.record" in large.message
    assert "raise engine.maxGrowth, which is 5" in large.message
    assert {result.status for result in small} == {Rebuilt.CHANGED}


def test_a_segment_that_takes_too_long_is_stopped(
    explosive_batch: Batch, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    passed = [0.0]  # an hour, as soon as the large one's star-tree grows
    monkeypatch.setattr(guard, "monotonic", lambda: time.monotonic() + passed[0])
    with when_growing(explosive_batch.workdir, lambda: passed.insert(0, 3601.0)):
        large, small = explode(explosive_batch, max_growth=1e6)
    assert large.status is Rebuilt.FAILED
    assert large.message.startswith("rebuilding took longer than 3600 s and was stopped")
    assert {result.status for result in small} == {Rebuilt.CHANGED}
    stacks = capfd.readouterr().err
    assert "worker.py" in stacks
    assert "StarTree" in stacks.partition("Java thread ")[2]


def test_a_segment_whose_time_is_up_between_two_calls_of_java_is_one_segments_trouble(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fake clock: an hour passes while the first segment's rebuilt files are read."""
    passed = [0.0]

    def take_fingerprint(segment_dir: Path) -> Any:
        if threading.get_ident() in rebuilding and not passed[0]:
            passed[0] = 3601.0
        return original(segment_dir)

    def rebuild(*args: Any) -> Any:
        rebuilding.add(threading.get_ident())
        return rebuild_segment.rebuild(*args)

    rebuilding: set[int] = set()
    original = rebuild_segment.take_fingerprint
    monkeypatch.setattr(rebuild_segment, "take_fingerprint", take_fingerprint)
    monkeypatch.setattr(pipeline, "rebuild", rebuild)
    monkeypatch.setattr(guard, "monotonic", lambda: time.monotonic() + passed[0])
    batch.limit(parallel_segments=1)
    for number in range(3):
        batch.add(f"s {number}")
    slow, *others = sorted(batch.run(), key=lambda result: result.status is Rebuilt.CHANGED)
    assert slow.message.startswith("rebuilding took longer than 3600 s and was stopped")
    assert [result.status for result in others] == [Rebuilt.CHANGED] * 2


def test_a_segment_that_takes_all_of_the_heap_is_one_segments_trouble(batch: Batch, tmp_path: Path) -> None:
    fat = [row | {"note": "x" * 40_000_000} for row in rows(1)]
    of = schema(note={"maxLength": 50_000_000})
    batch.built = tmp_path / "built"
    for name, data in {"s 0": rows(9), "fat": fat, "s 1": rows(9)}.items():
        build_segment(batch.built, name, data, table_config(), of)
        batch.add(name)
    batch.limit(heap=64 << 20, max_growth=1e6)
    first, large, last = batch.run(table_config(noDictionaryColumns=["doc"]), of)
    assert large.status is Rebuilt.FAILED
    assert "OutOfMemoryError" in large.message
    assert "the heap is limited to 64 MiB: raise engine.heap" in large.message
    assert (first.status, last.status) == (Rebuilt.CHANGED, Rebuilt.CHANGED)


def test_a_java_process_that_is_killed_is_one_segments_trouble(explosive_batch: Batch) -> None:
    with when_growing(explosive_batch.workdir, lambda: engines_of(os.getpid())[0].kill()):
        large, small = explode(explosive_batch, max_growth=1e6)
    assert large.status is Rebuilt.FAILED
    assert "the process that Java runs in was killed, by the system for want of memory most likely" in large.message
    assert {result.status for result in small} == {Rebuilt.CHANGED}


def test_a_disk_that_java_fills_is_one_segments_trouble(explosive_batch: Batch) -> None:
    """On a file system of 16 MB, which a user's own name space may mount."""
    disk = explosive_batch.workdir
    disk.mkdir()
    mount = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
    mount += [f'mount -t tmpfs -o size=16m tmpfs "{disk}"; exec "$@"', "sh"]
    if subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a Linux that lets users have name spaces of their own")
    explosive_batch.limit(disk=1 << 40, max_growth=1e6)
    for name in ("small 0", "large", "small 1"):
        explosive_batch.add(name)
    process = explosive_batch.process(explosive.CONFIG, explosive.SCHEMA, *mount)
    said, _ = process.communicate(timeout=WAIT_S * 2)
    assert said.endswith("done\n"), said
    (line,) = [line for line in said.splitlines() if "/3 large: " in line]
    assert f"failed, no space left in {disk}/deep-store-sync-" in line
    assert "give engine.workdir a larger disk, or lower engine.disk" in line
    assert sum(": changed, star-tree added" in line for line in said.splitlines()) == 2


def test_a_disk_that_is_full_while_staging_is_one_segments_trouble(batch: Batch, fake_store: FakeStore) -> None:
    def full(url: str) -> None:
        if "s%25200" in url or "s%200" in url:
            raise OSError(28, "No space left on device")

    fake_store.on_stage = full
    batch.add("s 0")
    batch.add("s 1")
    first, second = batch.run()
    assert (first.status, second.status) == (Rebuilt.FAILED, Rebuilt.CHANGED)
    assert "no space left in" in first.message
    assert first.staged_url is None
