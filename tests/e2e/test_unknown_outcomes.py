"""Answers that get lost: what was done is read back, and done neither twice nor by guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.e2e.kit import NEW_INDEXES, TABLE, Sync, add_indexes, outcomes

from deep_store_sync.errors import DeepStoreUnavailableError, PinotUnavailableError, PushConflictError, PushRefusedError
from deep_store_sync.model import CopyBy, Outcome, PublishMode
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.services import Services
from deep_store_sync.store.deep_store import DeepStore, ObjectInfo

SEGMENT = "flights_2013-01"


class FakeLossyStore(DeepStore):
    """The real store, but the answer to an overwrite is lost: after it was done, or with the request."""

    arrives = True

    def replace(self, url: str, body: Path, **how: Any) -> str:
        if self.arrives:
            super().replace(url, body, **how)
        raise DeepStoreUnavailableError("no answer from the store")

    def replace_by_copy(self, url: str, source: ObjectInfo, way: CopyBy, **how: Any) -> str:
        if self.arrives:
            super().replace_by_copy(url, source, way, **how)
        raise DeepStoreUnavailableError("no answer from the store")


class FakeLossyController(ControllerClient):
    """The real controller, but the answers to the first pushes are lost."""

    lost = 1
    then: Exception | None = None
    """What the push after the lost ones gets, where it is not let through."""
    arrives = True
    error: type[Exception] = PinotUnavailableError

    def push_metadata(self, table: str, segment: str, **push: Any) -> None:
        if type(self).lost <= 0 and self.then is not None:
            raise self.then
        if type(self).lost <= 0:
            super().push_metadata(table, segment, **push)
            return
        type(self).lost -= 1
        if self.arrives:
            super().push_metadata(table, segment, **push)
        raise self.error("no answer from the controller")


@pytest.fixture(params=["quiet", "refresh"])
def stale(sync: Sync, request: pytest.FixtureRequest) -> Sync:
    """A month of flights that is to be published in either way."""
    sync.sandbox.load_flights(months=[1])
    add_indexes(sync.sandbox)
    if request.param == "quiet":
        sync.sandbox.reload(TABLE)
    sync.sandbox.reset_downloads()
    return sync


def with_store(sync: Sync, *, arrives: bool, publish_by: str = "auto") -> Sync:
    store = FakeLossyStore(sync.sandbox.s3.client())
    store.arrives = arrives
    settings = sync.settings.model_copy(update={"publish_by": publish_by})
    return Sync(
        sync.sandbox,
        sync.workspace,
        settings,
        Services(sync.services.controller, sync.services.servers, store, settings),
    )


@pytest.mark.parametrize("publish_by", ["auto", "stream"])
def test_an_overwrite_that_did_arrive_is_taken_as_done(stale: Sync, publish_by: str) -> None:
    before = stale.look()
    rows = with_store(stale, arrives=True, publish_by=publish_by).run()
    after = stale.look()
    assert outcomes(rows) == {Outcome.SYNCED}
    assert after[SEGMENT].indexes == before[SEGMENT].indexes | NEW_INDEXES
    assert after[SEGMENT].stamp
    assert outcomes(stale.run()) == {Outcome.SKIPPED}
    assert stale.look() == after


def test_an_overwrite_that_did_not_arrive_is_a_failure_and_nothing_has_changed(stale: Sync) -> None:
    before = stale.look()
    rows = with_store(stale, arrives=False).run()
    assert outcomes(rows) == {Outcome.FAILED}
    assert "no answer from the store" in rows[SEGMENT].message
    assert stale.look() == before
    assert outcomes(stale.run()) == {Outcome.SYNCED}


@pytest.mark.parametrize(
    ("arrives", "error"), [(True, PinotUnavailableError), (False, PinotUnavailableError), (False, PushConflictError)]
)
def test_a_push_without_an_answer_is_read_back_and_sent_again_only_if_it_did_not_arrive(
    stale: Sync, arrives: bool, error: type[Exception]
) -> None:
    class Lossy(FakeLossyController):
        pass

    Lossy.arrives, Lossy.error = arrives, error
    with Lossy(stale.sandbox.controller_url) as controller:
        run = Sync(
            stale.sandbox,
            stale.workspace,
            stale.settings,
            Services(controller, stale.services.servers, stale.services.store, stale.settings),
        )
        rows = run.run()
    assert Lossy.lost == 0
    assert outcomes(rows) == {Outcome.SYNCED}
    assert stale.look()[SEGMENT].stamp
    per_server = 1 if rows[SEGMENT].mode is PublishMode.REFRESH else 0
    assert stale.downloads() == dict.fromkeys(stale.sandbox.servers, per_server)
    assert outcomes(stale.run()) == {Outcome.SKIPPED}


def test_a_refusal_after_a_lost_answer_is_not_the_answer(sync: Sync) -> None:
    """The first push may still arrive, so the object is not put back under its feet."""
    sync.sandbox.load_flights(months=[1])
    add_indexes(sync.sandbox)

    class Lossy(FakeLossyController):
        arrives = False
        then = PushRefusedError("403: the storage quota is used up")

    with Lossy(sync.sandbox.controller_url) as controller:
        services = Services(controller, sync.services.servers, sync.services.store, sync.settings)
        rows = Sync(sync.sandbox, sync.workspace, sync.settings, services).run()
    assert outcomes(rows) == {Outcome.FAILED}
    assert "nothing is put back" in rows[SEGMENT].message
    assert sync.look()[SEGMENT].indexes >= NEW_INDEXES
    assert outcomes(sync.run()) == {Outcome.SYNCED}
