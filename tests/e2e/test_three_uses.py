"""The three uses, in a live Airflow on a live Pinot: on schedule, by hand with forceReload, backfill for bootstrap."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import psutil
import pytest
import yaml
from tests.e2e.kit import NEW_INDEXES, TABLE, Sync, add_indexes

from deep_store_sync.model import Outcome, PublishMode
from deep_store_sync.workspace import Workspace
from pinot_sandbox import Sandbox
from pinot_sandbox.demo_stage import connections, without_proxy
from pinot_sandbox.live_airflow import LiveAirflow

DAG = f"deep_store_sync__{TABLE}"
MONTHS = [1, 2, 3]


@pytest.fixture(scope="module")
def airflow(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveAirflow]:
    """The DAG of `flights_OFFLINE` on a monthly schedule, so that a data interval is one segment's month."""
    folder = tmp_path_factory.mktemp("three-uses")
    tables = folder / "tables"
    tables.mkdir()
    settings = {
        "table": TABLE,
        "schedule": "0 0 1 * *",
        "deepStorePrefixes": [sandbox.deep_store_url],
        "workspace": f"s3://{sandbox.s3.bucket}/three-uses",
        "batchSegments": 2,
        "proofTimeout": "60s",
        "engine": {"jars": str(sandbox.jars_dir), "workdir": str(folder / "work"), "maxGrowth": 1000000},
    }
    (tables / "flights.yaml").write_text(yaml.safe_dump(settings))
    with LiveAirflow(
        tables=tables, home=folder / "home", connections=connections(sandbox), environment=without_proxy()
    ) as live:
        live.wait_for_dag(DAG)
        yield live


def plan_url(airflow: LiveAirflow, sync: Sync, run_id: str) -> str:
    """Where the plan of a run lies: the newest below the run's own folder."""
    root = f"s3://{sync.sandbox.s3.bucket}/three-uses/{TABLE}/runs"
    plans = [item.url for item in sync.services.store.list(root) if item.url.endswith("/plan.parquet")]
    found = [url for url in plans if Workspace.of_plan(sync.services.store, url).read_plan().request.run_id == run_id]
    assert found, (run_id, plans)
    return found[-1]


def test_scheduled_manual_and_backfill(airflow: LiveAirflow, sync: Sync) -> None:
    sandbox = sync.sandbox
    segments = sandbox.load_flights(months=MONTHS)
    sandbox.reset_downloads()
    answer = sandbox.query("select count(*), sum(distance) from flights")

    # On schedule: the config was changed and no server has reloaded, so the scheduled run refreshes.
    add_indexes(sandbox)
    airflow.unpause(DAG)
    airflow.wait_until("a scheduled run is there", lambda: bool(airflow.dag_runs(DAG)), 60)
    (scheduled,) = airflow.dag_runs(DAG)
    assert scheduled["run_type"] == "scheduled"
    assert airflow.wait_for_run(DAG, scheduled["dag_run_id"], 300) == "success"
    after = sync.look()
    assert {view.stamped_by for view in after.values()} == {scheduled["dag_run_id"]}
    assert all(view.indexes >= NEW_INDEXES for view in after.values())
    assert sync.downloads() == dict.fromkeys(sandbox.servers, len(MONTHS))
    states = airflow.task_states(DAG, scheduled["dag_run_id"])
    assert {state for task, state in states.items() if task.startswith("batch.")} == {"success"}
    assert {task for task in states if task.startswith("batch.stamp_hash")} == {
        "batch.stamp_hash[0]",
        "batch.stamp_hash[1]",
    }

    # By hand, with force: servers have reloaded for another change, so all is published quietly.
    config = sandbox.table_config(TABLE)
    config["tableIndexConfig"]["invertedIndexColumns"] = ["dest"]
    sandbox.update_table_config(config)
    sandbox.reload(TABLE)
    sandbox.reset_downloads()
    manual = airflow.trigger(DAG, {"forceReload": True})
    assert airflow.wait_for_run(DAG, manual, 300) == "success"
    report = Workspace.of_plan(sync.services.store, plan_url(airflow, sync, manual)).read_report()
    assert {(row.outcome, row.mode) for row in report} == {(Outcome.SYNCED, PublishMode.QUIET)}
    assert {view.stamped_by for view in sync.look().values()} == {manual}
    assert sync.downloads() == dict.fromkeys(sandbox.servers, 0)

    # Again: there is nothing to do, and nothing is done.
    before = sync.look()
    again = airflow.trigger(DAG, {"forceReload": True})
    assert airflow.wait_for_run(DAG, again, 300) == "success"
    assert {state for task, state in airflow.task_states(DAG, again).items() if task.startswith("batch.")} == {
        "skipped"
    }
    assert sync.look() == before

    # Bootstrap: a table that was never synced, a run for each month.
    sandbox.drop_table(TABLE)
    sandbox.load_flights(months=MONTHS)
    sandbox.reset_downloads()
    created = airflow.backfill(DAG, date(2013, 1, 1), date(2013, 3, 31))
    runs = sorted(created, key=lambda run: str(airflow.dag_run(DAG, run)["data_interval_start"]))
    assert len(runs) == len(MONTHS)
    for run in runs:
        assert airflow.wait_for_run(DAG, run, 300) == "success"
        assert airflow.dag_run(DAG, run)["run_type"] == "backfill"
    after = sync.look()
    assert [after[segment].stamped_by for segment in segments] == runs
    for segment, run in zip(segments, runs, strict=True):
        (row,) = Workspace.of_plan(sync.services.store, plan_url(airflow, sync, run)).read_report()
        assert (row.segment, row.outcome) == (segment, Outcome.STAMPED)
    assert sync.downloads() == dict.fromkeys(sandbox.servers, 0)
    assert sandbox.query("select count(*), sum(distance) from flights") == answer


