"""Which server has which segment, and what it says of it: answers about many segments, with few objects for them.

Most segments of a table have their replicas on one of a few sets of servers, and are stale for one of a few reasons.
So a segment has the number of its set, and the set is there once.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.model import ServerAnswer

States = Mapping[str, str]
"""Server to state: ONLINE, CONSUMING, OFFLINE, …"""


@dataclass(frozen=True, slots=True)
class ReplicaSets:
    """Of each segment in `names`, the number in `sets` of the servers that it is on, at the same place in `numbers`."""

    names: pa.ChunkedArray
    numbers: array[int]
    sets: tuple[States, ...]

    @classmethod
    def none(cls) -> ReplicaSets:
        """Those of a table without segments."""
        return cls(pa.chunked_array([], pa.string()), array("i"), ())

    def of(self, segments: Collection[str]) -> dict[str, States]:
        """Server to state of those of these segments that are there."""
        there = pc.is_in(self.names, value_set=pa.array(list(segments), pa.string()))
        places = pc.indices_nonzero(there).to_pylist()
        names = self.names.filter(there).to_pylist()
        return {name: self.sets[self.numbers[place]] for name, place in zip(names, places, strict=True)}


_states: Callable[[bytes], dict[str, str]] = msgspec.json.Decoder(dict[str, str]).decode
_raw_states: Callable[[bytes], dict[str, dict[str, msgspec.Raw] | None]] = msgspec.json.Decoder(
    dict[str, dict[str, msgspec.Raw] | None]
).decode


def replica_sets(pieces: Iterator[bytes], kind: str) -> ReplicaSets | None:
    """The segments of an ideal state or external view; None where the table has none.

    Raises:
        ValueError: this is not an object of segment, server and state.
    """
    names: list[pa.Array] = []
    numbers = array("i")
    known: dict[bytes, int] = {}
    there = False
    try:
        for piece in pieces:
            states = _raw_states(piece).get(kind)
            if states is None:
                continue
            there = True
            names.append(pa.array(list(states), pa.string()))
            numbers.extend([known.setdefault(bytes(raw), len(known)) for raw in states.values()])
        sets = tuple(_states(raw) for raw in known)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    return ReplicaSets(pa.chunked_array(names, pa.string()), numbers, sets) if there else None


@dataclass(slots=True)
class ServerPart:
    """A part of one server's answer to isStale: `segments` that are stale, each with the reason at the same place.

    `valid` and `error` are None in the parts that do not say.
    """

    segments: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    valid: bool | None = None
    error: str | None = None


class Validity:
    """Which servers gave a valid answer, as the parts of their answers say."""

    def __init__(self) -> None:
        self._valid: dict[str, bool | None] = {}
        self._errors: dict[str, str | None] = {}

    def add(self, server: str, part: ServerPart) -> None:
        """Note what a part says."""
        self._valid[server] = self._valid.get(server) if part.valid is None else part.valid
        self._errors[server] = part.error or self._errors.get(server)

    def answers(self) -> dict[str, ServerAnswer]:
        """The servers that answered, without their lists.

        Raises:
            ValueError: a server's answer does not say whether it is valid.
        """
        silent = sorted(server for server, said in self._valid.items() if said is None)
        if silent:
            raise ValueError(f"no validResponse of {', '.join(silent)}")
        return {
            server: ServerAnswer(bool(said), error=None if said else self._errors[server] or "validResponse is false")
            for server, said in self._valid.items()
        }


def answers_about(parts: Iterable[tuple[str, ServerPart]], segments: Collection[str] | None) -> dict[str, ServerAnswer]:
    """What each server says of these segments, or of all.

    Raises:
        ValueError: a server's answer does not say whether it is valid.
    """
    validity = Validity()
    stale: dict[str, dict[str, str]] = {}
    for server, part in parts:
        validity.add(server, part)
        listed = stale.setdefault(server, {})
        for segment, reason in zip(part.segments, part.reasons, strict=True):
            if segments is None or segment in segments:
                listed.setdefault(segment, reason)
    return {
        server: replace(answer, stale=stale[server] if answer.valid else {})
        for server, answer in validity.answers().items()
    }


class _Entry(msgspec.Struct, gc=False):
    segment: str = msgspec.field(name="segmentName")
    reason: str | None = None
    stale: bool | None = None


class _Answer(msgspec.Struct, gc=False):
    entries: list[_Entry] | msgspec.UnsetType | None = msgspec.field(name="staleSegmentList", default=msgspec.UNSET)
    valid: bool | None = msgspec.field(name="validResponse", default=None)
    error: str | None = msgspec.field(name="errorMessage", default=None)


_answers: Callable[[bytes], dict[str, _Answer]] = msgspec.json.Decoder(dict[str, _Answer]).decode


def server_parts(pieces: Iterator[bytes]) -> Iterator[tuple[str, ServerPart]]:
    """What servers answered to isStale, each server in one or several parts.

    Raises:
        ValueError: this is not an object of servers and their answers.
    """
    try:
        for piece in pieces:
            for server, answer in _answers(piece).items():
                yield server, _part(answer)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


def _part(answer: _Answer) -> ServerPart:
    if not isinstance(answer.entries, list):  # then it says nothing, whatever the rest of it says
        return ServerPart(valid=None if answer.valid is None else False, error=answer.error)
    stale = [entry for entry in answer.entries if entry.stale is not False]
    return ServerPart(
        segments=[entry.segment for entry in stale],
        reasons=[entry.reason or "no reason given" for entry in stale],
        valid=answer.valid,
        error=answer.error,
    )
