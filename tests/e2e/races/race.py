"""A race: actors and checker against one small table for some time, then quiet, a last run, and the full check."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from tests.e2e.kit import LOG, Sync, outcomes
from tests.e2e.races.actors import Actor, Course, Deletion, Edits, Ingestion, Outages, Reloads, Runs
from tests.e2e.races.archive import read_archive
from tests.e2e.races.checker import Checker, by_segment
from tests.e2e.races.events import EventHandler, Events
from tests.e2e.races.ledger import Ledger
from tests.e2e.races.pauses import Pauses, PausingTransport
from tests.e2e.races.table import SEGMENTS, SUMS_SQL, TABLE, Layouts, Sums, rows_of, schema, table_config
from tests.e2e.races.user import User

from deep_store_sync.model import Outcome, PublishMode, SegmentOutcome, StampState
from deep_store_sync.pinot.activity import find_activity
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.services import Services
from deep_store_sync.settings import EngineSettings
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.upkeep.verify_table import summary, verify_table
from pinot_sandbox import Sandbox

_DONE = {Outcome.SYNCED, Outcome.STAMPED, Outcome.SKIPPED}
_JOIN_S = 240.0
_RELOAD_S = 15


@dataclass
class Race:
    """One race on a sandbox. All that is chosen at random comes from the seed; each actor has its own child of it.

    The seed repeats the choices; what comes between what is up to the machine, and differs from run to run.
    """

    sandbox: Sandbox
    sync: Sync
    seed: int
    seconds: float
    events: Events = field(default_factory=Events)
    ledger: Ledger = field(default_factory=Ledger)
    layouts: Layouts = field(default_factory=Layouts)

    def __post_init__(self) -> None:
        # A server that was down when a reload's message came never answers for it, and Pinot waits for ever.
        self.sync = self.sync.with_settings(reload_give_up_after=timedelta(seconds=_RELOAD_S))

    def run(self) -> None:
        """The whole of it. Violations are in `events`."""
        with ExitStack() as stack:
            handler = EventHandler(self.events)
            LOG.addHandler(handler)
            stack.callback(LOG.removeHandler, handler)
            stack.callback(LOG.setLevel, LOG.level)
            LOG.setLevel(logging.INFO)
            course = self.course(stack.enter_context(User(self.sandbox)))
            checker = Checker(self.sandbox, self.sync, self.ledger, self.layouts, self.events)
            stop_checks = threading.Event()
            ingestion = Ingestion("ingestion", course)
            self.load(ingestion)
            actors = [ingestion, *(stack.enter_context(self.others(ingestion)))]
            checks = checker.threads(self.dice, stop_checks)
            for thread in [*(actor.thread for actor in actors), *checks]:
                thread.start()
            course.stop.wait(self.seconds)
            self.events.note("race", "is over: actors come to an end")
            course.stop.set()
            self.join([actor.thread for actor in actors])
            with self.noted("after the race"):
                self.wait_for_quiet()
            stop_checks.set()
            self.join(checks)
            with self.noted("after the race"):
                self.finish(checker)

    def dice(self, name: str) -> random.Random:
        """The random numbers of an actor."""
        return random.Random(f"{self.seed} {name}")

    def course(self, user: User) -> Course:
        """What its actors race on."""
        return Course(self.sandbox, user, self.events, self.ledger, self.layouts, self.dice)

    def load(self, ingestion: Ingestion) -> None:
        """Make the table, and push every segment once."""
        config, known = table_config(frozenset()), schema(0)
        self.sandbox.create_table(config, known)
        self.layouts.add(self.sandbox.table_config(TABLE), self.sandbox.schema(TABLE))
        for segment in SEGMENTS:
            ingestion.push(segment)
        self.sandbox.wait_until_loaded(TABLE)
        self.sandbox.reset_downloads()

    @contextmanager
    def others(self, ingestion: Ingestion) -> Iterator[list[Actor]]:
        """All actors but the first. Each kind of run has clients of its own, slowed down at random."""
        sandbox, course = self.sandbox, ingestion.on
        actors: list[Actor] = [
            Deletion("deletion", course, Ingestion("ingestion after a deletion", course, ingestion.archives)),
            Reloads("reloads", course),
            Edits("edits", course),
            Outages("outages", course),
        ]
        with ExitStack() as stack:
            for kind in ("scheduled", "manual", "backfill"):
                pauses = Pauses(self.dice(f"pauses of {kind}"), ingestion.nudges.put)
                client = pauses.slow_down(sandbox.s3.client())
                stack.callback(client.close)
                controller = stack.enter_context(
                    ControllerClient(sandbox.controller_url, transport=PausingTransport(pauses))
                )
                settings = self.sync.settings.model_copy(
                    update={
                        "engine": EngineSettings(jars=sandbox.jars_dir, heap=256 * 1024**2, parallel_segments=1),
                        "wave_segments": 2,
                        "proof_timeout": timedelta(seconds=10),
                    }
                )
                services = Services(controller, self.sync.services.servers, DeepStore(client), settings)
                sync = Sync(sandbox, self.sync.workspace, settings, services, table=TABLE)
                actors.append(Runs(f"{kind} runs", course, sync, kind))
            yield actors

    def join(self, threads: list[threading.Thread]) -> None:
        for thread in threads:
            thread.join(_JOIN_S)
            if thread.is_alive():
                self.events.violate("a thread does not end", f"{thread.name} is still at work after {_JOIN_S:.0f} s")

    @contextmanager
    def noted(self, when: str) -> Iterator[None]:
        """What is wrong in here is a violation, and no reason to forget the others."""
        try:
            yield
        except Exception as error:
            self.events.violate(when, f"{type(error).__name__}: {error}")

    def wait_for_quiet(self) -> None:
        """All servers up, every segment loaded, and nothing at work on the table."""
        for server in self.sandbox.servers:
            if not self.sandbox.is_running(server):
                self.sandbox.start_server(server, timeout_s=120)
        self.sandbox.wait_until_loaded(TABLE, timeout_s=120)
        while (report := find_activity(self.sync.services.controller, TABLE, give_up_after_ms=_RELOAD_S * 1000)).active:
            time.sleep(0.5)
        self.events.count("reloads that never ended", len(report.given_up))
        self.events.note("race", f"is quiet: {report.lines()}")

    def finish(self, checker: Checker) -> None:
        """A last run brings everything in sync; a second one has nothing to do; and everything is as it was pushed."""
        self.count_downloads()
        rows = self.sync.run(force=True, run_id="manual__the last")
        self.events.note("race", f"the last run: { {row.segment: str(row.outcome) for row in rows.values()} }")
        bad = [f"{row.segment} {row.outcome}: {row.message}" for row in rows.values() if row.outcome not in _DONE]
        assert not bad, f"the last run: {bad}"
        assert set(rows) == set(SEGMENTS)
        self.check_downloads(rows)
        checker.check_objects()
        check = verify_table(self.sync.services, log=LOG)
        assert check.true, f"verify: {summary(check)}: {check.segments}"
        assert {row.stamp for row in check.segments} == {StampState.CURRENT}, f"verify: {check.segments}"
        self.check_newest("at the end")

        self.sandbox.reset_downloads()
        before = self.sync.look()
        again = self.sync.run(force=True, run_id="manual__once more")
        assert outcomes(again) == {Outcome.SKIPPED}, f"a run that has nothing to do: {again}"
        assert self.sync.look() == before, "a run that had nothing to do wrote something"
        assert not any(self.sync.downloads().values()), f"a run that had nothing to do: {self.sync.downloads()}"

        for server in self.sandbox.servers:
            self.sandbox.restart_server(server, wipe=True)
        self.check_newest("on empty disks")
        stale = self.sync.services.controller.stale(TABLE)
        assert not any(answer.stale for answer in stale.values()), f"servers on empty disks are stale: {stale}"

    def check_newest(self, when: str) -> None:
        """Objects and every server have all rows of what was pushed last."""
        newest = {segment: self.ledger.look(segment).pushed for segment in SEGMENTS}
        for record in self.sync.services.controller.segments(TABLE):
            held = read_archive(self.sync.services.store.read(str(record.url)))
            assert held.rows == rows_of(record.name, newest[record.name]), f"{when}: the object of {record.name}"
        for server in self.sandbox.servers:
            shown = by_segment(self.sandbox.query(SUMS_SQL, server=server))
            wanted = {segment: [(version, Sums.of(rows_of(segment, version)))] for segment, version in newest.items()}
            assert shown == wanted, f"{when}: {server} shows {shown}, and not {wanted}"

    def count_downloads(self) -> None:
        """Every download of the race had a cause: a push, a refresh, a forced download, a server that started."""
        self.events.count("server downloads in the race", sum(self.sync.downloads().values()))
        self.sandbox.reset_downloads()

    def check_downloads(self, rows: dict[str, SegmentOutcome]) -> None:
        """In the last run, each replica downloads what was refreshed, or forced on it, once, and nothing else."""
        counts = self.sandbox.downloads(TABLE)
        for row in rows.values():
            asked_for = 1 if row.mode is PublishMode.REFRESH or row.downloads else 0
            found = {server: counts[server][row.segment].count for server in counts if row.segment in counts[server]}
            assert found == ({} if not asked_for else dict.fromkeys(counts, 1)), (
                f"the last run: {row.segment} {row.outcome} ({row.mode}), downloaded {found}"
            )

    def summary(self) -> str:
        """Seed, what was done, what was checked, what was wrong."""
        return f"{self.events.summary()}\nraces: seed {self.seed}, {self.seconds:.0f} s"
