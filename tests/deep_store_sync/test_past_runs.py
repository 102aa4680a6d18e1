"""How fast past runs went, by plans and reports in a real store."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from deep_store_sync.estimate import Pace
from deep_store_sync.model import Outcome, Plan, RunRequest, SegmentOutcome
from deep_store_sync.past_runs import known_pace
from deep_store_sync.rows import record_batch
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore, ObjectInfo
from deep_store_sync.totals import RunTotals
from deep_store_sync.workspace import Workspace
from pinot_sandbox.gateway import S3Gateway

LOG = logging.getLogger("tests.past_runs")
TABLE = "t_OFFLINE"


class FakeSlowStore(DeepStore):
    """The real store, by whose clock each report was written so many seconds after the plan."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.took: dict[str, float] = {}

    def head(self, url: str, *, version_id: str | None = None) -> ObjectInfo:
        found = super().head(url, version_id=version_id)
        if not url.endswith("report.parquet"):
            return found
        plan = super().head(url.replace("report.parquet", "plan.parquet"))
        assert plan.last_modified is not None
        seconds = next(seconds for run, seconds in self.took.items() if f"/{run}-" in url)
        return replace(found, last_modified=plan.last_modified + timedelta(seconds=seconds))


class Runs:
    """Runs of a table in a workspace of their own."""

    def __init__(self, gateway: S3Gateway, prefix: str) -> None:
        self.store = FakeSlowStore(gateway.client())
        settings = TableSync(table=TABLE, deep_store_prefixes=("s3://b/d",), workspace=prefix)
        nothing = cast(Any, None)
        self.services = Services(nothing, nothing, self.store, settings)
        self.root = prefix

    def add(self, run_id: str, downloaded: int, seconds: float, *, report: bool = True) -> None:
        place = Workspace.for_run(self.store, self.root, TABLE, run_id, 1)
        place.write_plan(Plan(TABLE, RunRequest(run_id), 1, {}, {}, ()))
        self.store.took[run_id] = seconds
        if report:
            rows = [SegmentOutcome("a", Outcome.SYNCED, object_bytes=downloaded), SegmentOutcome("b", Outcome.SKIPPED)]
            totals = RunTotals({"synced": 1, "skipped": 1}, {}, downloaded_bytes=downloaded)
            place.write_report_columns([record_batch(rows, SegmentOutcome)], lambda: totals)

    def pace(self) -> Pace | None:
        return known_pace(self.services, LOG)


@pytest.fixture
def runs(gateway: S3Gateway, prefix: str) -> Runs:
    return Runs(gateway, prefix)


def test_without_a_finished_run_nothing_is_known(runs: Runs) -> None:
    assert runs.pace() is None
    runs.add("manual__1", 100, 5, report=False)
    runs.add("manual__2", 0, 5)
    runs.add("manual__3", 100, 0)
    assert runs.pace() is None


def test_a_report_of_an_older_version_tells_no_totals_and_does_not_count(runs: Runs) -> None:
    runs.add("manual__1", 1_000, 10)
    runs.add("manual__2", 5_000, 20, report=False)
    place = Workspace.for_run(runs.store, runs.root, TABLE, "manual__3", 1)
    place.write_plan(Plan(TABLE, RunRequest("manual__3"), 1, {}, {}, ()))
    runs.store.took["manual__3"] = 10
    place.write_report([SegmentOutcome("a", Outcome.SYNCED, object_bytes=70)])
    assert runs.pace() == Pace(1, 1_000, 10.0)


def test_finished_runs_are_taken_together(runs: Runs) -> None:
    runs.add("manual__1", 1_000, 10)
    runs.add("manual__2", 5_000, 20)
    assert runs.pace() == Pace(2, 6_000, 30.0)


def test_the_last_ones_of_each_kind_count(runs: Runs) -> None:
    for number in range(9):
        runs.add(f"scheduled__{number}", 10**number, 1)
    runs.add("backfill__1", 7, 1)
    assert runs.pace() == Pace(6, 111_110_000 + 7, 6.0)


def test_a_workspace_that_cannot_be_read_is_told_and_costs_only_the_time(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    settings = runs.services.settings.model_copy(update={"workspace": "s3://no-such-bucket-there/w"})
    runs.services = replace(runs.services, settings=settings)
    assert runs.pace() is None
    assert "past runs cannot be read" in caplog.text
