"""The three uses, in a live Airflow on a live Pinot: on schedule, by hand with forceReload, backfill for bootstrap."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from functools import partial
from typing import Any

import psutil
import pytest
import yaml
from tests.deep_store_sync_airflow.statsd_server import StatsdServer
from tests.e2e.kit import LOG, NEW_INDEXES, TABLE, Sync, add_indexes
from tests.polling import until

from deep_store_sync.model import Outcome, PublishMode, StampState
from deep_store_sync.upkeep.verify_table import verify_table
from deep_store_sync.workspace import Workspace
from pinot_sandbox import Sandbox, flights
from pinot_sandbox.demo_stage import connections
from pinot_sandbox.live_airflow import LiveAirflow
from pinot_sandbox.shell import without_proxy

DAG = f"deep_store_sync__{TABLE}"
MONTHS = [1, 2, 3]
# A DAG that is not in its file any more is gone for Airflow after a minute or two.
SOON = {"AIRFLOW__DAG_PROCESSOR__STALE_DAG_THRESHOLD": "10", "AIRFLOW__SCHEDULER__PARSING_CLEANUP_INTERVAL": "5"}


@pytest.fixture(scope="module")
def statsd() -> Iterator[StatsdServer]:
    with StatsdServer() as server:
        yield server


@pytest.fixture(scope="module")
def airflow(sandbox: Sandbox, statsd: StatsdServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveAirflow]:
    """The DAG of `flights_OFFLINE` on a monthly schedule, so that a data interval is one segment's month.

    Other tables are discovered, as far as they are called `found_`.
    """
    folder = tmp_path_factory.mktemp("three-uses")
    tables = folder / "tables"
    tables.mkdir()
    settings = {
        "table": TABLE,
        "schedule": "0 0 1 * *",
        "deepStorePrefixes": [sandbox.deep_store_url],
        "workspace": f"s3://{sandbox.s3.bucket}/three-uses",
        "batchSegments": 2,
        "waveSegments": 1,
        "proofTimeout": "60s",
        "engine": {"jars": str(sandbox.jars_dir), "workdir": str(folder / "work"), "maxGrowth": 1000000},
    }
    (tables / "flights.yaml").write_text(yaml.safe_dump(settings))
    shared = {key: value for key, value in settings.items() if key not in ("table", "schedule")}
    discovery = {"discover": True, "include": ["found_*"], "discoverSchedule": None, "schedule": None}
    (tables / "others.yaml").write_text(yaml.safe_dump({**shared, **discovery}))
    with LiveAirflow(
        tables=tables,
        home=folder / "home",
        connections=connections(sandbox),
        environment={**without_proxy(), **statsd.environment, **SOON},
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


def api(airflow: LiveAirflow, path: str, **params: Any) -> Any:
    return airflow._request("GET", path, params=params)


def the_asset(airflow: LiveAirflow) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The events of the table's asset, oldest first, and its state."""
    name = f"deep store of {TABLE}"
    (asset,) = [asset for asset in api(airflow, "/assets")["assets"] if asset["name"] == name]
    events = api(airflow, "/assets/events", asset_id=asset["id"], order_by="timestamp")["asset_events"]
    state = api(airflow, f"/assets/{asset['id']}/state-store")["asset_state_store"]
    return events, {entry["key"]: entry["value"] for entry in state}


