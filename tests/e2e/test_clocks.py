"""Clocks that disagree: a worker's may be off by years, and servers may call a reload complete too early or never."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.e2e.kit import NEW_INDEXES, Sync, add_indexes, leave_servers_behind, outcomes

from deep_store_sync import clock
from deep_store_sync.model import Outcome
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.reload_job import ReloadStatus
from deep_store_sync.services import Services

YEARS = timedelta(days=4000)


def set_clock(monkeypatch: pytest.MonkeyPatch, off_by: timedelta) -> None:
    right = clock.now

    def wrong() -> datetime:
        return right() + off_by

    monkeypatch.setattr(clock, "now", wrong)


def test_a_workers_clock_decides_nothing(sync: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    sync.sandbox.load_flights(months=[1, 2])
    add_indexes(sync.sandbox)
    plans: list[Any] = []
    for off_by in (timedelta(0), YEARS, -YEARS):
        with monkeypatch.context() as patch:
            set_clock(patch, off_by)
            sync.run(dry_run=True)
        assert sync.last is not None
        plans.append([replace(row, batch=None) for row in sync.last.plan.segments])
    assert plans[0] == plans[1] == plans[2]
    # One worker lives in the future and plans, another in the past and plans again: the later plan is the later one.
    with monkeypatch.context() as patch:
        set_clock(patch, YEARS)
        sync.run(run_id="the-run", max_segments=0)
        first = sync.last.plan_url
    with monkeypatch.context() as patch:
        set_clock(patch, -YEARS)
        rows = sync.run(run_id="the-run")
    assert outcomes(rows) == {Outcome.SYNCED}
    assert all(view.indexes >= NEW_INDEXES for view in sync.look().values())
    assert sync.last.plan_url.rpartition("/")[0] > first.rpartition("/")[0]
    assert outcomes(sync.run()) == {Outcome.SKIPPED}


class FakeServersClock(ControllerClient):
    """The real controller, but what it says of its reloads is what it says where servers' clocks are not its own."""

    ahead = True
    jobs: frozenset[str] = frozenset()

    def reload(self, table: str, segment: str, *, force_download: bool) -> str:
        job = super().reload(table, segment, force_download=force_download)
        self.jobs |= {job}
        return job

    def reload_status(self, job_id: str) -> ReloadStatus:
        found = super().reload_status(job_id)
        if job_id not in self.jobs:
            return found
        return replace(found, status="COMPLETED" if self.ahead else "IN_PROGRESS", succeeded=found.total, failed=None)


@pytest.mark.parametrize("ahead", [True, False], ids=["ahead", "behind"])
def test_a_servers_clock_decides_nothing(sync: Sync, ahead: bool) -> None:
    """By the job's word alone, it would be incurable where they are ahead, and a failure where they are behind."""
    leave_servers_behind(sync)
    with FakeServersClock(sync.sandbox.controller_url) as controller:
        controller.ahead = ahead
        settings = sync.settings.model_copy(update={"proof_timeout": timedelta(seconds=60 if ahead else 8)})
        services = Services(controller, sync.services.servers, sync.services.store, settings)
        rows = Sync(sync.sandbox, sync.workspace, settings, services).run()
    assert outcomes(rows) == {Outcome.SYNCED}
    assert outcomes(sync.run()) == {Outcome.SKIPPED}
