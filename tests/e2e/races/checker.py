"""What must hold at every moment, and the threads that look whether it does.

Objects. A segment's download URL resolves to an archive with all rows of one version, which is not older than the
newest whose push had ended before the look began, nor newer than the newest whose push had begun when the look ended.
Its CRC is ZooKeeper's, unless a push by somebody is under way or the object is marked as an unfinished push of ours
(then any later run can finish it).

Stamps. One that speaks of the object, by its ETag and the CRC, names the hash of a config and a schema that the table
has had, and the object is laid out as these want it.

Queries. Pinot replaces a segment on a server at one blow, each server in its own time, and says nothing of when: an
answer may be older than the last push, and two replicas may take turns with two versions. What can be asked for is:
- a segment's rows in an answer are of one version, all of them, each once;
- a server never goes back: it shows no older version than it has shown before, not after a restart either, since all
  that it can load is an object, or a copy of its own that ZooKeeper vouches for;
- so an answer over all servers shows no older version than the one that the most backward of them has shown;
- no version is shown whose push had not begun.
A query may fail only while servers come or go, or a segment is deleted. Only then, too, may a segment be missing.
"""

from __future__ import annotations

import random
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.e2e.kit import Sync
from tests.e2e.races.archive import Held, read_archive
from tests.e2e.races.events import Events
from tests.e2e.races.ledger import Between, Ledger
from tests.e2e.races.table import SEGMENTS, SUMS_SQL, TABLE, Layouts, Sums, rows_of

from deep_store_sync.errors import ObjectNotFoundError, PinotNotFoundError
from deep_store_sync.model import SegmentRecord
from deep_store_sync.stamp import Stamp, read_stamp
from deep_store_sync.store.object_info import ObjectInfo
from deep_store_sync.store.object_mark import read_mark
from pinot_sandbox import Sandbox
from pinot_sandbox.errors import SandboxError

Shown = tuple[int, Sums]
"""A version and the sums of its rows, as an answer has them."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong; `kind` is the promise that is broken."""

    kind: str
    seen: str


@dataclass(frozen=True, slots=True)
class Look:
    """A segment's object, read whole, between two looks at ZooKeeper that found the same CRC and custom map."""

    record: SegmentRecord
    object: ObjectInfo
    held: Held

    @property
    def stamp(self) -> Stamp:
        return read_stamp(self.record.custom, self.record.crc, self.object.etag)


def problem_of_rows(held: Held, segment: str, between: Between) -> Problem | None:
    """Whether an archive holds the rows that it should, whatever ZooKeeper says."""
    if held.segment != segment:
        return Problem("the object is another segment's", f"it holds {held.segment}")
    versions = sorted({version for _, version, _ in held.rows})
    if len(versions) != 1:
        return Problem("the object mixes versions", f"versions {versions}")
    (version,) = versions
    if held.rows != rows_of(segment, version):
        missing = set(rows_of(segment, version)) - set(held.rows)
        return Problem(
            "rows are lost", f"version {version} has {len(held.rows)} rows in the object, {len(missing)} are missing"
        )
    if not between.oldest <= version <= between.newest:
        return Problem(
            "the object is of an old version",
            f"it has version {version}; {between.oldest} was pushed, {between.newest} begun",
        )
    return None


def problem_of_crc(look: Look, between: Between) -> Problem | None:
    """Whether object and ZooKeeper fit, or somebody is sure to see to it that they will."""
    if look.held.crc == look.record.crc or between.pushing or between.deleted:
        return None
    mark = read_mark(look.object.metadata)
    if mark is not None and mark.unfinished(zookeeper_crc=look.record.crc or 0, object_crc=look.held.crc):
        return None
    return Problem(
        "object and ZooKeeper do not fit, and nobody will finish that",
        f"the object's CRC is {look.held.crc}, ZooKeeper's {look.record.crc}, and the mark {mark}",
    )


def problem_of_stamp(look: Look, layouts: Layouts) -> Problem | None:
    """Whether a stamp that speaks of the object is true of it."""
    hash_ = look.stamp.table_hash
    if hash_ is None:
        return None
    if look.held.crc != look.record.crc:
        return Problem("a stamp is untrue", f"the object's CRC is {look.held.crc}, the stamp's {look.record.crc}")
    wanted = layouts.wanted(hash_)
    if wanted is None:
        return Problem("a stamp is untrue", f"its hash {hash_} is of nothing that the table has ever been")
    if look.held.layout != wanted:
        return Problem("a stamp is untrue", f"the object is laid out as {look.held.layout}, the hash wants {wanted}")
    return None


def problem_of_answer(shown: Sequence[Shown], segment: str, between: Between, floor: int) -> Problem | None:
    """Whether an answer's rows of a segment are of one version, whole, not older than `floor`, and not unheard of."""
    if not shown:
        return None if between.deleted else Problem("a query misses a segment", "no row of it")
    if len(shown) > 1:
        return Problem("a query mixes versions", f"versions {[version for version, _ in shown]}")
    ((version, sums),) = shown
    if version < floor:
        return Problem("a query shows an old version", f"version {version}, after version {floor} was shown")
    if version > between.newest:
        return Problem("a query shows a version of nobody", f"version {version}, and {between.newest} was begun")
    if sums != Sums.of(rows_of(segment, version)):
        expected = Sums.of(rows_of(segment, version))
        return Problem("a query shows part of a version", f"version {version}: {sums} for {expected}")
    return None