def test_a_run_that_leaves_something_undone_is_red_and_says_what(airflow: LiveAirflow, sync: Sync) -> None:
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1])
    server = sandbox.servers[1]
    sandbox.stop_server(server)
    before = sync.look()
    airflow.unpause(DAG)
    run = airflow.trigger(DAG)
    assert airflow.wait_for_run(DAG, run, 300) == "failed"
    states = airflow.task_states(DAG, run)
    assert (states["find_stale_segments"], states["report"]) == ("success", "failed")
    log = airflow.task_log(DAG, run, "report")
    assert "1 of 1 deferred" in log
    assert server in log
    assert sync.look() == before


def test_a_dry_run_changes_nothing_and_tells_what_would_be_done(airflow: LiveAirflow, sync: Sync) -> None:
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1, 2])
    add_indexes(sandbox)
    before = sync.look()
    airflow.unpause(DAG)
    run = airflow.trigger(DAG, {"dryRun": True})
    assert airflow.wait_for_run(DAG, run, 300) == "success"
    assert sync.look() == before
    assert "2 segments" in airflow.task_log(DAG, run, "report")
    plan = Workspace.of_plan(sync.services.store, plan_url(airflow, sync, run)).read_plan()
    assert {str(row.action) for row in plan.segments} == {"rebuild"}


def test_a_task_that_is_marked_failed_while_it_rebuilds_leaves_nothing_on_the_worker(
    airflow: LiveAirflow, sync: Sync
) -> None:
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1])
    before = [view.etag for view in sync.look().values()]
    original, config = sandbox.table_config(TABLE), sandbox.table_config(TABLE)
    columns = ["carrier", "tailnum", "origin", "dest", "day", "flight", "dep_time", "arr_time", "hour", "minute"]
    tree = {"dimensionsSplitOrder": columns, "functionColumnPairs": ["COUNT__*"], "maxLeafRecords": 1}
    config["tableIndexConfig"].update(starTreeIndexConfigs=[tree], enableDynamicStarTreeCreation=True)
    sandbox.update_table_config(config)  # which takes gigabytes and minutes to build
    airflow.unpause(DAG)
    airflow.trigger(DAG, {"forceReload": True})
    work = airflow.home.parent / "work"
    airflow.wait_until("the star-tree grows", lambda: any(work.glob("**/star-tree.record")), 300)
    engines = [process for process in psutil.process_iter(["cwd"]) if str(process.info["cwd"]).startswith(str(work))]
    assert len(engines) == 1
    sandbox.update_table_config(original)  # for a scheduled run that may wait behind this one

    runs = [run["dag_run_id"] for run in airflow.dag_runs(DAG) if run["state"] in ("queued", "running")]
    (run,) = [run for run in runs if airflow.task_states(DAG, run).get("batch.rebuild_segment[0]") == "running"]
    airflow.mark(DAG, run, "batch.rebuild_segment", "failed", map_index=0)
    airflow.wait_until("its folder is gone", lambda: not any(work.iterdir()), 60)
    assert not any(engine.is_running() for engine in engines)
    for each in runs:
        assert airflow.wait_for_run(DAG, each, 300) == ("failed" if each == run else "success")
    assert "the task was cancelled" in airflow.task_log(DAG, run, "batch.rebuild_segment", map_index=0)
    assert [view.etag for view in sync.look().values()] == before
