from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from deep_store_sync.rebuilding.limits import Limits, Machine, decide_limits, limits_line, look_at_machine
from deep_store_sync.settings import EngineSettings

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("cores", "memory", "heap", "parallel"),
    [
        (1, 1 * GIB, 512 * MIB, 1),
        (2, 8 * GIB, 1 * GIB, 1),
        (2, 24 * GIB, 3 * GIB, 1),
        (8, 2 * GIB, 512 * MIB, 2),
        (8, 16 * GIB, 2 * GIB, 4),
        (16, 32 * GIB, 4 * GIB, 4),
        (64, 256 * GIB, 4 * GIB, 32),
    ],
)
def test_defaults_come_from_the_machine(cores: int, memory: int, heap: int, parallel: int) -> None:
    limits = decide_limits(EngineSettings(), Machine(cores, memory, 100 * GIB))
    assert limits == Limits(heap, parallel, 80 * GIB, 5.0, 3600.0)


def test_what_is_set_counts() -> None:
    settings = EngineSettings(
        heap=6 * GIB, parallel_segments=3, disk=7 * GIB, max_growth=2, segment_timeout=timedelta(minutes=5)
    )
    assert decide_limits(settings, Machine(2, 4 * GIB, GIB)) == Limits(6 * GIB, 3, 7 * GIB, 2.0, 300.0)


def test_a_heap_that_is_set_bounds_how_many_there_are() -> None:
    assert decide_limits(EngineSettings(heap=8 * GIB), Machine(16, 64 * GIB, GIB)).parallel_segments == 4


def test_the_log_says_what_comes_from_where(tmp_path: Path) -> None:
    settings, machine = EngineSettings(heap=2 * GIB), Machine(4, 16 * GIB, 10**9)
    line = limits_line(settings, machine, decide_limits(settings, machine), tmp_path)
    assert line.startswith("limits: 2 segments rebuilt at once, each with 2.1 GB of heap; 800.0 MB of disk in ")
    from_machine = "this machine: engine.parallelSegments, engine.disk (4 cores, 17.2 GB of memory, 1.0 GB"
    assert from_machine in line


def test_this_machine(tmp_path: Path) -> None:
    machine = look_at_machine(tmp_path)
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert 0 < machine.memory_bytes <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine.disk_bytes > 0


@pytest.mark.parametrize(
    ("groups", "files", "memory", "cores"),
    [
        # version 2, in a container that sees its own group as the top one
        ("0::/", {"memory.max": "536870912", "cpu.max": "100000 100000"}, 512 * MIB, 1),
        # version 2, on a host: a group around the process's own has the limit
        (
            "0::/a/b",
            {"a/memory.max": "536870912", "a/b/memory.max": "max", "a/b/cpu.max": "max 100000"},
            512 * MIB,
            None,
        ),
        # version 1
        (
            "4:memory:/a\n2:cpu,cpuacct:/a\n0::/",
            {
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "memory/a/memory.limit_in_bytes": "536870912",
                "cpu/a/cpu.cfs_quota_us": "100000",
                "cpu/a/cpu.cfs_period_us": "100000",
            },
            512 * MIB,
            1,
        ),
        # version 1, without a limit
        ("4:memory:/\n2:cpu:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None, None),
        # half a core is one
        ("0::/", {"cpu.max": "50000 100000"}, None, 1),
        ("", {}, None, None),
    ],
)
def test_the_limits_of_a_control_group_count(
    tmp_path: Path, groups: str, files: dict[str, str], memory: int | None, cores: int | None
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    found = look_at_machine(tmp_path, root=tmp_path)
    assert found.memory_bytes == (memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    assert found.cores == (cores or len(os.sched_getaffinity(0)))