def check_what_airflow_shows(airflow: LiveAirflow, sync: Sync, statsd: StatsdServer, run: str) -> None:
    """Of a run that has refreshed three segments: note, names, links, event, state, metrics, log."""
    sandbox = sync.sandbox
    note = airflow.dag_run(DAG, run)["note"]
    assert note.startswith("3 synced (0 quiet, 3 by refresh); ")
    assert note.endswith(" uploaded, 6 server downloads; 3 of 3 segments in sync")
    names = {
        task["rendered_map_index"].partition(" (")[0]
        for task in airflow.task_instances(DAG, run)
        if task["task_id"].startswith("batch.")
    }
    rows = Workspace.of_plan(sync.services.store, plan_url(airflow, sync, run)).read_plan().segments
    first, last, alone = (row.segment for row in sorted(rows, key=lambda row: str(row.batch)))
    assert names == {f"b0000: {first} … {last}", f"b0001: {alone}"}
    for task in ("find_stale_segments", "report"):
        links = api(airflow, f"/dags/{DAG}/dagRuns/{run}/taskInstances/{task}/links")["extra_links"]
        assert links["Pinot"] == f"{sandbox.controller_url}/#/tenants/table/{TABLE}"
        assert links["Deep store sync"] == f"{airflow.url}/dags/{DAG}/plugin/deep-store-sync-table"
        assert not links.get("Report")  # the store is not AWS's
    (event,), state = the_asset(airflow)
    assert event["source_run_id"] == run
    assert event["extra"]["segments"] == {"synced": 3}
    assert event["extra"]["uploadedBytes"] > 100_000
    assert state["last_run"]["run"] == state["table"]["run"] == run
    assert state["table"]["inSync"] is True
    assert state["last_run"]["summary"] == note
    prefix = "airflow.deep_store_sync"
    airflow.wait_until("metrics have come", lambda: f"{prefix}.table.{TABLE}.segments_left" in statsd.values, 30)
    assert statsd.values[f"{prefix}.segments.synced"] == ["3|c"]
    assert statsd.values[f"{prefix}.server_downloads"] == ["6|c"]
    assert statsd.values[f"{prefix}.table.{TABLE}.segments_left"] == ["0|g"]
    assert {len(statsd.values[f"{prefix}.{step}"]) for step in ("rebuild", "publish", "stamp")} == {2}
    log = airflow.task_log(DAG, run, "batch.rebuild_segment", map_index=0)
    assert "::group::Rebuild batch b0000" in log
    assert re.search(r"1/2 flights_2013-0.*; \d+\.\d kB of \d+\.\d kB, .*/s, about \d+ s left", log)


def test_scheduled_manual_and_backfill(airflow: LiveAirflow, statsd: StatsdServer, sync: Sync) -> None:
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
    check_what_airflow_shows(airflow, sync, statsd, scheduled["dag_run_id"])

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
    assert airflow.dag_run(DAG, again)["note"].startswith("3 skipped; 0 B uploaded, 0 server downloads; 3 of 3 ")
    events, state = the_asset(airflow)
    assert [event["source_run_id"] for event in events] == [scheduled["dag_run_id"], manual]
    assert state["last_run"]["run"] == again

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
    assert airflow.dag_run(DAG, run)["note"].startswith("1 deferred; ")
    events, state = the_asset(airflow)
    assert run not in [event["source_run_id"] for event in events]
    assert (state["last_run"]["run"], state["last_run"]["undone"], state["table"]["inSync"]) == (run, 1, False)


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
    assert airflow.dag_run(DAG, run)["note"].startswith("dry run: 2 of 2 segments would be worked on, of ")
    events, state = the_asset(airflow)
    assert run not in [event["source_run_id"] for event in events]
    assert state.get("last_run", {}).get("run") != run
    plan = Workspace.of_plan(sync.services.store, plan_url(airflow, sync, run)).read_plan()
    assert {str(row.action) for row in plan.segments} == {"rebuild"}


