"""Every planned segment ends in exactly one outcome, and what was left undone is never green."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, cast

import pytest

from deep_store_sync.model import (
    Action,
    DeferredBy,
    Outcome,
    Pending,
    Plan,
    PlannedSegment,
    Published,
    PublishMode,
    RebuildResult,
    Rebuilt,
    RunRequest,
    SegmentOutcome,
    Servers,
    StampState,
)
from deep_store_sync.report import RunReport, write_report
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.tally import Progress
from deep_store_sync.workspace import Workspace
from pinot_sandbox.gateway import S3Gateway

LOG = logging.getLogger("tests.report")


def planned(name: str, action: Action, *, batch: str | None = None, by: DeferredBy | None = None) -> PlannedSegment:
    return PlannedSegment(
        name, action, f"why {name}", "v1:0", Servers.CLEAN, StampState.NONE, crc=7, deferred_by=by, batch=batch
    )


class Run:
    """A run's workspace, to be filled with what the steps left."""

    def __init__(self, gateway: S3Gateway, *segments: PlannedSegment, dry: bool = False, share: float = 0.0) -> None:
        client = gateway.client()
        self.store = DeepStore(client)
        root = f"s3://{gateway.bucket}/work"
        settings = TableSync(
            table="t_OFFLINE", deep_store_prefixes=("s3://b/d",), workspace=root, max_deferred_share=share
        )
        nothing = cast(Any, None)
        self.services = Services(nothing, nothing, self.store, settings)
        self.workspace = Workspace.for_run(self.store, root, "t_OFFLINE", "run", id(self))
        self.url = self.workspace.write_plan(Plan("t_OFFLINE", RunRequest("run", dry_run=dry), 0, {}, {}, segments))

    def stamped(self, batch: str, *rows: SegmentOutcome) -> None:
        self.workspace.write_results("stamped", batch, rows, SegmentOutcome)

    def report(self) -> tuple[RunReport, dict[str, SegmentOutcome]]:
        report = write_report(self.services, self.url, log=LOG)
        return report, {row.segment: row for row in self.workspace.read_report()}


@pytest.fixture
def bucket(gateway: S3Gateway) -> S3Gateway:
    client = gateway.client()
    if gateway.bucket not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=gateway.bucket)
    client.close()
    return gateway


def test_what_needs_no_work_ends_as_planned(bucket: S3Gateway) -> None:
    run = Run(
        bucket,
        planned("skip", Action.SKIP),
        planned("not", Action.NOT_ELIGIBLE),
        planned("incurable", Action.INCURABLE),
        planned("later", Action.DEFER, by=DeferredBy.BUDGET),
    )
    report, rows = run.report()
    assert {name: row.outcome for name, row in rows.items()} == {
        "skip": Outcome.SKIPPED,
        "not": Outcome.NOT_ELIGIBLE,
        "incurable": Outcome.INCURABLE,
        "later": Outcome.DEFERRED,
    }
    assert rows["not"].message == "why not"
    assert report.undone == ()
    assert report.url == run.workspace.report_url


def test_a_batch_that_left_nothing_has_failed_and_the_others_count(bucket: S3Gateway) -> None:
    run = Run(bucket, planned("a", Action.REBUILD, batch="b0001"), planned("b", Action.REBUILD, batch="b0002"))
    run.stamped("b0002", SegmentOutcome("b", Outcome.SYNCED, mode=PublishMode.QUIET, uploaded_bytes=5))
    report, rows = run.report()
    assert rows["a"].outcome is Outcome.FAILED
    assert "b0001" in rows["a"].message
    assert rows["b"].outcome is Outcome.SYNCED
    assert (report.quiet, report.refreshed, report.uploaded_bytes) == (1, 0, 5)
    assert len(report.undone) == 1
    assert "a: batch b0001 did not finish" in report.undone[0]


def test_a_segment_that_its_batch_forgot_has_failed(bucket: S3Gateway) -> None:
    run = Run(bucket, planned("a", Action.REBUILD, batch="b0001"), planned("b", Action.REBUILD, batch="b0001"))
    run.stamped("b0001", SegmentOutcome("b", Outcome.SYNCED))
    report, rows = run.report()
    assert rows["a"].outcome is Outcome.FAILED
    assert report.counts == {Outcome.FAILED: 1, Outcome.SYNCED: 1}


def test_of_a_batch_that_was_not_stamped_only_what_had_ended_is_true(bucket: S3Gateway) -> None:
    run = Run(
        bucket, planned("quiet", Action.REBUILD, batch="b0001"), planned("refreshed", Action.REBUILD, batch="b0001")
    )
    refreshed = Published("refreshed", Outcome.SYNCED, mode=PublishMode.REFRESH)
    quiet = Published("quiet", Outcome.SYNCED, mode=PublishMode.QUIET, pending=Pending.STAMP)
    run.workspace.write_results("published", "b0001", [quiet, refreshed], Published)
    report, rows = run.report()
    assert rows["refreshed"].outcome is Outcome.SYNCED
    assert rows["quiet"].outcome is Outcome.FAILED
    assert report.undone


