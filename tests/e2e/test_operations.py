"""What else is at work on a table just before a wave: each kind of it, the real one, holds what it works on."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
from tests.e2e.kit import LOG, TABLE, Sync, add_indexes, outcomes

from deep_store_sync.model import DeferredBy, Outcome
from deep_store_sync.pinot.activity import ActivityReport, find_activity

SEGMENT = "flights_2013-01"
SHORT = timedelta(seconds=1)


@pytest.fixture
def stale(sync: Sync) -> Sync:
    """A month of flights whose servers are stale."""
    sync.sandbox.load_flights(months=[1])
    add_indexes(sync.sandbox)
    return sync


def at_work(sync: Sync, **give_up: int) -> ActivityReport:
    """What the sensor of the DAG sees."""
    return find_activity(sync.services.controller, TABLE, **({"give_up_after_ms": 3_600_000} | give_up))


def post(sync: Sync, path: str, **call: object) -> httpx.Response:
    answer = httpx.post(f"{sync.sandbox.controller_url}{path}", timeout=60, trust_env=False, **call)  # type: ignore[arg-type]
    return answer.raise_for_status()


def is_held(sync: Sync, words: str, **run: object) -> None:
    """A run ends with nothing changed, and says what is at work; the run is not green."""
    before = sync.look()
    impatient = sync.with_settings(proof_timeout=SHORT)
    rows = impatient.run(**run)  # type: ignore[arg-type]
    assert {(row.outcome, row.deferred_by) for row in rows.values()} == {(Outcome.DEFERRED, DeferredBy.OPERATION)}
    assert f"not published: {words}" in rows[SEGMENT].message
    assert words in impatient.reports[-1].undone[0]
    assert sync.look() == before


def test_a_minion_task_on_the_segment(stale: Sync) -> None:
    sandbox = stale.sandbox
    assert at_work(stale) == ActivityReport()
    try:
        sandbox.submit_task("PurgeTask", {"tableName": TABLE, "segmentName": f"other,{SEGMENT}"})
        (task,) = at_work(stale).active
        assert task.touches([SEGMENT])
        is_held(stale, "PurgeTask Task_PurgeTask_")
        # A task on other segments, or on another table, is nothing to the segment.
        sandbox.delete_tasks("PurgeTask")
        sandbox.submit_task("MergeRollupTask", {"tableName": TABLE, "segmentName": "other"})
        sandbox.submit_task("MergeRollupTask", {"tableName": "other_OFFLINE", "segmentName": SEGMENT})
        assert [task.touches([SEGMENT]) for task in at_work(stale).active] == [False]
        assert outcomes(stale.run()) == {Outcome.SYNCED}
    finally:
        sandbox.delete_tasks("PurgeTask")
        sandbox.delete_tasks("MergeRollupTask")


def test_a_segment_replacement(stale: Sync) -> None:
    entry = ""

    def replace() -> None:
        nonlocal entry
        body = {"segmentsFrom": [SEGMENT], "segmentsTo": ["flights_2013-01-again"]}
        entry = post(stale, "/segments/flights/startReplaceSegments?type=OFFLINE", json=body).json()[
            "segmentLineageEntryId"
        ]

    is_held(stale, "segment replacement ", between=replace)
    (operation,) = at_work(stale).replacements
    assert entry in operation.describe()
    # To the next plan, the segment is not eligible; when the replacement is undone, it is again.
    assert outcomes(stale.run()) == {Outcome.NOT_ELIGIBLE}
    post(
        stale,
        "/segments/flights/revertReplaceSegments",
        params={"type": "OFFLINE", "segmentLineageEntryId": entry, "forceRevert": "true"},
    )
    assert at_work(stale) == ActivityReport()
    assert outcomes(stale.run()) == {Outcome.SYNCED}


def test_a_rebalance_and_a_reload_that_never_end(stale: Sync, caplog: pytest.LogCaptureFixture) -> None:
    """One waits for a server that is down, the other for its answer."""
    sandbox = stale.sandbox
    down = sandbox.servers[1]
    sandbox.stop_server(down)
    config = sandbox.table_config(TABLE)
    config["segmentsConfig"]["replication"] = "1"
    sandbox.update_table_config(config)
    query = {"type": "OFFLINE", "dryRun": "false", "minAvailableReplicas": "0"}
    is_held(stale, "rebalance job ", between=lambda: post(stale, "/tables/flights/rebalance", params=query))
    httpx.delete(
        f"{sandbox.controller_url}/tables/flights/rebalance?type=OFFLINE", timeout=30, trust_env=False
    ).raise_for_status()
    assert at_work(stale).active == ()

    is_held(stale, "reload job ", between=lambda: post(stale, f"/segments/{TABLE}/reload"))
    (reload,) = at_work(stale).active
    assert at_work(stale, give_up_after_ms=0).given_up == (reload,)
    # Given up after the configured age, loudly.
    caplog.clear()
    patient = stale.with_settings(reload_give_up_after=timedelta(milliseconds=1), max_deferred_share=1.0)
    assert outcomes(patient.run(force=True)) == {Outcome.SYNCED}
    assert f"no longer waited for, it never ended: {reload.describe()}" in caplog.text

    # The same name, another table: what was asked of the old one is nothing to it.
    sandbox.start_server(down)
    sandbox.drop_table(TABLE)
    sandbox.load_flights(months=[1])
    sandbox.stop_server(down)  # so that the old job is never answered for
    assert at_work(stale) == ActivityReport()
    LOG.info("the old job is still listed: %s", [job.id for job in stale.services.controller.reload_jobs(TABLE)])


def test_a_reload_of_one_segment_holds_that_one_alone(sync: Sync) -> None:
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1, 2])
    add_indexes(sandbox)
    sandbox.stop_server(sandbox.servers[1])
    run = sync.with_settings(proof_timeout=timedelta(seconds=30))
    rows = run.run(between=lambda: post(sync, f"/segments/{TABLE}/{SEGMENT}/reload"))
    assert (rows[SEGMENT].outcome, rows[SEGMENT].deferred_by) == (Outcome.DEFERRED, DeferredBy.OPERATION)
    assert rows["flights_2013-02"].outcome is Outcome.SYNCED
    # The controller lists those of earlier tables of that name as well.
    jobs = [job for job in sync.services.controller.reload_jobs(TABLE) if job.segments == (SEGMENT,)]
    assert any(f"reload job {job.id}" in rows[SEGMENT].message for job in jobs)
