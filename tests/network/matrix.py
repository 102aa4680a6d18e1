"""Which fault befalls which call: a segment of its own for each of them, so that one run goes through all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from tests.network.faults import (
    LATENCY,
    RESET_ANSWER,
    RESET_REQUEST,
    SILENT_ANSWER,
    SILENT_REQUEST,
    SLOW_CLOSE,
    Fault,
    cut_answer,
    cut_request,
    stalled_answer,
)
from tests.network.faulty_sync import Call

# In the middle of a request line or of the headers of an answer, and of a body: segments are larger than this, the
# archive of a push and the record of a segment are not.
IN_HEADERS, IN_BODY, IN_SMALL_BODY = 60, 3000, 1300


class Done(IntEnum):
    """How far a segment is."""

    NOTHING = 0
    OBJECT = 1
    """The object is the rebuilt one."""
    ZOOKEEPER = 2
    """And ZooKeeper knows."""


@dataclass(frozen=True, slots=True)
class Point:
    """A call for a segment in a step.

    `before` is how far the segment is before the call, `after` how far it is when the request has arrived. With `only`
    the call is meant that comes after that one. With `unread`, the call that reads the outcome back fails as well.
    """

    name: str
    step: str
    call: str
    before: Done = Done.NOTHING
    after: Done = Done.NOTHING
    only: str = ""
    unread: str = ""
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A point and the fault there, in each try, or in the first one alone."""

    point: Point
    fault: Fault
    once: bool = False

    @property
    def segment(self) -> str:
        return f"{self.point.name}.{self.fault}{'.once' if self.once else ''}"

    @property
    def cured(self) -> bool:
        """Whether the run gets over it."""
        if self.fault.answered or self.once:
            return True
        changes = self.point.after > self.point.before
        return changes and self.fault.arrives and not self.point.unread

    @property
    def done(self) -> Done:
        """How far the segment is after the run."""
        if self.cured:
            return Done.ZOOKEEPER
        return self.point.after if self.fault.arrives else self.point.before


_OBJECT, _ZOOKEEPER = Done.OBJECT, Done.ZOOKEEPER
_HEAD, _RECORD, _PUSH = "HeadObject segment", "GET record", "POST push"

HEAD = Point("head", "rebuild", _HEAD)
DOWNLOAD = Point("download", "rebuild", "GetObject segment")
STAGE = Point("stage", "rebuild", "PutObject staged")
LOOK = Point("look", "upload", _HEAD)
ASK = Point("ask", "upload", _RECORD)
BACKUP = Point("backup", "upload", "CopyObject backup")
NOTE = Point("note", "upload", "PutObject note")
FETCH = Point("fetch", "upload", "GetObject staged")
GRANTS = Point("grants", "upload", "GetObjectAcl segment")
OVERWRITE = Point("overwrite", "upload", "PutObject segment", after=_OBJECT)
OVERWRITE_UNREAD = Point("overwrite_unread", "upload", "PutObject segment", after=_OBJECT, unread=_HEAD)
PUSH = Point("push", "upload", _PUSH, before=_OBJECT, after=_ZOOKEEPER)
PUSH_UNREAD = Point("push_unread", "upload", _PUSH, before=_OBJECT, after=_ZOOKEEPER, unread=_RECORD)
BEGIN = Point("begin", "upload", "CreateMultipartUpload segment")
COPY = Point("copy", "upload", "UploadPartCopy segment")
_COMPLETE = "CompleteMultipartUpload segment"
COMPLETE = Point("complete", "upload", _COMPLETE, after=_OBJECT)
COMPLETE_UNREAD = Point("complete_unread", "upload", _COMPLETE, after=_OBJECT, unread=_HEAD)
COPIED = Point("copied", "upload", _HEAD, before=_OBJECT, after=_OBJECT, only=_COMPLETE)
CONFIRM = Point("confirm", "upload", _HEAD, before=_ZOOKEEPER, after=_ZOOKEEPER, only=_PUSH)
STAMP_ASK = Point("stamp_ask", "stamp", _RECORD, before=_OBJECT, after=_OBJECT, quiet=True)
STAMP_LOOK = Point("stamp_look", "stamp", _HEAD, before=_OBJECT, after=_OBJECT, quiet=True)
STAMP = Point("stamp", "stamp", _PUSH, before=_OBJECT, after=_ZOOKEEPER, quiet=True)
STAMP_CONFIRM = Point("stamp_confirm", "stamp", _HEAD, before=_ZOOKEEPER, after=_ZOOKEEPER, only=_PUSH, quiet=True)


