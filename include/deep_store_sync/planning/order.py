"""Which work comes first, how much of it a run takes, and how it is put into batches. Pure functions of numbers."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import pyarrow as pa
import pyarrow.compute as pc

# Airflow refuses to map over more than `max_map_length` values, 1024 unless configured.
MAX_BATCHES = 1000

_HOUR_MS = 3_600_000
_GOLDEN = 0.6180339887498949
_NEWEST_FIRST = 0.75


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a plan.

    `audit_bytes` of budgeted work a run, `batch_bytes` and `batch_segments` a batch, and `max_batches` a run. Servers
    may download `download_bytes` because of a run, by what is expected of them; None is unbounded. `timed` says that
    the run may end before all of its batches have begun.
    """

    audit_bytes: int
    batch_bytes: int
    batch_segments: int
    max_batches: int = MAX_BATCHES
    download_bytes: int | None = None
    timed: bool = False


class Left(IntEnum):
    """Whether a run takes a segment, or what leaves it to a later one."""

    TAKEN = 0
    MAX_SEGMENTS = 1
    NO_BUDGET = 2
    BUDGET = 3
    DOWNLOADS = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """Segments that one mapped task works on: its id, how many there are, and the bytes of their objects."""

    id: str
    segments: int
    bytes: int


def turn(created_ms: int) -> float | None:
    """Where in the table a run begins, by the moment its plan is made: a share from 0 to 1, or None: with what is new.

    Three of four runs take the newest data first. The fourth begins at some other place, so that segments that fail
    again and again never use up every run's budget before the others have their turn. The places of such runs are
    spread evenly over the table, whatever the distance between runs is (multiples of the golden ratio, modulo 1), and
    nothing needs to be remembered from one run to the next.
    """
    share = (created_ms // _HOUR_MS * _GOLDEN) % 1.0
    return (share - _NEWEST_FIRST) / (1 - _NEWEST_FIRST) if share >= _NEWEST_FIRST else None


def in_order(work: pa.Table, begin: float | None) -> pa.UInt64Array:
    """The order of work.

    `work` has the columns `budgeted`, `calm` (servers do not call it stale), `newest` (ms) and `name`. First comes
    what no budget bounds, then what servers call stale, then the newest data. With a place to begin at, it is the order
    of names from there, all around.
    """
    if begin is None:
        return pc.sort_indices(
            work,
            sort_keys=[
                ("budgeted", "ascending"),
                ("calm", "ascending"),
                ("newest", "descending"),
                ("name", "ascending"),
            ],
        )
    order = pc.sort_indices(work, sort_keys=[("name", "ascending")])
    start = int(begin * len(order))
    return pa.concat_arrays([order.slice(start), order.slice(0, start)])


def spend(
    sizes: Iterable[int],
    budgeted: Iterable[bool],
    downloads: Iterable[int],
    *,
    budget: int,
    max_segments: int | None,
    download_bytes: int | None = None,
) -> tuple[array[int], int]:
    """What of the work a run takes, a `Left` for each in the order of work; and the bytes of the budget that it takes.

    `downloads` are the servers that are expected to download each. A segment larger than the whole budget is taken when
    it comes first, and so is one that servers download more of than `download_bytes`, unless that is 0: it would starve
    otherwise.
    """
    left = array("b")
    spent = taken = loaded = 0
    for size, bounded, servers in zip(sizes, budgeted, downloads, strict=True):
        cost = max(size, 1)  # a size that ZooKeeper does not know still has to count for something
        if max_segments is not None and taken >= max_segments:
            left.append(Left.MAX_SEGMENTS)
        elif bounded and budget == 0:
            left.append(Left.NO_BUDGET)
        elif bounded and spent > 0 and spent + cost > budget:
            left.append(Left.BUDGET)
        elif not fits(cost * servers, loaded, download_bytes):
            left.append(Left.DOWNLOADS)
        else:
            taken += 1
            loaded += cost * servers
            spent += cost if bounded else 0
            left.append(Left.TAKEN)
    return left, spent


def fits(more: int, so_far: int, most: int | None) -> bool:
    """Whether servers may download `more` bytes besides those so far, where `most` is the bound of a run, or None."""
    return most is None or not more or so_far + more <= most or (not so_far and most > 0)


def cut_batches(sizes: Sequence[int], limits: Limits) -> list[tuple[int, int]]:
    """Batches as [start, end) of the work, the one with the most bytes first: what takes longest should begin first.

    Where the run is timed they stay in the order of work, so that what it does not come to is what is least wanted. A
    table too large for `max_batches` batches of the configured size gets larger ones.
    """
    # Half of them may be closed by count; any two neighbours of which the first was closed by bytes outweigh max_bytes.
    max_segments = max(limits.batch_segments, -(-2 * len(sizes) // limits.max_batches))
    max_bytes = max(limits.batch_bytes, -(-4 * sum(sizes) // limits.max_batches))
    cut: list[tuple[int, int, int]] = []
    start = size = 0
    for index, bytes_ in enumerate(sizes):
        if index > start and (index - start >= max_segments or size + bytes_ > max_bytes):
            cut.append((size, start, index))
            start, size = index, 0
        size += bytes_
    if len(sizes):
        cut.append((size, start, len(sizes)))
    if not limits.timed:
        cut.sort(key=lambda batch: (-batch[0], batch[1]))
    return [(start, end) for _, start, end in cut]


def batch_id(number: int) -> str:
    """The id of a batch by its place among the batches: ids are in the order of places."""
    return f"b{number:04d}"
