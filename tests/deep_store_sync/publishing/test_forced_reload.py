"""Making servers take a segment, where the reload job's own word is not to be trusted: clocks differ."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, cast

import pytest

from deep_store_sync.errors import PinotAnswerError, PinotError, PinotUnavailableError
from deep_store_sync.model import Action, PlannedSegment, ServerAnswer, Servers, StampState
from deep_store_sync.pinot.reload_job import ReloadStatus
from deep_store_sync.publishing.forced_reload import Taken, make_servers_take
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync

LOG = logging.getLogger("tests.forced_reload")
TABLE = "t_OFFLINE"
CLEAN = {"a": ServerAnswer(True), "b": ServerAnswer(True)}
STALE = {"a": ServerAnswer(True, {"s": "index added"}), "b": ServerAnswer(True)}
COMPLETED, RUNNING = ReloadStatus("COMPLETED", 2, 2), ReloadStatus("IN_PROGRESS", 2, 1)
TIMEOUT_S = 100


class FakeController:
    """A controller and its servers over time, in seconds: what the job says, and what `isStale` does."""

    def __init__(
        self, status: Callable[[float], ReloadStatus], answers: Callable[[float], Mapping[str, ServerAnswer]]
    ) -> None:
        self._status, self._answers = status, answers
        self.now = 0.0
        self.looks = 0

    def reload(self, table: str, segment: str, *, force_download: bool) -> str:
        assert (table, force_download) == (TABLE, True)
        return f"job of {segment}"

    def reload_status(self, job: str) -> ReloadStatus:
        return self._status(self.now)

    def stale(self, table: str, segments: Collection[str]) -> Mapping[str, ServerAnswer]:
        assert (table, segments) == (TABLE, {"s"})
        self.looks += 1
        return self._answers(self.now)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def take(self) -> Taken:
        settings = TableSync(
            table=TABLE, deep_store_prefixes=("s3://b/d",), workspace="s3://b/w", proof_timeout=timedelta(seconds=100)
        )
        services = Services(cast(Any, self), cast(Any, None), cast(Any, None), settings)
        row = PlannedSegment("s", Action.RELOAD, "", "v1:0", Servers.STALE, StampState.CURRENT, replicas=("a", "b"))
        taken = make_servers_take(
            services,
            TABLE,
            [row],
            log=LOG,
            overrides_by_tier={"s": False},
            sleep=self.sleep,
            clock=lambda: self.now,
        )
        return taken["s"]


def after(seconds: float, then: Any, before: Any) -> Callable[[float], Any]:
    return lambda now: then if now >= seconds else before


def test_a_reload_that_does_what_it_should() -> None:
    fake = FakeController(after(5, COMPLETED, RUNNING), after(5, CLEAN, STALE))
    assert fake.take().servers is Servers.CLEAN
    assert fake.now < 10


def test_a_server_whose_clock_is_ahead_calls_a_job_complete_that_it_has_not_begun() -> None:
    """Which makes nothing incurable: servers are given the time that they need."""
    fake = FakeController(after(0, COMPLETED, RUNNING), after(60, CLEAN, STALE))
    taken = fake.take()
    assert (taken.servers, taken.failure) == (Servers.CLEAN, None)
    assert fake.looks < 12


def test_a_server_whose_clock_is_behind_never_calls_it_complete() -> None:
    """Which is no failure, if servers have the segment as it should be."""
    fake = FakeController(after(1000, COMPLETED, RUNNING), after(5, CLEAN, STALE))
    taken = fake.take()
    assert (taken.servers, taken.failure) == (Servers.CLEAN, None)
    assert fake.looks == 1


def test_what_stays_stale_after_a_reload_that_ended_is_not_cured_by_reloading() -> None:
    fake = FakeController(after(5, COMPLETED, RUNNING), after(1000, CLEAN, STALE))
    taken = fake.take()
    assert (taken.servers, taken.servers_say, taken.failure) == (Servers.STALE, "index added", None)
    assert fake.now >= TIMEOUT_S


@pytest.mark.parametrize("answers", [STALE, {"b": ServerAnswer(True)}, {}])
def test_a_reload_that_never_ends(answers: Mapping[str, ServerAnswer]) -> None:
    taken = FakeController(after(1000, COMPLETED, RUNNING), after(1000, CLEAN, answers)).take()
    assert "has not ended within proofTimeout" in str(taken.failure)


def test_a_reload_that_fails_on_a_server() -> None:
    fake = FakeController(after(5, ReloadStatus("COMPLETED_WITH_ERRORS", 2, 1, 1), RUNNING), after(1000, CLEAN, STALE))
    assert "failed on a server" in str(fake.take().failure)
    assert fake.now < 10


def test_a_replica_that_does_not_answer_leaves_a_doubt() -> None:
    partly = {"a": ServerAnswer(True, {"s": "index added"})}
    fake = FakeController(after(5, COMPLETED, RUNNING), after(1000, CLEAN, partly))
    assert "not every replica answered" in str(fake.take().failure)


class FakeSilentController(FakeController):
    """It gives no answer on `isStale` before a time."""

    until = 0.0
    error: PinotError = PinotUnavailableError("no answer")

    def stale(self, table: str, segments: Collection[str]) -> Mapping[str, ServerAnswer]:
        answers = super().stale(table, segments)
        if self.now < self.until:
            raise self.error
        return answers


@pytest.mark.parametrize("error", [PinotUnavailableError("no answer"), PinotAnswerError("a proxy's page")])
def test_a_controller_that_does_not_tell_for_a_while_is_asked_again(error: PinotError) -> None:
    fake = FakeSilentController(after(5, COMPLETED, RUNNING), after(5, CLEAN, STALE))
    fake.until, fake.error = 50, error
    assert fake.take() == Taken(servers=Servers.CLEAN, servers_say="in sync on all replicas")
    assert 50 <= fake.now < TIMEOUT_S
    assert fake.looks < 8


def test_a_controller_that_never_tells_is_the_outcome() -> None:
    """And no error that would lose the outcomes of the whole wave."""
    fake = FakeSilentController(after(5, COMPLETED, RUNNING), after(5, CLEAN, STALE))
    fake.until = 1000
    taken = fake.take()
    assert str(taken.failure).endswith("whether they have it could not be asked within proofTimeout: no answer")
    assert fake.now >= TIMEOUT_S


def test_a_reload_that_is_not_accepted() -> None:
    class Refusing(FakeController):
        def reload(self, table: str, segment: str, *, force_download: bool) -> str:
            raise PinotUnavailableError("no answer")

    taken = Refusing(after(0, COMPLETED, RUNNING), after(0, CLEAN, STALE)).take()
    assert "was not accepted: no answer" in str(taken.failure)
