"""Who races: ingestion, users, servers that come and go, runs of the sync. Each has a thread and dice of its own."""

from __future__ import annotations

import queue
import random
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from tests.e2e.kit import Sync
from tests.e2e.races.events import Events
from tests.e2e.races.ledger import Ledger
from tests.e2e.races.table import DAY_MS, SEGMENTS, START_MS, SWITCHES, TABLE, Layouts, ingested, schema, table_config
from tests.e2e.races.user import User

from deep_store_sync.model import DeferredBy, Outcome, SegmentOutcome
from pinot_sandbox import Sandbox

_TRIES = 200
_LONGEST_S = 90.0


@dataclass(frozen=True)
class Course:
    """What actors race on. `dice` gives the random numbers of each, by its name; `stop` tells them all to end."""

    sandbox: Sandbox
    user: User
    events: Events
    ledger: Ledger
    layouts: Layouts
    dice: Callable[[str], random.Random]
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(eq=False)
class Actor(ABC):
    """Acts again and again, with pauses, until it is told to stop. What it raises is a violation."""

    name: str
    on: Course
    dice: random.Random = field(init=False)
    thread: threading.Thread = field(init=False)
    pauses_s: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self) -> None:
        self.dice = self.on.dice(self.name)
        self.thread = threading.Thread(target=self._live, name=self.name, daemon=True)

    @abstractmethod
    def act(self) -> None:
        """One thing, to its end."""

    def note(self, what: str, segment: str | None = None) -> None:
        self.on.events.note(self.name, what, segment)

    def pause(self, low: float, high: float) -> None:
        time.sleep(self.dice.uniform(low, high))

    def let_runs_end(self, most: int) -> None:
        """Wait until up to so many runs have ended: a machine that is slow would see none come through otherwise."""
        events, deadline = self.on.events, time.monotonic() + _LONGEST_S
        wanted = events.counts["runs"] + self.dice.randint(0, most)
        while events.counts["runs"] < wanted and time.monotonic() < deadline and not self.on.stop.wait(0.1):
            pass

    def wait(self) -> bool:
        """Pause; returns whether it is time to stop."""
        return self.on.stop.wait(self.dice.uniform(*self.pauses_s))

    def _live(self) -> None:
        while not self.wait():
            try:
                self.act()
            except Exception as error:
                self.note(f"died of {error!r}")
                last = "".join(traceback.format_exception(error)[-4:])
                self.on.events.violate(f"{self.name} died", f"{error!r}\n{last}")
                return


@dataclass
class Archives:
    """What ingestion has built: by segment what was pushed last, by segment and version what is to be pushed next."""

    last: dict[str, Path] = field(default_factory=dict)
    ready: dict[tuple[str, int], Path] = field(default_factory=dict)