def _cells() -> list[Cell]:
    cells: list[Cell] = []

    def add(point: Point, *faults: Fault, once: bool = False) -> None:
        cells.extend(Cell(point, fault, once) for fault in faults)

    for point in (HEAD, LOOK, CONFIRM, STAMP_LOOK, STAMP_CONFIRM, ASK, STAMP_ASK):
        add(point, RESET_ANSWER, cut_answer(IN_HEADERS))
    for point in (DOWNLOAD, FETCH):
        add(point, RESET_ANSWER, cut_answer(IN_BODY))
    for point in (DOWNLOAD, ASK, GRANTS):
        add(point, cut_request(IN_HEADERS), SILENT_ANSWER)
    add(GRANTS, RESET_ANSWER)
    add(CONFIRM, SILENT_ANSWER)
    for point, in_request in ((STAGE, IN_BODY), (OVERWRITE, IN_BODY), (PUSH, IN_SMALL_BODY), (STAMP, IN_SMALL_BODY)):
        add(point, RESET_REQUEST, RESET_ANSWER, SILENT_ANSWER, cut_request(in_request), cut_answer(IN_HEADERS))
    for point in (STAGE, OVERWRITE, PUSH):
        add(point, SILENT_REQUEST)
    for point in (BACKUP, NOTE):
        add(point, RESET_ANSWER, cut_request(IN_HEADERS))
    for point in (OVERWRITE_UNREAD, PUSH_UNREAD):
        add(point, RESET_REQUEST, RESET_ANSWER, SILENT_ANSWER, cut_answer(IN_HEADERS))
    for point in (DOWNLOAD, STAGE, OVERWRITE, PUSH):
        add(point, LATENCY, SLOW_CLOSE)
    add(DOWNLOAD, stalled_answer(IN_BODY))
    add(OVERWRITE, stalled_answer(IN_HEADERS))
    add(PUSH, stalled_answer(IN_HEADERS))
    add(DOWNLOAD, cut_answer(IN_BODY), once=True)
    add(STAGE, cut_request(IN_BODY), once=True)
    for point in (OVERWRITE, PUSH):
        add(point, RESET_REQUEST, RESET_ANSWER, SILENT_ANSWER, once=True)
    return cells


CELLS = {cell.segment: cell for cell in _cells()}
"""Of runs that stream archives to the deep store."""

COPY_CELLS = {
    cell.segment: cell
    for cell in (
        Cell(BEGIN, RESET_ANSWER),
        Cell(COPY, RESET_ANSWER),
        Cell(COPY, cut_answer(IN_HEADERS)),
        *(Cell(COMPLETE, fault) for fault in (RESET_REQUEST, RESET_ANSWER, SILENT_ANSWER, cut_answer(IN_HEADERS))),
        *(Cell(COMPLETE_UNREAD, fault) for fault in (RESET_REQUEST, RESET_ANSWER)),
        *(Cell(COMPLETE, fault, once=True) for fault in (RESET_REQUEST, SILENT_ANSWER)),
        Cell(COPIED, RESET_ANSWER),
    )
}
"""Of runs that copy archives inside the store."""


def befalls(cell: Cell, call: str, earlier: Sequence[Call], step: str) -> bool:
    """Whether the fault of a cell befalls this call, after the calls that were made for the segment before."""
    point = cell.point
    if step != point.step or (cell.once and any(made.fault for made in earlier)):
        return False
    made = {made.name for made in earlier if made.step == step}
    if call == point.call:
        return not point.only or point.only in made
    return call == point.unread and point.call in made
