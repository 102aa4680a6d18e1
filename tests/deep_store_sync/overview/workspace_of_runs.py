"""Runs in a workspace, written by what writes them in a real run: plan, results of batches, report."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, cast

from deep_store_sync.model import (
    Action,
    DeferredBy,
    Outcome,
    Plan,
    PlannedSegment,
    PublishMode,
    RunRequest,
    SegmentOutcome,
    Servers,
    StampState,
)
from deep_store_sync.overview.overview import Overviews, TableOverview
from deep_store_sync.overview.segments import SegmentPage, SegmentQuery
from deep_store_sync.report import RunReport, write_report
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.workspace import Workspace

LOG = logging.getLogger("tests.overview")
TABLE = "flights_OFFLINE"


def segment(
    name: str,
    action: Action = Action.REBUILD,
    *,
    servers: Servers = Servers.STALE,
    stamp: StampState = StampState.NONE,
    batch: str | None = None,
    size: int = 100,
    reason: str = "stale on servers: index config changed",
    by: DeferredBy | None = None,
) -> PlannedSegment:
    """A row of a plan, with two replicas."""
    return PlannedSegment(
        name,
        action,
        reason,
        "v1:0",
        servers,
        stamp,
        size_bytes=size,
        replicas=("server1", "server2"),
        batch=batch,
        deferred_by=by,
    )


def skipped(name: str, *, size: int = 100) -> PlannedSegment:
    """A row that is in sync."""
    return segment(
        name,
        Action.SKIP,
        servers=Servers.CLEAN,
        stamp=StampState.CURRENT,
        size=size,
        reason="stamped for the current config",
    )


def synced(name: str, mode: PublishMode = PublishMode.QUIET, *, uploaded: int = 150) -> SegmentOutcome:
    """What came of a segment that was rebuilt and published."""
    downloads = 2 if mode is PublishMode.REFRESH else 0
    return SegmentOutcome(
        name, Outcome.SYNCED, mode=mode, object_bytes=100, uploaded_bytes=uploaded, downloads=downloads
    )


@dataclass
class WrittenRun:
    """One run in the workspace."""

    services: Services
    place: Workspace

    def batch(self, name: str, *outcomes: SegmentOutcome) -> None:
        """A batch has come through all steps."""
        self.place.write_results("stamped", name, outcomes, SegmentOutcome)

    def report(self) -> RunReport:
        """The last step of the run."""
        return write_report(self.services, self.place.plan_url, log=LOG)


@dataclass
class Runs:
    """The workspace of one table."""

    store: DeepStore
    root: str
    table: str = TABLE
    created_ms: int = 1_700_000_000_000
    overviews: Overviews = field(default_factory=lambda: Overviews(fresh_s=-1, settled_s=-1))

    def plan(self, run_id: str, *segments: PlannedSegment, **request: Any) -> WrittenRun:
        """A run that has made its plan, after those that were planned before."""
        self.created_ms += 60_000
        place = Workspace.for_run(self.store, self.root, self.table, run_id, self.created_ms)
        place.write_plan(Plan(self.table, RunRequest(run_id, **request), self.created_ms, {}, {}, segments))
        settings = TableSync(table=self.table, deep_store_prefixes=("s3://b/d",), workspace=self.root)
        nothing = cast(Any, None)
        return WrittenRun(Services(nothing, nothing, self.store, settings), place)

    def overview(self) -> TableOverview:
        """How the table stands."""
        return self.overviews.look(self.store, self.root, self.table).overview()

    def page(self, **query: Any) -> SegmentPage:
        """Some of its segments."""
        return self.overviews.look(self.store, self.root, self.table).segments.page(SegmentQuery(**query))

    def states(self) -> dict[str, int]:
        """How many segments are in each state that any is in."""
        return {state: amount.segments for state, amount in self.overview().states.items() if amount.segments}
