"""CeleryExecutor with Redis and PostgreSQL, and two workers, each with a disk of its own.

A worker is killed in the middle of one table's sync. Until Airflow finds out, another table is synced by backfill, on
schedule and by hand, all at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

import pytest
import yaml
from tests.e2e.kit import NEW_INDEXES, TABLE, Sync, add_indexes, syncing
from tests.e2e.worker_watch import Taken, disk, watched

from deep_store_sync.model import Outcome, SegmentOutcome
from deep_store_sync.stamp import AT_KEY
from deep_store_sync.store.object_mark import read_mark
from deep_store_sync.workspace import Workspace
from pinot_sandbox import Sandbox
from pinot_sandbox.demo_stage import connections
from pinot_sandbox.live_airflow import LiveAirflow
from pinot_sandbox.live_airflow_process import _postgres_binaries
from pinot_sandbox.live_redis import redis_server
from pinot_sandbox.shell import without_proxy

pytestmark = pytest.mark.skipif(
    redis_server() is None or _postgres_binaries() is None,
    reason="Celery needs Redis and PostgreSQL (apt-get install redis-server postgresql)",
)
WORKERS = 2
AT_ONCE = 2
"""Tasks of a worker at once."""
HEAP, DISK = 512 << 20, 16 << 20
MONTHS = list(range(1, 7))
FLIGHTS_DAG = f"deep_store_sync__{TABLE}"
EVENTS = "events_OFFLINE"
EVENTS_DAG = f"deep_store_sync__{EVENTS}"
# Airflow finds out within this time that a task's worker is gone. Its own default is five minutes.
PATIENCE = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "5",
}
THIS_YEAR = datetime.now(UTC).year


@pytest.fixture(scope="module")
def airflow(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveAirflow]:
    folder = tmp_path_factory.mktemp("celery")
    tables = folder / "tables"
    tables.mkdir()
    common = {
        "deepStorePrefixes": [sandbox.deep_store_url],
        "workspace": f"s3://{sandbox.s3.bucket}/celery",
        "batchSegments": 1,
        "maxActiveWaves": 2,
        "proofTimeout": "60s",
        "engine": {"jars": str(sandbox.jars_dir), "heap": HEAP, "disk": DISK, "parallelSegments": 1},
    }
    flights = {"table": TABLE, "schedule": None}
    events = {"table": EVENTS, "schedule": "0 0 1 1 *", "auditBudget": 1, "batchSegments": 50}
    for name, own in (("flights", flights), ("events", events)):
        (tables / f"{name}.yaml").write_text(yaml.safe_dump({**common, **own}))
    with LiveAirflow(
        tables=tables,
        home=folder / "home",
        connections=connections(sandbox),
        environment=without_proxy() | PATIENCE | {"AIRFLOW__CELERY__WORKER_CONCURRENCY": str(AT_ONCE)},
        database="postgresql",
        workers=WORKERS,
    ) as live:
        assert live.database == "postgresql"
        live.wait_for_dag(FLIGHTS_DAG)
        live.wait_for_dag(EVENTS_DAG)
        yield live


@dataclass(frozen=True)
class Flights:
    """A run over all flights, one of whose workers was killed after both had done some, while it rebuilt another."""

    sync: Sync
    run: str
    answer: list[list[Any]]
    downloads: dict[str, int]
    taken: list[Taken]
    dead: int


@pytest.fixture(scope="module")
def flights(sandbox: Sandbox, airflow: LiveAirflow) -> Iterator[Flights]:
    with syncing(sandbox) as sync:
        sandbox.load_flights(months=MONTHS)
        answer = sandbox.query("select count(*), sum(distance) from flights")
        add_indexes(sandbox)
        downloads = sync.downloads()
        airflow.unpause(FLIGHTS_DAG)
        with watched(airflow, WORKERS) as taken:
            run = airflow.trigger(FLIGHTS_DAG)
            airflow.wait_until(
                "both workers have rebuilt segments, and one is at it",
                lambda: len(rebuilt_by(airflow, run)) == WORKERS and bool(rebuilding(airflow)),
                600,
            )
            dead = rebuilding(airflow)[-1]
            airflow.kill_worker(dead)
        yield Flights(sync, run, answer, downloads, taken, dead)


def rebuilding(airflow: LiveAirflow) -> list[int]:
    """The workers that have a segment on their disks now."""
    return [number for number in range(WORKERS) if any(disk(airflow, number).glob("*/**/columns.psf"))]


def rebuilt_by(airflow: LiveAirflow, run: str) -> dict[int, set[int]]:
    """Of each worker, the batches that it has rebuilt, by their map indexes: the task's log names its disk."""
    found: dict[int, set[int]] = {}
    for task in airflow.task_instances(FLIGHTS_DAG, run):
        if task["task_id"] == "batch.rebuild_segment" and task["state"] == "success":
            index, last = task["map_index"], task["try_number"]
            log = airflow.task_log(FLIGHTS_DAG, run, task["task_id"], map_index=index, try_number=last)
            (worker,) = set(re.findall(r"of disk in \S*/worker(\d)/", log))
            found.setdefault(int(worker), set()).add(index)
    return found