def test_of_a_batch_that_was_not_published_the_reasons_are_kept(bucket: S3Gateway) -> None:
    run = Run(bucket, planned("a", Action.REBUILD, batch="b0001"), planned("b", Action.REBUILD, batch="b0001"))
    results = [RebuildResult("a", Rebuilt.FAILED, "no space left"), RebuildResult("b", Rebuilt.CHANGED)]
    run.workspace.write_results("rebuilt", "b0001", results, RebuildResult)
    _, rows = run.report()
    assert rows["a"].message == "no space left"
    assert rows["b"].outcome is Outcome.FAILED
    assert "did not finish" in rows["b"].message


@pytest.mark.parametrize(
    ("by", "share", "red"),
    [
        (DeferredBy.SERVERS, 0.0, True),
        (DeferredBy.SERVERS, 0.5, False),
        (DeferredBy.SERVERS, 0.49, True),
        (DeferredBy.DRIFT, 0.0, True),
        (DeferredBy.STOPPED, 0.0, True),
        (DeferredBy.BUDGET, 0.0, False),
        (DeferredBy.MAX_SEGMENTS, 0.0, False),
    ],
)
def test_what_was_deferred_without_being_asked_for_is_red_above_the_share(
    bucket: S3Gateway, by: DeferredBy, share: float, red: bool
) -> None:
    segments = [planned("a", Action.DEFER, by=by), planned("b", Action.SKIP), planned("c", Action.NOT_ELIGIBLE)]
    report, _ = Run(bucket, *segments, share=share).report()
    assert bool(report.undone) is red


def test_what_was_left_alone_since_others_failed_is_red_whatever_may_be_deferred(bucket: S3Gateway) -> None:
    run = Run(
        bucket,
        planned("a", Action.REBUILD, batch="b0001"),
        planned("b", Action.REBUILD, batch="b0002"),
        planned("c", Action.REBUILD, batch="b0003"),
        share=1.0,
    )
    run.stamped("b0001", SegmentOutcome("a", Outcome.FAILED, "no such column"))
    run.stamped("b0002", SegmentOutcome("b", Outcome.DEFERRED, "left as it is", deferred_by=DeferredBy.FAILURES))
    left_alone = RebuildResult("c", Rebuilt.LEFT_ALONE, "left as it is")
    run.workspace.write_results("rebuilt", "b0003", [left_alone], RebuildResult)  # and the batch went no further
    report, rows = run.report()
    assert {(rows[name].outcome, rows[name].deferred_by) for name in "bc"} == {(Outcome.DEFERRED, DeferredBy.FAILURES)}
    assert [line.split(":")[0] for line in report.undone] == ["1 failed", "2 left alone, since so many failed"]
    assert "maxFailures" in report.undone[1]


@pytest.mark.parametrize("outcome", [Outcome.LOST_RACE, Outcome.INCURABLE, Outcome.NOT_ELIGIBLE, Outcome.STAMPED])
def test_what_is_nobodys_fault_is_not_red(bucket: S3Gateway, outcome: Outcome) -> None:
    run = Run(bucket, planned("a", Action.REBUILD, batch="b0001"))
    run.stamped("b0001", SegmentOutcome("a", outcome))
    assert run.report()[0].undone == ()


def test_many_failures_are_counted_and_some_are_shown(bucket: S3Gateway) -> None:
    segments = [planned(f"s{number}", Action.REBUILD, batch="b0001") for number in range(20)]
    report, _ = Run(bucket, *segments).report()
    assert report.undone[0].startswith("20 failed: s0: ")
    assert report.undone[0].endswith("and 15 more")


def test_how_far_the_table_is_and_how_many_runs_it_takes(bucket: S3Gateway, caplog: pytest.LogCaptureFixture) -> None:
    gib = 1024**3
    run = Run(
        bucket,
        replace(planned("done", Action.SKIP), stamp=StampState.CURRENT),
        planned("now", Action.REBUILD, batch="b0001"),
        *(replace(planned(f"later{n}", Action.DEFER, by=DeferredBy.BUDGET), size_bytes=60 * gib) for n in range(2)),
        planned("never", Action.NOT_ELIGIBLE),
    )
    run.stamped("b0001", SegmentOutcome("now", Outcome.SYNCED))
    with caplog.at_level(logging.INFO):
        report, _ = run.report()
    assert report.progress == Progress(2, 4, 2, 120 * gib, 2, 120 * gib, done=1)
    assert "2 of 4 segments stamped for the current config; 2 left" in caplog.text
    assert "2 more runs at this budget" in caplog.text


def test_a_dry_run_reports_the_plan_and_writes_nothing(bucket: S3Gateway, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(bucket, replace(planned("a", Action.REBUILD, batch="b0001"), size_bytes=9), dry=True)
    with caplog.at_level(logging.INFO):
        report = write_report(run.services, run.url, log=LOG)
    assert report.dry_run
    assert report.undone == ()
    assert report.url is None
    assert not run.store.exists(run.workspace.report_url)
    assert "1 segments, 9 bytes: rebuild" in caplog.text
    assert report.estimate is not None
    assert (report.estimate.work, report.estimate.download_bytes, report.estimate.batches) == (1, 9, 1)
    assert "workers download 9 B" in caplog.text
    assert "time: not known" in caplog.text
