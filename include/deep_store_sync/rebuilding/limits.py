"""How much of the machine a batch may take: from the settings, and where they say nothing, from the machine.

Several batches may run on one machine at once. They know nothing of one another: whoever lets Airflow start several
divides memory and disk between them with the settings.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deep_store_sync.settings import EngineSettings
from deep_store_sync.spoken import spoken_bytes

_MIB, _GIB = 1 << 20, 1 << 30
_SMALLEST_HEAP, _LARGEST_HEAP = 512 * _MIB, 4 * _GIB


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is: cores and memory of the container or the machine, and disk that is free for the work folder."""

    cores: int
    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What a batch may take. `heap_bytes` is each engine process's, `segment_timeout_s` each segment's."""

    heap_bytes: int
    parallel_segments: int
    disk_bytes: int
    max_growth: float
    segment_timeout_s: float


def decide_limits(settings: EngineSettings, machine: Machine) -> Limits:
    """The limits of a batch.

    The defaults: a heap is an eighth of the memory, of 512 MiB to 4 GiB; there are as many segments at once as half of
    the cores, and as memory for twice their heaps (what Java maps and Python's own come on top of a heap), one at
    least; the disk is four fifths of what is free.
    """
    heap = settings.heap or min(max(machine.memory_bytes // 8, _SMALLEST_HEAP), _LARGEST_HEAP)
    parallel = settings.parallel_segments or max(1, min(machine.cores // 2, machine.memory_bytes // (2 * heap)))
    return Limits(
        heap_bytes=heap,
        parallel_segments=parallel,
        disk_bytes=settings.disk or machine.disk_bytes * 4 // 5,
        max_growth=settings.max_growth,
        segment_timeout_s=settings.segment_timeout.total_seconds(),
    )


def limits_line(settings: EngineSettings, machine: Machine, limits: Limits, folder: Path) -> str:
    """The limits in words, and where they come from."""
    given = {
        "engine.parallelSegments": settings.parallel_segments,
        "engine.heap": settings.heap,
        "engine.disk": settings.disk,
    }
    derived = ", ".join(name for name, value in given.items() if value is None) or "nothing"
    return (
        f"limits: {limits.parallel_segments} segments rebuilt at once, each with {spoken_bytes(limits.heap_bytes)} of "
        f"heap; {spoken_bytes(limits.disk_bytes)} of disk in {folder}; a segment may grow to {limits.max_growth:g} "
        f"times its size and take {limits.segment_timeout_s:g} s. Worked out from this machine: {derived} "
        f"({machine.cores} cores, {spoken_bytes(machine.memory_bytes)} of memory, {spoken_bytes(machine.disk_bytes)} "
        "of disk free); the rest is from the table's settings"
    )


def look_at_machine(folder: Path, root: Path = Path("/")) -> Machine:
    """This machine, or the part of it that the process's control group has. `root` is where `/proc` and `/sys` are."""
    return Machine(
        cores=_cores(root),
        memory_bytes=_memory(root),
        disk_bytes=shutil.disk_usage(folder).free,
    )


def _cores(root: Path) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _groups(root, ""):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            cores = min(cores, max(1, int(quota) // int(period)))
    for folder in _groups(root, "cpu"):
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def _memory(root: Path) -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    files = [folder / "memory.max" for folder in _groups(root, "")]
    files += [folder / "memory.limit_in_bytes" for folder in _groups(root, "memory")]
    return min([memory, *(int(limit) for file in files if (limit := _read(file)).isdigit())])


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the process's control group and of those around it: version 2 has no controller's name.

    In a container the group's path may be that of the host, while the folder at the top is the container's own.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        folder = root / "sys/fs/cgroup" / controller
        yield folder
        for part in Path(path.lstrip("/")).parts:
            folder /= part
            yield folder


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
