"""After so many failures the rest of a table is left as it is, in every step and every batch, and the run says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.kit import LOG, NEW_INDEXES, TABLE, Sync, add_indexes, outcomes

from deep_store_sync.errors import EngineError, PinotUnavailableError
from deep_store_sync.find import find_stale_segments
from deep_store_sync.model import DeferredBy, Outcome, RebuildResult, Rebuilt, RunRequest, SegmentOutcome
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.publishing.publish import upload_and_refresh
from deep_store_sync.publishing.publish_segment import SegmentPublisher
from deep_store_sync.publishing.stamping import stamp_batch
from deep_store_sync.rebuilding.rebuild import rebuild_batch
from deep_store_sync.report import write_report
from deep_store_sync.services import Services
from deep_store_sync.settings import EngineSettings
from deep_store_sync.workspace import Workspace

MONTHS = [1, 2, 3]


@pytest.fixture
def stale(sync: Sync) -> Sync:
    """Three months of flights whose servers are stale, a batch for each, and a run may fail once."""
    sync.sandbox.load_flights(months=MONTHS)
    add_indexes(sync.sandbox)
    return sync.with_settings(batch_segments=1, max_failures=1)


def ends(rows: dict[str, SegmentOutcome]) -> list[tuple[Outcome, DeferredBy | None]]:
    """In the order in which the batches were worked on: the newest data first."""
    return [(rows[f"flights_2013-0{month}"].outcome, rows[f"flights_2013-0{month}"].deferred_by) for month in (3, 2, 1)]


FAILED = (Outcome.FAILED, None)
LEFT_ALONE = (Outcome.DEFERRED, DeferredBy.FAILURES)


def test_a_segment_that_cannot_be_rebuilt_ends_the_run(stale: Sync) -> None:
    store, controller = stale.services.store, stale.services.controller
    url = str(controller.segment(TABLE, "flights_2013-03").url)
    good = store.read(url)
    store.write_workspace(url, good[: len(good) // 2])
    before = {record.name: record for record in controller.segments(TABLE)}

    rows = stale.run()
    assert ends(rows) == [FAILED, LEFT_ALONE, LEFT_ALONE]
    assert "1 segments of this run have failed, and maxFailures is 1" in rows["flights_2013-01"].message
    failed, left_alone = stale.reports[-1].undone
    assert url in failed
    assert left_alone.startswith("2 left alone, since so many failed: mend what the failures name")
    assert {record.name: record for record in controller.segments(TABLE)} == before

    # It is a budget of each run: when the cause is mended, the next one does it all.
    store.write_workspace(url, good)
    assert outcomes(stale.run()) == {Outcome.SYNCED}


def test_a_segment_that_cannot_be_published_ends_it_before_the_next_wave(
    stale: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SegmentPublisher._replace
    tries: list[str] = []

    def full_disk(self: SegmentPublisher, row: Any, *args: Any) -> Any:
        tries.append(row.segment)
        raise OSError(28, "No space left on device", str(Path("/work")))

    one_batch = stale.with_settings(batch_segments=50, wave_segments=1)
    before = stale.look()
    with monkeypatch.context() as patch:
        patch.setattr(SegmentPublisher, "_replace", full_disk)
        rows = one_batch.run()
    assert ends(rows) == [FAILED, LEFT_ALONE, LEFT_ALONE]
    assert tries == ["flights_2013-03"]
    assert stale.look() == before

    # A greater budget, and the failure of one segment is that one's alone again.
    def full_once(self: SegmentPublisher, row: Any, *args: Any) -> Any:
        return full_disk(self, row, *args) if row.segment == "flights_2013-03" else real(self, row, *args)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentPublisher, "_replace", full_once)
        rows = one_batch.with_settings(max_failures=2).run()
    assert ends(rows) == [FAILED, (Outcome.SYNCED, None), (Outcome.SYNCED, None)]
    assert all(stale.look()[name].indexes >= NEW_INDEXES for name in ("flights_2013-01", "flights_2013-02"))


def test_a_batch_that_dies_as_a_whole_ends_the_run_as_well(stale: Sync, tmp_path: Path) -> None:
    """Without jars, or without a controller when it is published; and it counts no more when it is tried again."""
    found = find_stale_segments(stale.services, RunRequest("run"), log=LOG)
    plan, (first, second, third) = found.plan_url, [batch.id for batch in found.batches]

    def rebuild(sync: Sync, batch: str, *, last_try: bool = True) -> list[Rebuilt]:
        rebuild_batch(sync.services, plan, batch, log=LOG, should_stop=lambda: None, last_try=last_try)
        workspace = Workspace.of_plan(stale.services.store, plan)
        return [result.status for result in workspace.read_results("rebuilt", batch, RebuildResult) or ()]

    def publish(services: Services, *, last_try: bool) -> None:
        published = upload_and_refresh(services, plan, first, "rebuilt", log=LOG, last_try=last_try)
        stamp_batch(services, plan, first, published, log=LOG)

    (tmp_path / "jars").mkdir()
    without_jars = stale.with_settings(engine=EngineSettings(jars=tmp_path / "jars"))
    before = stale.look()
    with pytest.raises(EngineError):
        rebuild(without_jars, first, last_try=False)
    assert rebuild(stale, second) == [Rebuilt.LEFT_ALONE]
    report = write_report(stale.services, plan, log=LOG)
    assert report.counts == {Outcome.FAILED: 2, Outcome.DEFERRED: 1}
    assert stale.look() == before

    assert rebuild(stale, first) == [Rebuilt.CHANGED]
    with ControllerClient("http://127.0.0.1:9", retries=0) as nobody:
        gone = replace(stale.services, controller=nobody)
        with pytest.raises(PinotUnavailableError):
            publish(gone, last_try=False)
        assert rebuild(stale, second) == [Rebuilt.CHANGED]  # the other one is to be tried again
        with pytest.raises(PinotUnavailableError):
            publish(gone, last_try=True)
    assert rebuild(stale, third) == [Rebuilt.LEFT_ALONE]
    publish(stale.services, last_try=True)
    assert rebuild(stale, third) == [Rebuilt.CHANGED]
    rows = Workspace.of_plan(stale.services.store, plan).read_results("stamped", first, SegmentOutcome) or ()
    assert [row.outcome for row in rows] == [Outcome.SYNCED]