def by_segment(answer: Sequence[Sequence[Any]]) -> dict[str, list[Shown]]:
    """The rows of `SUMS_SQL`."""
    shown: dict[str, list[Shown]] = {}
    for segment, version, *sums in answer:
        shown.setdefault(segment, []).append((int(version), Sums(*map(int, sums))))
    return shown


class Checker:
    """Looks, and has violations noted. `sync` is only read through: its clients, its settings."""

    def __init__(self, sandbox: Sandbox, sync: Sync, ledger: Ledger, layouts: Layouts, events: Events) -> None:
        self._sandbox = sandbox
        self._services = sync.services
        self._ledger = ledger
        self._layouts = layouts
        self._events = events
        self._floors: dict[tuple[str, str], int] = {}
        """By server and segment, the newest version that it has shown."""
        self._lock = threading.Lock()

    def threads(self, dice: Callable[[str], random.Random], stop: threading.Event) -> list[threading.Thread]:
        """One that looks at objects and stamps, one that asks all servers, and one for each server."""
        asked: list[str | None] = [None, *self._sandbox.servers]
        checks: dict[str, Callable[[], None]] = {"objects": lambda: self.check_objects(stop)}
        checks |= {f"queries of {server or 'all'}": lambda server=server: self.check_query(server) for server in asked}  # type: ignore[misc]
        return [
            threading.Thread(
                target=self._again_and_again, args=(name, check, dice(name), stop), name=f"checks {name}", daemon=True
            )
            for name, check in checks.items()
        ]

    def check_objects(self, stop: threading.Event | None = None) -> None:
        """Every segment's object and stamp, once."""
        for segment in SEGMENTS:
            if stop is not None and stop.is_set():
                return
            self.check_object(segment)

    def check_object(self, segment: str) -> None:
        before = self._ledger.look(segment)
        try:
            first = self._services.controller.segment(TABLE, segment)
            found = self._services.store.head(str(first.url))
            body = self._services.store.read(str(first.url))
            again = self._services.store.head(str(first.url))
            last = self._services.controller.segment(TABLE, segment)
        except (PinotNotFoundError, ObjectNotFoundError) as error:
            if not Between.looks(before, self._ledger.look(segment)).deleted:
                self._violate(Problem("a download URL resolves to nothing", str(error)), segment)
            return
        between = Between.looks(before, self._ledger.look(segment))
        try:
            held = read_archive(body)
        except Exception as error:
            self._violate(Problem("the object is no archive of a segment", repr(error)), segment)
            return
        self._events.count("checks of an object")
        self._violate(problem_of_rows(held, segment, between), segment)
        if found.etag != again.etag or (first.crc, first.custom) != (last.crc, last.custom):
            self._events.count("checks of a stamp that somebody came between")
            return
        look = Look(first, found, held)
        self._violate(problem_of_crc(look, between), segment)
        if look.stamp.table_hash:
            self._events.count("checks of a stamp")
            self._violate(problem_of_stamp(look, self._layouts), segment)

    def check_query(self, server: str | None) -> None:
        """One query of all segments, to one server or to all in turn."""
        if server is not None and not self._sandbox.is_running(server):
            return
        disturbances, disturbed = self._ledger.disturbances()
        looks = {segment: self._ledger.look(segment) for segment in SEGMENTS}
        floors = {segment: self.floor(server, segment) for segment in SEGMENTS}
        try:
            answer = self._sandbox.query(SUMS_SQL, server=server)
        except SandboxError as error:
            self._events.count("queries that failed")
            if not disturbed and self._ledger.disturbances() == (disturbances, False):
                self._violate(Problem("a query fails", str(error)), None)
            return
        self._events.count("checks of an answer" if server is None else "checks of a server's answer")
        self.judge_answer(by_segment(answer), server, looks=looks, floors=floors)

    def judge_answer(
        self,
        shown: Mapping[str, Sequence[Shown]],
        server: str | None,
        *,
        looks: Mapping[str, Any],
        floors: Mapping[str, int],
    ) -> None:
        """Hold an answer against what was known before the query, and remember what a server has shown."""
        for segment in SEGMENTS:
            between = Between.looks(looks[segment], self._ledger.look(segment))
            of_segment = shown.get(segment, ())
            who = f" (asked: {server or 'all'})"
            problem = problem_of_answer(of_segment, segment, between, floors[segment])
            if problem is not None:
                self._violate(Problem(problem.kind, problem.seen + who), segment)
            elif server is not None and of_segment:
                with self._lock:
                    key = server, segment
                    self._floors[key] = max(self._floors.get(key, 0), of_segment[0][0])

    def floor(self, server: str | None, segment: str) -> int:
        """The version below which a server cannot fall; of all servers, the lowest of theirs."""
        with self._lock:
            of = self._sandbox.servers if server is None else (server,)
            return min(self._floors.get((each, segment), 0) for each in of)

    def _violate(self, problem: Problem | None, segment: str | None) -> None:
        if problem is not None:
            self._events.violate(problem.kind, problem.seen, segment)

    def _again_and_again(
        self, name: str, check: Callable[[], None], dice: random.Random, stop: threading.Event
    ) -> None:
        while not stop.wait(dice.uniform(0, 0.8)):
            try:
                check()
            except Exception as error:
                last = "".join(traceback.format_exception(error)[-4:])
                self._events.violate(f"the checker of {name} died", f"{error!r}\n{last}")
                return