# --- a table by backfill, on schedule and by hand ---------------------------------------------------------------------


def day(year: int, month: int = 1, of_month: int = 1) -> int:
    """As the table's time column has it: in days since 1970."""
    return (date(year, month, of_month) - date(1970, 1, 1)).days


# First and last day of the segments, whatever they look like to yearly slices.
SEGMENTS = {
    "a_year": (day(THIS_YEAR - 3, 2), day(THIS_YEAR - 3, 11)),
    "all_years": (day(THIS_YEAR - 3), day(THIS_YEAR, 1, 1)),
    "on_the_edge": (day(THIS_YEAR - 2), day(THIS_YEAR - 2)),
    "two_years": (day(THIS_YEAR - 2, 12, 31), day(THIS_YEAR - 1)),
    "last_year": (day(THIS_YEAR - 1, 6), day(THIS_YEAR - 1, 12, 31)),
    "this_year": (day(THIS_YEAR), day(THIS_YEAR)),
    "in_the_future": (day(THIS_YEAR + 3), day(THIS_YEAR + 4)),
}
SCHEMA: dict[str, Any] = {
    "schemaName": "events",
    "dimensionFieldSpecs": [{"name": "kind", "dataType": "STRING"}],
    "dateTimeFieldSpecs": [{"name": "day", "dataType": "INT", "format": "1:DAYS:EPOCH", "granularity": "1:DAYS"}],
}
CONFIG: dict[str, Any] = {
    "tableName": EVENTS,
    "tableType": "OFFLINE",
    "segmentsConfig": {"replication": "2", "timeColumnName": "day"},
    "tenants": {},
    "tableIndexConfig": {"loadMode": "MMAP"},
    "metadata": {},
}


@pytest.fixture
def events(sandbox: Sandbox) -> Iterator[Sync]:
    """A table that has never been synced, and whose servers have an index that the deep store has not."""
    with syncing(sandbox, EVENTS) as sync:
        sandbox.create_table(CONFIG, SCHEMA)
        # Not sorted by kind: a sorted column gets no index.
        rows = {
            name: [{"kind": kind, "day": when} for when in days for kind in "ab"] for name, days in SEGMENTS.items()
        }
        for archive in sandbox.build_segments(rows, table_config=CONFIG, schema=SCHEMA):
            sandbox.push_segment(EVENTS, archive)
        sandbox.wait_until_loaded(EVENTS)
        indexed = {**CONFIG, "tableIndexConfig": {"loadMode": "MMAP", "invertedIndexColumns": ["kind"]}}
        sandbox.update_table_config(indexed)
        sandbox.reload(EVENTS)
        yield sync


@dataclass(frozen=True)
class Work:
    """A run at work, from its plan to its report."""

    run: str
    began: datetime
    ended: datetime


def work(airflow: LiveAirflow, run: str) -> Work:
    tasks = {task["task_id"]: task for task in airflow.task_instances(EVENTS_DAG, run)}
    moments = tasks["find_stale_segments"]["start_date"], tasks["report"]["end_date"]
    return Work(run, *(datetime.fromisoformat(moment) for moment in moments))


def reports(sync: Sync) -> list[SegmentOutcome]:
    """The rows of all reports of the table."""
    store, root = sync.services.store, f"s3://{sync.sandbox.s3.bucket}/celery/{EVENTS}/runs"
    found = [item.url.removesuffix("/report.parquet") for item in store.list(root) if "/report.parquet" in item.url]
    return [row for url in found for row in Workspace(store, url).read_report()]