@dataclass(eq=False)
class Ingestion(Actor):
    """Pushes new versions of segments, and now and then the last one again, in each of the ways that there are.

    It has the next version of each segment at hand; `archives` are shared where several push. A segment whose name is
    put into `nudges` is pushed at once.
    """

    archives: Archives = field(default_factory=Archives)
    nudges: queue.Queue[str] = field(init=False, default_factory=queue.Queue)
    pauses_s = (0.5, 6.0)

    def wait(self) -> bool:
        # A queue cannot be waited for together with an event: a run that ends needs to be heard of soon, no more.
        deadline = time.monotonic() + self.dice.uniform(*self.pauses_s) * (4 if self.dice.random() < 0.4 else 1)
        while self.nudges.empty() and time.monotonic() < deadline:
            if self.on.stop.wait(0.05):
                return True
        return self.on.stop.is_set()

    def act(self) -> None:
        in_place = 0.4
        try:
            segment, in_place = self.nudges.get_nowait(), 0.7
            self.on.events.count("pushes while a run writes the object")
        except queue.Empty:
            segment = self.dice.choice(SEGMENTS)
        ledger = self.on.ledger
        with ledger.of(segment):
            self.push(segment, in_place=in_place)
        for segment in SEGMENTS:
            if ledger.of(segment).acquire(blocking=False):
                try:
                    self.build(segment, ledger.look(segment).begun + 1)
                finally:
                    ledger.of(segment).release()

    def push(self, segment: str, *, in_place: float = 0.0) -> None:
        """Push a version to its end. `in_place` is the chance of a push in place, of a segment that is there."""
        user, events = self.on.user, self.on.events
        again = segment in self.archives.last and self.dice.random() < 0.15
        protected = self.dice.random() < 0.5
        writes = self.dice.random() < in_place
        with self.on.ledger.push(segment, again=again) as version:
            how = f"version {version}{' again' if again else ''}, {'in place' if writes else 'tar'}, " + (
                "protected" if protected else "unprotected"
            )
            if not again:
                self.archives.last[segment] = self.build(segment, version)
                del self.archives.ready[segment, version]
            archive = self.archives.last[segment]
            self.note(f"begins to push {how}", segment)
            if writes:
                user.put(segment, archive)
                self.note("has written the object", segment)
                self.pause(0, self.dice.choice((0.2, 1.5, 6.0)))
            for _ in range(_TRIES):
                if writes:
                    refusal = user.push_in_place(segment, archive, protected=protected)
                else:
                    refusal = user.push(archive, protected=protected)
                if refusal is None:
                    break
                # As ingestion jobs do, without the object once more: whoever was in the way is gone in a moment.
                self.note(f"pushes once more, after {refusal}", segment)
                events.count("pushes tried again")
                self.pause(0.05, 0.5)
            else:
                raise AssertionError(f"{segment} cannot be pushed: {refusal}")
        self.note(f"has pushed {how}", segment)
        events.count("pushes")

    def build(self, segment: str, version: int) -> Path:
        """The archive of a version, unless it is there: with the table's indexes of now, or with none, as of a job that
        has not heard of them.
        """
        if archive := self.archives.ready.get((segment, version)):
            return archive
        sandbox = self.on.sandbox
        if self.dice.random() < 0.5:
            config, known = sandbox.table_config(TABLE), sandbox.schema(TABLE)
        else:
            config, known = table_config(frozenset()), schema(0)
        rows = {segment: ingested(segment, version)}
        (archive,) = sandbox.build_segments(rows, table_config=config, schema=known)
        self.archives.ready[segment, version] = archive
        return archive


@dataclass(eq=False)
class Deletion(Actor):
    """Deletes a segment, waits until nothing is left of it, and has its `owner` push it again."""

    owner: Ingestion
    pauses_s = (10.0, 40.0)

    def act(self) -> None:
        user, ledger, segment = self.on.user, self.on.ledger, self.dice.choice(SEGMENTS)
        with ledger.of(segment), ledger.servers, ledger.deletion(segment), ledger.disturbance():
            for_good = self.dice.random() < 0.7
            self.note(f"deletes it{' for good' if for_good else ''}", segment)
            refusal = user.delete(segment, for_good=for_good)
            assert refusal is None, refusal
            _wait(lambda: not user.has_record(segment) and not user.has_object(segment), "deleted")
            self.note("nothing is left of it", segment)
            self.pause(0, 2)
            self.owner.push(segment)
            self.on.sandbox.wait_until_loaded(TABLE, timeout_s=120)
        self.note("servers have it again", segment)
        self.on.events.count("deletions")


class Reloads(Actor):
    """A user who reloads, without waiting for the end."""

    pauses_s = (3.0, 20.0)

    def act(self) -> None:
        segment = self.dice.choice((None, *SEGMENTS))
        force = self.dice.random() < 0.3
        refusal = self.on.user.reload(segment, force_download=force)
        what = f"reloads {segment or 'the table'}{' with a forced download' if force else ''}"
        # It is refused of a segment that is deleted just now, say.
        self.note(what if refusal is None else f"{what}, and is refused: {refusal}", segment)
        self.on.events.count("reloads")
        if self.dice.random() < 0.3:
            self.let_runs_end(2)


