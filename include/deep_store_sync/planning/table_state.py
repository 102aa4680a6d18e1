"""A table as controller, servers and store describe it at one moment, a row a segment.

What was answered apart is brought together by the segments' names. Nothing here talks to anything.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.model import Lineage, ServerAnswer
from deep_store_sync.pinot.server_columns import ReplicaSets, ServerPart, States, Validity

# Names that are looked up at once: each look-up makes an index of all segments.
_LOOKED_UP = 500_000

# Names that an index is made of at once, where that may be done in parts: it takes as much memory as they do.
_INDEXED = 250_000


@dataclass(frozen=True, slots=True)
class Replicas:
    """Where each segment is: of each row the number of a set of servers and states, or -1 where it is nowhere."""

    numbers: pa.Int32Array
    sets: tuple[States, ...]


@dataclass(frozen=True, slots=True)
class StaleSegments:
    """What isStale said. `servers` are those that answered, without their lists.

    Of each row, `numbers` has the number in `sets` of the servers that call the segment stale, with their reasons. The
    first set is empty.
    """

    servers: Mapping[str, ServerAnswer]
    numbers: pa.Int32Array
    sets: tuple[Mapping[str, str], ...]


@dataclass(frozen=True, slots=True)
class TableState:
    """The table. `segments` has the columns of `pinot.segment_columns.SCHEMA`, and rows mean its rows.

    The stamps' ETags need not be among them: `as_stamped` is what they are for, and tells of each row whether the store
    has an object with the ETag of the segment's stamp. `seen` is where servers are seen to have the segments, for
    tables that consume.
    """

    table: str
    table_config: Mapping[str, Any]
    schema: Mapping[str, Any]
    segments: pa.Table
    wanted: Replicas
    seen: Replicas | None
    stale: StaleSegments
    lineage: Lineage
    as_stamped: pa.BooleanArray


def one_chunk(table: pa.Table) -> pa.Table:
    """The table with each column in one piece, so that rows are found by their number.

    What has been copied is let go at once, if nobody else holds the table.
    """
    schema, columns = table.schema, []
    for field in schema:
        chunks = table.column(field.name)
        table = table.drop_columns([field.name])
        columns.append(one_array(chunks.unify_dictionaries() if pa.types.is_dictionary(field.type) else chunks))
        del chunks
        pa.default_memory_pool().release_unused()
    return pa.Table.from_arrays(columns, schema=schema)


def column(table: pa.Table, name: str) -> pa.Array:
    """A column of a table that is in one piece."""
    chunks = table.column(name)
    return chunks.chunk(0) if chunks.num_chunks else pa.array([], chunks.type)


def numbers(values: array[int]) -> pa.Int32Array:
    """32-bit numbers as Arrow has them, over the same memory."""
    return pa.Array.from_buffers(pa.int32(), len(values), [None, pa.py_buffer(values)])


def integers(values: pa.Array) -> Sequence[int]:
    """Arrow's numbers, none of them null, as Python's, each made when it is asked for."""
    size = values.type.bit_width // 8
    start = values.offset * size
    known = memoryview(values.buffers()[1]).cast("B")[start : start + len(values) * size]
    return known.cast("q") if size == 8 else known.cast("i") if size == 4 else known.cast("b")


def replicas(found: ReplicaSets | None, names: pa.Array) -> Replicas:
    """Replica sets by row."""
    if found is None:
        return Replicas(numbers(array("i", [-1]) * len(names)), ())
    by_row = numbers(array("i", [-1]) * len(names))
    start, some = 0, list[pa.Array]()
    for index, chunk in enumerate(found.names.chunks):
        some.append(chunk)
        size = sum(map(len, some))
        if size >= _INDEXED or index == found.names.num_chunks - 1:
            place = pc.index_in(names, value_set=pa.concat_arrays(some))
            by_row = pc.coalesce(numbers(found.numbers).slice(start, size).take(place), by_row)
            start, some = start + size, []
    return Replicas(by_row, found.sets)


def stale_segments(parts: Iterable[tuple[str, ServerPart]], names: pa.Array) -> StaleSegments:
    """What isStale said, by row. Segments that are not of `names` are left out: they are new, or just deleted.

    Raises:
        ValueError: a server's answer does not say whether it is valid.
    """
    collected, validity = _Collected(names), Validity()
    for server, part in parts:
        validity.add(server, part)
        collected.add(server, part)
    collected.flush()
    return StaleSegments(validity.answers(), numbers(collected.numbers), tuple(collected.sets))


class _Collected:
    """Brings the lists of all servers together, some hundred thousand entries at a time."""

    def __init__(self, names: pa.Array) -> None:
        self._names = names
        self.numbers = array("i", bytes(4 * len(names)))
        self.sets: list[Mapping[str, str]] = [{}]
        self._more: dict[tuple[int, int], int] = {}
        self._said: dict[tuple[str, str], int] = {}
        self._segments: list[pa.Array] = []
        self._saying = array("i")

    def add(self, server: str, part: ServerPart) -> None:
        self._segments.append(pa.array(part.segments, pa.string()))
        said = self._said
        self._saying.extend(
            [said.setdefault(pair, len(said)) for pair in zip(repeat(server), part.reasons, strict=False)]
        )
        if len(self._saying) >= _LOOKED_UP:
            self.flush()

    def flush(self) -> None:
        if not self._saying:
            return
        rows = pc.index_in(pa.chunked_array(self._segments, pa.string()), value_set=self._names)
        pairs = list(self._said)
        numbers, more, sets = self.numbers, self._more, self.sets
        for row, said in zip(_values(rows), self._saying, strict=True):
            if row is None:
                continue
            step = (numbers[row], said)
            next_set = more.get(step)
            if next_set is None:
                server, reason = pairs[said]
                known = sets[step[0]]
                # The first reason that a server gives for a segment counts.
                next_set = more[step] = len(sets) if server not in known else step[0]
                if server not in known:
                    sets.append({**known, server: reason})
            numbers[row] = next_set
        self._segments, self._saying = [], array("i")


def _values(rows: pa.ChunkedArray) -> Iterator[int | None]:
    for chunk in rows.chunks:
        yield from chunk.to_pylist()


def one_array(chunks: pa.ChunkedArray) -> pa.Array:
    """The same values in one piece."""
    joined = chunks.combine_chunks()
    if isinstance(joined, pa.ChunkedArray):
        return joined.chunk(0) if joined.num_chunks else pa.array([], chunks.type)
    return joined
