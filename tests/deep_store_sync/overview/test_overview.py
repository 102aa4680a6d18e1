"""How a table stands, from files that a real run's writers wrote, and from files that nobody should have written."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.deep_store_sync.overview.workspace_of_runs import TABLE, Runs, segment, skipped, synced

from deep_store_sync.errors import DeepStoreError
from deep_store_sync.model import (
    Action,
    DeferredBy,
    Outcome,
    Published,
    PublishMode,
    RebuildResult,
    Rebuilt,
    SegmentOutcome,
    Servers,
    StampState,
)
from deep_store_sync.overview.overview import Overviews
from deep_store_sync.overview.running import Stage, running
from deep_store_sync.states import SegmentState
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.store.object_info import ObjectInfo
from deep_store_sync.totals import Amount
from deep_store_sync.workspace import Workspace
from pinot_sandbox.gateway import S3Gateway


@pytest.fixture
def runs(store: DeepStore, prefix: str) -> Runs:
    return Runs(store, prefix)


def test_a_table_without_runs_is_known_to_be_unknown(runs: Runs) -> None:
    overview = runs.overview()
    assert overview.as_of is None
    assert not overview.whole
    assert overview.runs == ()
    assert overview.running is None
    assert set(overview.states) == set(SegmentState)
    assert set(overview.states.values()) == {Amount()}
    assert overview.reasons == ()
    assert runs.page().rows == ()


def test_a_dry_run_tells_how_each_segment_stands(runs: Runs) -> None:
    clean, unknown = Servers.CLEAN, Servers.UNKNOWN
    run = runs.plan(
        "dry",
        skipped("in-sync"),
        segment("current-servers-silent", Action.SKIP, servers=unknown, stamp=StampState.CURRENT),
        segment("reload", Action.RELOAD, stamp=StampState.CURRENT, batch="b0000"),
        segment("stale", batch="b0000", size=7),
        segment("older", servers=clean, stamp=StampState.OUTDATED, batch="b0001"),
        segment("never-looked-into", Action.AUDIT, servers=clean, batch="b0001"),
        segment("waits", Action.DEFER, servers=clean, by=DeferredBy.BUDGET),
        segment("silent", Action.DEFER, servers=unknown, by=DeferredBy.SERVERS),
        segment("incurable", Action.INCURABLE, stamp=StampState.CURRENT),
        segment("consuming", Action.NOT_ELIGIBLE, servers=unknown),
        dry_run=True,
        force=True,
    )
    run.report()
    assert runs.states() == {"in sync": 2, "out of sync": 3, "unknown": 3, "incurable": 1, "not eligible": 1}
    overview = runs.overview()
    assert overview.states["out of sync"].bytes == 207
    assert overview.whole
    assert overview.running is None
    (told,) = overview.runs
    assert (told.run_id, told.dry_run, told.force, told.whole, told.totals) == ("dry", True, True, True, None)
    assert told.began == overview.as_of == told.ended
    assert overview.work.stale == Amount(2, 107)
    assert overview.work.others == Amount(4, 400)
    assert (overview.work.stale_downloads, overview.work.others_downloads) == (4, 8)


def test_after_a_run_outcomes_count(runs: Runs) -> None:
    names = ("quiet", "refreshed", "stamped", "failed", "raced", "drifted", "incurable", "archived")
    run = runs.plan("real", skipped("had"), *(segment(name, batch="b0000") for name in names))
    run.batch(
        "b0000",
        synced("quiet"),
        synced("refreshed", PublishMode.REFRESH),
        SegmentOutcome("stamped", Outcome.STAMPED, object_bytes=100),
        SegmentOutcome("failed", Outcome.FAILED, "no such column: x"),
        SegmentOutcome("raced", Outcome.LOST_RACE, "somebody has pushed it"),
        SegmentOutcome("drifted", Outcome.DEFERRED, "the config changed", deferred_by=DeferredBy.DRIFT),
        SegmentOutcome("incurable", Outcome.INCURABLE, "servers call it stale"),
        SegmentOutcome("archived", Outcome.NOT_ELIGIBLE, "archived"),
    )
    report = run.report()
    states = {"in sync": 4, "out of sync": 2, "unknown": 1, "incurable": 1, "not eligible": 1}
    assert runs.states() == states
    overview = runs.overview()
    (told,) = overview.runs
    assert told.totals is not None
    assert told.duration_s is not None
    assert told.duration_s >= 0
    assert told.totals.counts == {str(outcome): count for outcome, count in report.counts.items()}
    assert {state: amount.segments for state, amount in told.totals.states.items()} == states
    assert (told.totals.downloaded_bytes, told.totals.uploaded_bytes, told.totals.server_downloads) == (300, 300, 2)
    reasons = {(reason.state, reason.reason): reason.segments for reason in overview.reasons}
    assert reasons["out of sync", "no such column: x"] == 1
    assert reasons["out of sync", "the config changed"] == 1
    assert "in sync" not in {state for state, _ in reasons}
    assert {row.segment: row.reason for row in runs.page(state="in sync").rows} == {
        "had": "stamped for the current config",
        "quiet": "synced",
        "refreshed": "synced",
        "stamped": "stamped",
    }


def test_saved_is_what_replicas_did_not_download_of_what_was_published_quietly(runs: Runs) -> None:
    run = runs.plan("real", *(segment(name, batch="b0000") for name in ("a", "b", "c", "d")))
    run.batch(
        "b0000",
        synced("a", uploaded=10),
        synced("b", uploaded=30),
        synced("c", PublishMode.REFRESH, uploaded=500),
        SegmentOutcome("d", Outcome.STAMPED, object_bytes=100),
    )
    run.report()
    saved = runs.overview().saved
    assert (saved.runs, saved.downloads, saved.bytes) == (1, 4, 2 * 10 + 2 * 30)


def test_a_run_that_is_at_work_tells_how_far_it_is(runs: Runs) -> None:
    rows = [segment(f"s{number}", batch=f"b000{number // 2}") for number in range(8)]
    run = runs.plan("real", *rows, skipped("had"))
    now = runs.overview().running
    assert now is not None
    assert (now.run_id, now.batches, now.work, now.left_s) == ("real", 4, Amount(8, 800), None)
    assert now.last == now.began
    for batch, name in (("b0000", "s0"), ("b0001", "s2")):
        run.place.write_results("rebuilt", batch, [RebuildResult(name, Rebuilt.CHANGED)], RebuildResult)
    run.place.write_results("published", "b0000", [Published("s0", Outcome.SYNCED)], Published)
    run.batch("b0000", synced("s0"), SegmentOutcome("s1", Outcome.FAILED, "no disk"))
    now = runs.overview().running
    assert now is not None
    assert now.rebuilt == Stage(2, 4, 400)
    assert now.published == now.stamped == Stage(1, 2, 200)
    assert now.last is not None
    assert now.began is not None
    assert now.last >= now.began
    # Of the batch that is through, the outcomes are known already.
    assert runs.states() == {"in sync": 2, "out of sync": 7}
    assert [row.reason for row in runs.page(search="s1").rows] == ["no disk"]
    run.report()
    assert runs.overview().running is None


def test_the_time_that_is_left_goes_by_the_pace_of_this_run_or_of_earlier_ones() -> None:
    began = datetime(2026, 5, 4, tzinfo=UTC)
    planned = {"b0000": Amount(1, 100), "b0001": Amount(3, 300)}
    assert running("r", began, planned, {}).left_s is None
    assert running("r", began, planned, {}, pace=4.0).left_s == 100.0
    done = ObjectInfo("s3://b/stamped/b0000.parquet", "e", 1, last_modified=began + timedelta(seconds=50))
    assert running("r", began, planned, {"stamped": [done]}, pace=4.0).left_s == 150.0
    stranger = ObjectInfo("s3://b/stamped/b0077.parquet", "e", 1, last_modified=began)
    assert running("r", began, planned, {"stamped": [done, stranger]}).stamped == Stage(1, 1, 100)


def test_a_dead_run_is_not_at_work_once_there_is_a_newer_one(runs: Runs) -> None:
    runs.plan("dead", segment("a", batch="b0000"))
    assert runs.overview().running is not None
    runs.plan("dry", segment("a", batch="b0000"), dry_run=True)
    assert runs.overview().running is not None
    newer = runs.plan("newer", segment("a", batch="b0000"))
    newer.batch("b0000", synced("a"))
    newer.report()
    assert runs.overview().running is None
    assert [run.run_id for run in runs.overview().runs] == ["newer", "dry", "dead"]


def test_runs_that_looked_at_a_part_are_laid_over_the_last_whole_one(runs: Runs) -> None:
    whole = runs.plan("whole", segment("a"), segment("b"), skipped("c"), dry_run=True)
    whole.report()
    slice_ = runs.plan("slice", segment("b", batch="b0000"), segment("new", batch="b0000"), interval=(0, 1))
    slice_.batch("b0000", synced("b"), SegmentOutcome("new", Outcome.FAILED, "no disk"))
    slice_.report()
    assert runs.states() == {"in sync": 2, "out of sync": 2}
    assert {row.segment: row.run_id for row in runs.page().rows} == {
        "a": "whole",
        "b": "slice",
        "c": "whole",
        "new": "slice",
    }
    assert runs.overview().whole


def test_without_a_whole_run_it_is_said_so(runs: Runs) -> None:
    runs.plan("slice", skipped("a"), segments=("a*",)).report()
    assert not runs.overview().whole
    assert runs.states() == {"in sync": 1}


def test_pages_search_and_filters(runs: Runs) -> None:
    rows = [segment(f"Flights_{number:05d}", Action.AUDIT, servers=Servers.CLEAN) for number in range(10_000)]
    runs.plan("dry", *rows, *(segment(f"other_{number}") for number in range(3)), dry_run=True).report()
    page = runs.page(search="FLIGHTS_", offset=9_990, limit=50)
    assert (page.total, page.offset, len(page.rows)) == (10_000, 9_990, 10)
    assert page.rows[0].segment == "Flights_09990"
    assert runs.page(search="other_", state="unknown").total == 0
    assert [row.segment for row in runs.page(state="out of sync").rows] == ["other_0", "other_1", "other_2"]
    assert runs.page(reason="stale on servers: index config changed").total == 10_003
    assert runs.page(reason="another").total == 0
    assert runs.page(search="(*.[").total == 0
    assert runs.page(offset=10**9).rows == ()
    assert runs.page(offset=-5).offset == 0
    assert len(runs.page(limit=10**9).rows) == 500
    assert runs.page(limit=-1).rows == ()


def test_reasons_with_a_url_count_together(runs: Runs) -> None:
    rows = [
        segment(f"s{n}", Action.NOT_ELIGIBLE, reason=f"its download URL s3://a/s{n} lies outside deepStorePrefixes")
        for n in range(30)
    ]
    runs.plan("dry", *rows, dry_run=True).report()
    (reason,) = runs.overview().reasons
    assert (reason.reason, reason.segments) == ("its download URL … lies outside deepStorePrefixes", 30)


def test_only_the_most_frequent_reasons_are_told(runs: Runs) -> None:
    runs.plan("dry", *(segment(f"s{n}", reason=f"reason {n}") for n in range(30)), dry_run=True).report()
    assert len(runs.overview().reasons) == 20


def other_file(**columns: list[Any]) -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target)
    return target.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"PAR1" + b"\0" * 100 + b"PAR1",
        other_file(segment=["a"]),
        other_file(segment=[1], outcome=[2], message=[3]),
    ],
    ids=["empty", "html", "rubbish", "too few columns", "other types"],
)
@pytest.mark.parametrize("which", ["plan", "report", "stamped"])
def test_a_file_that_is_none_is_told_and_hides_no_other_run(runs: Runs, which: str, content: bytes) -> None:
    runs.plan("good", skipped("a"), dry_run=True).report()
    bad = runs.plan("bad", segment("b", batch="b0000"))
    bad.batch("b0000", synced("b"))
    if which == "report":
        bad.report()
    urls = {
        "plan": bad.place.plan_url,
        "report": bad.place.report_url,
        "stamped": bad.place.result_url("stamped", "b0000"),
    }
    runs.store.write_workspace(urls[which], content)
    overview = runs.overview()
    newest, older = overview.runs
    assert newest.problem is not None
    assert "cannot be read" in newest.problem
    assert (older.run_id, older.problem) == ("good", None)
    assert runs.states() == {"in sync": 1}


def test_a_report_of_an_older_version_has_no_totals_and_its_outcomes_count(runs: Runs) -> None:
    run = runs.plan("old", segment("a", batch="b0000"))
    run.place.write_report([synced("a")])
    overview = runs.overview()
    assert overview.runs[0].totals is None
    assert overview.runs[0].report_url == run.place.report_url
    assert overview.saved.runs == 0
    assert runs.states() == {"in sync": 1}


def test_other_things_in_the_workspace_are_no_runs(runs: Runs) -> None:
    runs.plan("good", skipped("a"), dry_run=True).report()
    below = Workspace.runs_url(runs.root, TABLE)
    for name in ("README", "run-1/notes/plan.parquet", "run-2/1700000000000/other", "run-3/²/plan.parquet"):
        runs.store.write_workspace(f"{below}/{name}", b"x")
    assert [run.run_id for run in runs.overview().runs] == ["good"]


def test_only_the_newest_runs_are_looked_at(runs: Runs) -> None:
    for number in range(32):
        runs.plan(f"r{number}", skipped("a"), dry_run=True)
    told = [run.run_id for run in runs.overview().runs]
    assert told == [f"r{number}" for number in range(31, 1, -1)]


def test_a_store_that_refuses_is_an_error(store: DeepStore) -> None:
    with pytest.raises(DeepStoreError):
        Overviews().look(store, "s3://no-such-bucket-of-ours/work", TABLE)


def test_nothing_is_asked_of_the_store_but_to_list_and_to_read(
    gateway: S3Gateway, store: DeepStore, prefix: str
) -> None:
    runs = Runs(store, prefix)
    runs.plan("dry", skipped("a"), dry_run=True)
    run = runs.plan("real", skipped("a"), segment("b", batch="b0000"))
    run.batch("b0000", synced("b"))
    client, asked = gateway.client(), set()
    client.meta.events.register("before-call.s3", lambda model, **_: asked.add(model.name))
    for _ in range(2):
        Overviews().look(DeepStore(client), prefix, TABLE)
        run.report()
    assert asked == {"ListObjectsV2", "HeadObject", "GetObject"}


def test_while_a_run_is_at_work_only_what_is_new_is_read(gateway: S3Gateway, store: DeepStore, prefix: str) -> None:
    client, read = gateway.client(), list[str]()
    client.meta.events.register(
        "provide-client-params.s3.GetObject", lambda params, **_: read.append(params["Key"].rpartition("/")[2])
    )
    runs = Runs(DeepStore(client), prefix, overviews=Overviews(fresh_s=-1))
    ended = runs.plan("ended", *(segment(f"s{number}", batch="b0000") for number in range(4)))
    ended.batch("b0000", *(synced(f"s{number}") for number in range(4)))
    ended.report()
    run = runs.plan("real", *(segment(f"s{number}", batch=f"b000{number}") for number in range(4)))
    assert runs.states() == {"out of sync": 4}
    for number in range(3):
        batch = f"b000{number}"
        run.batch(batch, synced(f"s{number}"))
        read.clear()
        assert runs.states() == {"in sync": number + 1, "out of sync": 3 - number}
        assert read == [f"{batch}.parquet"]
        assert runs.states() == {"in sync": number + 1, "out of sync": 3 - number}
        assert read == [f"{batch}.parquet"]
    # A batch that was done again.
    run.batch("b0001", SegmentOutcome("s1", Outcome.FAILED, "no disk"))
    read.clear()
    assert runs.states() == {"in sync": 2, "out of sync": 2}
    assert read == ["b0001.parquet"]
    assert [row.reason for row in runs.page(search="s1").rows] == ["no disk"]
    run.report()
    assert runs.overview().running is None
    read.clear()
    assert runs.states() == {"in sync": 2, "out of sync": 2}
    assert read == []


def test_what_was_read_just_now_is_not_asked_for_again(store: DeepStore, prefix: str) -> None:
    now = [0.0]
    overviews = Overviews(fresh_s=3, clock=lambda: now[0])
    runs = Runs(store, prefix, overviews=overviews)
    runs.plan("r1", skipped("a"), dry_run=True)
    assert overviews.fresh(runs.root, runs.table) is None
    assert len(runs.overview().runs) == 1
    runs.plan("r2", skipped("a"), dry_run=True)
    now[0] = 3.0
    assert len(runs.overview().runs) == 1
    fresh = overviews.fresh(runs.root, runs.table)
    assert fresh is not None
    assert len(fresh.runs) == 1
    now[0] = 3.1
    assert overviews.fresh(runs.root, runs.table) is None
    assert len(runs.overview().runs) == 2
