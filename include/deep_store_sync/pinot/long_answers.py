"""Long answers as a series of short ones: a controller's JSON about a million segments is never held as a whole.

An answer is cut between two entries. What is before the cut is closed, and what comes after it is opened again as the
whole was, so that each piece is a JSON document of the same shape, with a part of the entries. In JSON a quote inside
a string is escaped, so that a pattern with quotes in it finds the structure and not what a string says; should a cut
be wrong all the same, the piece is no JSON, and that is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

PIECE = 1024**2
"""Bytes of a piece, about. Python's objects for one take some ten times that, for a moment."""

_LONGEST_ENTRY = 64 * PIECE
_TAIL = 64 * 1024
_SHOWN = 200

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_MAP = re.compile(rb"\s*\{(?=\s*" + _STRING + rb"\s*:\s*\{)")
# {"OFFLINE": {…}, "REALTIME": null}, in any order: what is null before it is left out.
_MAP_BELOW = re.compile(rb"\s*(\{)(?:\s*" + _STRING + rb"\s*:\s*null\s*,)*(\s*" + _STRING + rb"\s*:\s*\{)")
_NEXT_ENTRY = re.compile(rb"\}(\s*,\s*)" + _STRING + rb"\s*:\s*\{")
_NEXT_ITEM = re.compile(rb'\}(\s*,\s*)\{\s*"(?:segmentName|reason|stale)"\s*:')
_LIST = re.compile(rb'"staleSegmentList"\s*:\s*\[')
_OWNER = re.compile(rb"(" + _STRING + rb")\s*:\s*\{(?:[^{}\"]|" + _STRING + rb")*\Z")


class Seen:
    """What went by of an answer, for an error message about it: its size, and how it begins."""

    def __init__(self) -> None:
        self.size = 0
        self.beginning = b""

    def watch(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The same blocks."""
        self.size, self.beginning = 0, b""
        for block in blocks:
            if len(self.beginning) < _SHOWN:
                self.beginning += block[:_SHOWN]
            self.size += len(block)
            yield block


def entries(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces of an object of objects (`{"segment": {"field": "value"}}`)."""
    return _cut_maps(blocks, _MAP, b"}")


def entries_below(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces of an object of objects that is itself a member (`{"OFFLINE": {"segment": {"server": "state"}}}`)."""
    return _cut_maps(blocks, _MAP_BELOW, b"}}")


def listed(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces of the answer to isStale (`{"server": {"staleSegmentList": [{…}], "validResponse": true}}`).

    A server whose list is cut is in several pieces, each with a part of the list; its other members are in one of them.
    """
    rest = opening = b""
    for block in _gathered(blocks):
        rest = _bounded(rest, block)
        if cut := _last(_NEXT_ITEM, rest):
            yield opening + rest[: cut.start() + 1] + b"]}}"
            opening = _opened(rest, cut.start()) or opening
            rest = rest[cut.end(1) :]
    yield opening + rest


def _opened(text: bytes, end: int) -> bytes | None:
    """What opens the last list that begins before `end`; None where none does."""
    start = text.rfind(b'"staleSegmentList"', 0, end)
    while start >= 0 and not _LIST.match(text, start, end):
        start = text.rfind(b'"staleSegmentList"', 0, start)
    if start < 0:
        return None
    owner = _OWNER.search(text, max(0, start - _TAIL), start)
    if owner is None:
        raise ValueError("a list of stale segments that is no server's")
    return b"{" + owner[1] + b':{"staleSegmentList":['


def _cut_maps(blocks: Iterable[bytes], start: re.Pattern[bytes], closing: bytes) -> Iterator[bytes]:
    rest = b""
    opening: bytes | None = None
    for block in _gathered(blocks):
        rest = _bounded(rest, block)
        if opening is None:
            found = start.match(rest)
            if found is None:  # empty, or something else: the reader of the piece will say what
                continue
            opening = b"".join(found.groups()) or b"{"
            rest = rest[found.end() :]
        if cut := _last(_NEXT_ENTRY, rest):
            yield opening + rest[: cut.start() + 1] + closing
            rest = rest[cut.end(1) :]
    yield (opening or b"") + rest


def _gathered(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of PIECE at least, the last one excepted."""
    parts: list[bytes] = []
    size = 0
    for block in blocks:
        parts.append(block)
        size += len(block)
        if size >= PIECE:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join(parts)


def _bounded(rest: bytes, block: bytes) -> bytes:
    if len(rest) > _LONGEST_ENTRY:
        raise ValueError(f"an entry of more than {_LONGEST_ENTRY} bytes")
    return rest + block


def _last(pattern: re.Pattern[bytes], text: bytes) -> re.Match[bytes] | None:
    """The last match, which is looked for from the end."""
    size = _TAIL
    while True:
        start = max(0, len(text) - size)
        found = None
        for match in pattern.finditer(text, start):
            found = match
        if found or not start:
            return found
        size *= 8