def test_backfill_schedule_and_hand_at_once_and_a_bootstrap_that_is_broken_off(
    airflow: LiveAirflow, flights: Flights, events: Sync
) -> None:
    sandbox = events.sandbox
    answer = sandbox.query("select kind, count(*), sum(day) from events group by kind order by kind")
    downloads = events.downloads()
    start, one_at_a_time = date(THIS_YEAR - 3, 1, 1), ("--max-active-runs", "1")

    # The DAG is paused: all of them begin at the same moment.
    slices = airflow.backfill(EVENTS_DAG, start, date(THIS_YEAR - 2, 12, 31), *one_at_a_time)
    assert len(slices) == 2
    manual = airflow.trigger(EVENTS_DAG, {"forceReload": True, "segments": ["on_the_edge"]})
    airflow.unpause(EVENTS_DAG)
    airflow.wait_until(
        "a slice is at work",
        lambda: airflow.task_states(EVENTS_DAG, slices[0]).get("find_stale_segments") in ("running", "success"),
        600,
    )
    airflow.cancel_backfill(EVENTS_DAG)
    runs = {run["dag_run_id"]: run["run_type"] for run in airflow.dag_runs(EVENTS_DAG)}
    assert Counter(runs.values()) == {"backfill": 2, "manual": 1, "scheduled": 1}
    (scheduled,) = (run for run, kind in runs.items() if kind == "scheduled")
    ends = {run: airflow.wait_for_run(EVENTS_DAG, run, 600) for run in runs}
    assert ends == {scheduled: "success", manual: "success", slices[0]: "success", slices[1]: "failed"}
    worked = [work(airflow, run) for run in (scheduled, manual, slices[0])]

    # Once more, up to today, and with what the schedule has begun: what was done costs nothing, what is left is done.
    again = ("--reprocess-behavior", "completed", "--run-backwards", *one_at_a_time)
    assert airflow.backfill(EVENTS_DAG, date(THIS_YEAR - 2, 1, 1), datetime.now(UTC).date(), *again) == []
    for run in (scheduled, slices[1]):
        assert airflow.wait_for_run(EVENTS_DAG, run, 600) == "success"
        assert airflow.dag_run(EVENTS_DAG, run)["run_type"] == "backfill"
        worked.append(work(airflow, run))

    # One run at a time, as Airflow tells it, and as the cluster does.
    worked.sort(key=lambda of: of.began)
    assert all(earlier.ended <= later.began for earlier, later in pairwise(worked))
    store = events.services.store
    for record in events.services.controller.segments(EVENTS):
        head = store.head(str(record.url))
        mark = read_mark(head.metadata)
        assert mark is not None
        assert head.last_modified is not None
        stamped = datetime.fromisoformat(record.custom[AT_KEY])
        (at_work,) = (of.run for of in worked if of.began <= stamped <= of.ended)
        assert at_work == mark.run == record.custom["deepStoreSync.run"]

    # Every segment once, whatever its time range: downloaded, rebuilt and published by one run alone.
    rows = reports(events)
    assert {row.outcome for row in rows} <= {Outcome.SYNCED, Outcome.SKIPPED, Outcome.DEFERRED}
    assert Counter(row.segment for row in rows if row.outcome is Outcome.SYNCED) == dict.fromkeys(SEGMENTS, 1)
    assert Counter(row.segment for row in rows if row.object_bytes) == dict.fromkeys(SEGMENTS, 1)
    after = events.look()
    slice_of = dict(zip(SEGMENTS, [slices[0]] * 2 + [slices[1]] * 2 + [scheduled] * 3, strict=True))
    for name, view in after.items():
        # The run on schedule has taken one, of its budget: which one, its turn says.
        assert view.stamped_by in {slice_of[name], scheduled, *([manual] if name == "on_the_edge" else [])}
        assert "kind.inverted_index" in view.indexes
    assert events.downloads() == downloads
    assert sandbox.query("select kind, count(*), sum(day) from events group by kind order by kind") == answer


# --- the worker that was killed ---------------------------------------------------------------------------------------


def test_a_worker_that_dies_in_the_middle_loses_nothing(airflow: LiveAirflow, flights: Flights) -> None:
    sync, run = flights.sync, flights.run
    segments = {f"flights_2013-{month:02d}" for month in MONTHS}
    assert airflow.wait_for_run(FLIGHTS_DAG, run, 600) == "success"

    after = sync.look()
    assert set(after) == segments
    assert {view.stamped_by for view in after.values()} == {run}
    assert all(view.indexes >= NEW_INDEXES for view in after.values())
    # Each segment was published once, whoever rebuilt it, and however often.
    assert sync.downloads() == {server: count + len(MONTHS) for server, count in flights.downloads.items()}
    assert sync.sandbox.query("select count(*), sum(distance) from flights") == flights.answer
    root = f"s3://{sync.sandbox.s3.bucket}/celery/{TABLE}/runs"
    (plan,) = [item.url for item in sync.services.store.list(root) if item.url.endswith("/plan.parquet")]
    report = Workspace.of_plan(sync.services.store, plan).read_report()
    assert Counter(row.segment for row in report) == dict.fromkeys(segments, 1)
    assert {row.outcome for row in report} == {Outcome.SYNCED}

    # Both have done batches, and what the dead one was at, the other has done again.
    by = rebuilt_by(airflow, run)
    assert set(by) == {0, 1}
    again = {
        task["map_index"]
        for task in airflow.task_instances(FLIGHTS_DAG, run)
        if task["task_id"] == "batch.rebuild_segment" and task["try_number"] > 1
    }
    assert again
    assert again <= by[1 - flights.dead]
    # What the living worker had on its disk is gone with its tasks. What the dead one left is its machine's to sweep.
    assert not any(disk(airflow, 1 - flights.dead).glob("deep-store-sync-work-*"))
    assert any(disk(airflow, flights.dead).glob("deep-store-sync-work-*"))


def test_workers_keep_to_what_is_configured(flights: Flights) -> None:
    for taken in flights.taken:
        assert 1 <= taken.engines <= AT_ONCE
        assert 0 < taken.engine_bytes <= 2 * HEAP
        assert 0 < taken.disk_bytes <= AT_ONCE * DISK