@dataclass(eq=False)
class Edits(Actor):
    """Switches indexes and encodings on and off, and adds columns, up to `columns` of them."""

    pauses_s = (0.0, 15.0)
    columns: ClassVar[int] = 8
    _switched_on: frozenset[str] = field(init=False, default=frozenset())
    _added: int = field(init=False, default=0)

    def act(self) -> None:
        sandbox, layouts = self.on.sandbox, self.on.layouts
        if self._added < self.columns and self.dice.random() < 0.15:
            self._added += 1
            known = schema(self._added)
            layouts.add(sandbox.table_config(TABLE), known)
            sandbox.update_schema(known)
            self.note(f"adds column {self._added} to the schema")
        else:
            self._switched_on ^= {self.dice.choice(sorted(SWITCHES))}
            config = table_config(self._switched_on)
            layouts.add(config, sandbox.schema(TABLE))
            sandbox.update_table_config(config)
            self.note(f"sets the table config to {', '.join(sorted(self._switched_on)) or 'no index'}")
        layouts.add(sandbox.table_config(TABLE), sandbox.schema(TABLE))
        self.on.events.count("edits")
        self.let_runs_end(16)


class Outages(Actor):
    """Takes a server down and brings it back, on its disk or on an empty one."""

    pauses_s = (10.0, 40.0)

    def act(self) -> None:
        sandbox, ledger = self.on.sandbox, self.on.ledger
        server, wipe = self.dice.choice(sandbox.servers), self.dice.random() < 0.3
        with ledger.servers, ledger.disturbance():
            self.note(f"stops {server}")
            sandbox.stop_server(server)
            self.pause(0.5, 8)
            self.note(f"starts {server}{' on an empty disk' if wipe else ''}")
            sandbox.start_server(server, wipe=wipe, timeout_s=120)
        self.note(f"{server} has all its segments")
        self.on.events.count("outages")


@dataclass(eq=False)
class Runs(Actor):
    """Runs of the sync of one kind. Several of these run at the same time, as Airflow would never let them."""

    sync: Sync
    kind: str
    pauses_s = (0.0, 3.0)
    _number: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.dice = self.on.dice(self.kind)

    def act(self) -> None:
        self._number += 1
        run_id = f"{self.kind}__{self.name}-{self._number}"
        request: dict[str, object] = {}
        if self.kind == "manual":
            request["force"] = True
            if self.dice.random() < 0.3:
                request["segments"] = tuple(self.dice.sample(SEGMENTS, 2))
        elif self.kind == "backfill":
            first = self.dice.randrange(len(SEGMENTS))
            days = self.dice.randrange(1, len(SEGMENTS))
            request |= {"force": True, "interval": (START_MS + first * DAY_MS, START_MS + (first + days) * DAY_MS)}
        self.note(f"begins run {run_id}")
        rows = self.sync.run(run_id=run_id, between=lambda: self.pause(0, 1), **request)
        self.note(f"ends run {run_id}: {', '.join(f'{row.segment} {row.outcome}' for row in rows.values())}")
        self.on.events.count("runs")
        self.on.events.count(f"runs, {self.kind}")
        for row in rows.values():
            self._count(row)

    def _count(self, row: SegmentOutcome) -> None:
        why = f" ({row.deferred_by})" if isinstance(row.deferred_by, DeferredBy) else ""
        mode = f" ({row.mode})" if row.mode and row.outcome is Outcome.SYNCED else ""
        self.on.events.count(f"outcome {row.outcome}{mode}{why}")
        if row.outcome in (Outcome.FAILED, Outcome.INCURABLE, Outcome.NOT_ELIGIBLE):
            self.note(f"{row.outcome}: {row.message}", row.segment)


def _wait(done: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise AssertionError(f"not {what} after {timeout_s:.0f} s")
        time.sleep(0.1)