def test_tables_that_come_and_go_have_a_dag_without_a_deploy(airflow: LiveAirflow, sandbox: Sandbox) -> None:
    discover = "deep_store_sync__discover__others"
    tables = ["found_a_OFFLINE", "found_b_OFFLINE"]
    dags = {f"deep_store_sync__{table}" for table in tables}
    assert not dags & airflow.dag_ids()
    with ExitStack() as stack:
        for table in tables:
            name, config = table.removesuffix("_OFFLINE"), flights.table_config()
            config["segmentsConfig"]["schemaName"] = name
            sandbox.create_table({**config, "tableName": table}, {**flights.schema(), "schemaName": name})
            stack.callback(sandbox.drop_table, table)
        run = airflow.trigger(discover)  # which nobody has to unpause
        assert airflow.wait_for_run(discover, run, 120) == "success"
        airflow.wait_until("both have a DAG", lambda: dags <= airflow.dag_ids(), 60)
        assert json.loads(api(airflow, "/variables/deep_store_sync_tables__others")["value"]) == tables
        # What would stay, should the variable not be looked up.
        kept = airflow.home / "deep-store-sync" / "deep_store_sync_tables__others.json"
        assert json.loads(kept.read_text()) == tables
        assert not any(api(airflow, f"/dags/{dag}")["is_paused"] for dag in dags)
        found = "deep_store_sync__found_a_OFFLINE"
        assert airflow._api
        page = partial(airflow._api.get, "/deep-store-sync/tables")
        airflow.wait_until("the page has them", lambda: all(dag in page().text for dag in dags), 30)
        run = airflow.trigger(found)
        assert airflow.wait_for_run(found, run, 120) == "success"
        assert airflow.dag_run(found, run)["note"].startswith("no segments; ")

        sandbox.drop_table("found_b_OFFLINE")
        stack.pop_all().callback(sandbox.drop_table, "found_a_OFFLINE")
        run = airflow.trigger(discover)
        assert airflow.wait_for_run(discover, run, 120) == "success"
        assert "gone, so that it has no DAG any more: found_b_OFFLINE" in airflow.task_log(discover, run, "list_tables")
        airflow.wait_until("one is gone", lambda: airflow.dag_ids() & dags == {found}, 60)


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


def test_a_task_that_is_killed_while_it_publishes_does_not_block_the_next_run(airflow: LiveAirflow, sync: Sync) -> None:
    sandbox, publish = sync.sandbox, "batch.upload_and_refresh"
    sandbox.load_flights(months=[1, 2])  # one batch, of two waves
    answer = sandbox.query("select count(*), sum(distance) from flights")
    add_indexes(sandbox)
    urls = [str(record.url) for record in sync.services.controller.segments(TABLE)]

    def etags() -> list[str]:
        return [sync.services.store.head(url).etag for url in urls]

    def at_it() -> list[tuple[str, int]]:
        return [
            (run["dag_run_id"], task["pid"])
            for run in airflow.dag_runs(DAG)
            for task in airflow.task_instances(DAG, run["dag_run_id"])
            if (task["task_id"], task["state"]) == (publish, "running") and task["pid"]
        ]

    before = etags()
    airflow.unpause(DAG)
    airflow.trigger(DAG, {"forceReload": True})
    airflow.wait_until("a batch is about to be published", lambda: bool(at_it()), 300)
    ((run, pid),) = at_it()
    until(lambda: etags() != before)
    psutil.Process(pid).kill()
    assert len(set(before) & set(etags())) == 1  # the other one was not begun
    assert sandbox.query("select count(*), sum(distance) from flights") == answer

    # Airflow sees it, and would try again. Somebody does not wait for that.
    airflow.wait_until("it is dead", lambda: airflow.task_states(DAG, run)[f"{publish}[0]"] == "up_for_retry", 60)
    assert "Process terminated by signal" in airflow.task_log(DAG, run, publish, map_index=0)
    airflow.mark(DAG, run, publish, "failed", map_index=0)
    assert airflow.wait_for_run(DAG, run, 120) == "failed"

    waiting = [run["dag_run_id"] for run in airflow.dag_runs(DAG) if run["state"] in ("queued", "running")]
    for following in waiting or [airflow.trigger(DAG, {"forceReload": True})]:
        assert airflow.wait_for_run(DAG, following, 300) == "success"
    assert set(etags()).isdisjoint(before)
    assert all(view.indexes >= NEW_INDEXES for view in sync.look().values())
    check = verify_table(sync.services, log=LOG)
    assert check.true
    assert {row.stamp for row in check.segments} == {StampState.CURRENT}
    crcs = {record.name: record.crc for record in sync.services.controller.segments(TABLE)}
    for server in sandbox.servers:
        assert sync.services.servers.segment_crcs(sandbox.server_admin_url(server), TABLE) == crcs
    assert sandbox.query("select count(*), sum(distance) from flights") == answer
