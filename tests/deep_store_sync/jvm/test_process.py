"""The process that Java runs in, as its parent sees it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tests.deep_store_sync.pinot_segments import build_segment, engine, jars, rows, schema, table_config
from tests.deep_store_sync.rebuilding import explosive
from tests.deep_store_sync.rebuilding.kit import engines_of
from tests.polling import WAIT_S, until

from deep_store_sync.checkpoint import checkpoints
from deep_store_sync.errors import EngineDiedError, EngineError, RebuildError, StoppedError
from deep_store_sync.jvm.process import EngineProcess

HEAP = 512 << 20


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build_segment(folder, "s", rows(50), table_config())
    return folder


@pytest.fixture
def large(explosive_segments: Path, tmp_path: Path) -> Path:
    """A segment that takes for ever to rebuild."""
    return Path(shutil.copytree(explosive_segments / "large", tmp_path / "segments" / "large"))


@pytest.fixture
def process(tmp_path: Path) -> Iterator[EngineProcess]:
    process = EngineProcess(jars(), HEAP, temp_dir=tmp_path / "java")
    yield process
    process.close()
    assert list((tmp_path / "java").glob("*")) == []


def child(of: int | None = None) -> psutil.Process:
    """The process that Java runs in."""
    (found,) = engines_of(of or os.getpid())
    return found


def test_it_answers_as_the_engine_does(process: EngineProcess, built: Path) -> None:
    assert process.crc(built / "s") == engine().crc(built / "s")
    with pytest.raises(RebuildError, match="could not compute the segment's CRC"):
        process.crc(built / "nobody")
    assert process.crc(built / "s")


def test_nothing_runs_before_the_first_call_or_after_the_end(process: EngineProcess, built: Path) -> None:
    with pytest.raises(ValueError, match="not enough values"):
        child()
    process.begin()
    running = child()
    assert process.crc(built / "s")
    assert child() == running
    process.close()
    assert not running.is_running()


def test_jars_that_do_not_work_are_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "no.jar").touch()
    broken = EngineProcess(replace(jars(), paths=(tmp_path / "no.jar",)), HEAP, temp_dir=tmp_path)
    with pytest.raises(EngineError, match="does not work"):
        broken.start()
    assert list(tmp_path.iterdir()) == [tmp_path / "no.jar"]


def test_a_java_that_cannot_be_started_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="could not be started"):
        EngineProcess(jars(), 1 << 60, temp_dir=tmp_path).start()


def test_a_death_in_the_middle_is_told_and_the_next_call_goes_on(
    process: EngineProcess, built: Path, large: Path
) -> None:
    process.start()
    first = child()
    threading.Thread(target=lambda: (until(lambda: growing(large)), first.kill())).start()
    with pytest.raises(EngineDiedError, match="was killed, by the system for want of memory most likely"):
        process.preprocess(large, explosive.CONFIG, explosive.SCHEMA)
    assert process.crc(built / "s")
    assert child() != first


def test_a_death_between_calls_is_told(process: EngineProcess, built: Path) -> None:
    process.start()
    child().send_signal(signal.SIGABRT)
    with pytest.raises(EngineDiedError, match=r"ended by SIGABRT: its own words are in this log"):
        process.crc(built / "s")
    assert process.crc(built / "s")


def test_a_call_can_be_stopped(process: EngineProcess, built: Path, large: Path) -> None:
    def check() -> None:
        if growing(large):
            raise StoppedError("enough")

    process.start()
    running = child()
    with pytest.raises(StoppedError, match="enough"), checkpoints(check):
        process.preprocess(large, explosive.CONFIG, explosive.SCHEMA)
    assert not running.is_running()
    assert process.crc(built / "s")


def test_an_exhausted_heap_is_told_and_the_next_call_has_a_new_one(tmp_path: Path) -> None:
    data = [row | {"note": "x" * 40_000_000} for row in rows(1)]
    of = schema(note={"maxLength": 50_000_000})
    fat = build_segment(tmp_path / "built", "fat", data, table_config(), of)
    thin = build_segment(tmp_path / "built", "thin", rows(9), table_config(), of)
    process = EngineProcess(jars(), 64 << 20, temp_dir=tmp_path / "java")
    process.start()
    first = child()
    with pytest.raises(RebuildError, match=r"OutOfMemoryError: .*the heap is limited to 64 MiB: raise engine\.heap"):
        process.preprocess(fat, table_config(noDictionaryColumns=["doc"]), of)
    assert not first.is_running()
    assert process.preprocess(thin, table_config(noDictionaryColumns=["doc"]), of)
    process.close()


def test_what_java_writes_to_standard_output_goes_to_the_log(
    process: EngineProcess, built: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xlog:gc")
    assert process.crc(built / "s") == engine().crc(built / "s")
    process.close()
    assert "[gc] Using Serial" in capfd.readouterr().err


def test_processes_do_not_know_of_one_another(built: Path, tmp_path: Path) -> None:
    processes = [EngineProcess(jars(), HEAP, temp_dir=tmp_path) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        crcs = set(pool.map(lambda process: process.crc(built / "s"), processes))
    assert crcs == {engine().crc(built / "s")}
    processes[0].close()
    assert processes[1].crc(built / "s") in crcs
    processes[1].close()
    assert list(tmp_path.iterdir()) == []


def test_a_call_that_raises_something_else_is_one_segments_trouble(process: EngineProcess, built: Path) -> None:
    with pytest.raises(RebuildError, match="crc: TypeError"):
        process._call("crc", {"no": "argument"})
    assert process.crc(built / "s")


def test_stacks_are_only_asked_for_while_a_call_is_under_way(process: EngineProcess, built: Path) -> None:
    process.dump_stacks()
    process.begin()
    process.dump_stacks()
    running = child()
    assert process.crc(built / "s")
    process.dump_stacks()
    assert process.crc(built / "s") == engine().crc(built / "s")
    assert child() == running


def test_after_its_stacks_the_process_ends(
    process: EngineProcess, built: Path, large: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def check() -> None:
        if growing(large):
            process.dump_stacks()
            assert not running.is_running()
            raise RebuildError("it takes too long")

    process.start()
    running = child()
    with pytest.raises(RebuildError, match="too long"), checkpoints(check):
        process.preprocess(large, explosive.CONFIG, explosive.SCHEMA)
    assert "StarTree" in capfd.readouterr().err.partition("Java thread ")[2]
    assert process.crc(built / "s")


def test_it_ends_with_its_parent(large: Path, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(large), str(tmp_path)], cwd=Path(__file__).parents[3], env=environment()
    )
    until(lambda: growing(large))
    running = child(parent.pid)
    parent.kill()
    parent.wait()
    psutil.wait_procs([running], timeout=WAIT_S)
    assert not running.is_running()


PARENT = """
import sys
from pathlib import Path
from tests.deep_store_sync.pinot_segments import jars
from tests.deep_store_sync.rebuilding import explosive
from deep_store_sync.jvm.process import EngineProcess
process = EngineProcess(jars(), 512 << 20, temp_dir=Path(sys.argv[2]))
process.preprocess(Path(sys.argv[1]), explosive.CONFIG, explosive.SCHEMA)
"""


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def growing(segment: Path) -> bool:
    return any(segment.parent.glob(explosive.GROWING))
