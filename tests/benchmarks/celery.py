"""One sync of a table over one Celery worker, and over two: `python -m tests.benchmarks.celery`.

Each worker runs one task at a time, and each task one Java process, so that two workers have twice of everything but
the machine: cluster, store, database and scheduler share it with them. Rows celery_1_worker and celery_2_workers go to
build/benchmarks.json.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from tests.benchmarks.measure import ROOT
from tests.benchmarks.run import write_row

from pinot_sandbox import Sandbox
from pinot_sandbox.demo_stage import connections
from pinot_sandbox.live_airflow import LiveAirflow
from pinot_sandbox.shell import without_proxy

TABLE = "flights_OFFLINE"
DAG = f"deep_store_sync__{TABLE}"
# Takes some seconds to build for each segment.
STAR_TREE = {
    "dimensionsSplitOrder": ["carrier", "origin", "dest", "day", "hour"],
    "functionColumnPairs": ["COUNT__*", "SUM__distance", "MAX__dep_delay"],
    "maxLeafRecords": 100,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=12, help="months of flights, a batch each")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks.json")
    options = parser.parse_args()
    measured: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    with Sandbox.start() as sandbox, tempfile.TemporaryDirectory(prefix="deep-store-sync-bench-") as name:
        for number in range(options.rounds):
            for workers, rounds in measured.items():
                rounds.append(sync(sandbox, Path(name) / f"{number}-{workers}", workers, options.segments))
                print(f"{workers} workers: {rounds[-1]}", flush=True)
    rows = {
        workers: {key: round(statistics.median(one[key] for one in rounds), 2) for key in rounds[0]}
        for workers, rounds in measured.items()
    }
    ratio = rows[2]["batches_s"] / rows[1]["batches_s"]
    write_row({"name": "celery_1_worker", "segments": options.segments, **rows[1]}, options.out)
    write_row(
        {"name": "celery_2_workers", "segments": options.segments, **rows[2], "ratio": round(ratio, 2)}, options.out
    )
    print(f"celery_2_workers: {ratio:.2f} of the time of one (median of {options.rounds}); written to {options.out}")


def sync(sandbox: Sandbox, folder: Path, workers: int, segments: int) -> dict[str, float]:
    """Seconds of a run over a table whose servers have a star-tree that the deep store has not."""
    tables = folder / "tables"
    tables.mkdir(parents=True)
    settings: dict[str, Any] = {
        "table": TABLE,
        "schedule": None,
        "deepStorePrefixes": [sandbox.deep_store_url],
        "workspace": f"s3://{sandbox.s3.bucket}/bench/{folder.name}",
        "batchSegments": 1,
        "maxActiveWaves": workers,
        "engine": {"jars": str(sandbox.jars_dir), "heap": "1GiB", "parallelSegments": 1},
    }
    (tables / "flights.yaml").write_text(yaml.safe_dump(settings))
    sandbox.load_flights(months=list(range(1, segments + 1)))
    config = sandbox.table_config(TABLE)
    config["tableIndexConfig"].update(starTreeIndexConfigs=[STAR_TREE], enableDynamicStarTreeCreation=True)
    sandbox.update_table_config(config)
    sandbox.reload(TABLE)
    with LiveAirflow(
        tables=tables,
        home=folder / "home",
        connections=connections(sandbox),
        environment=without_proxy() | {"AIRFLOW__CELERY__WORKER_CONCURRENCY": "1"},
        database="postgresql",
        workers=workers,
    ) as airflow:
        airflow.unpause(DAG)
        run = airflow.trigger(DAG, {"forceReload": True})
        if airflow.wait_for_run(DAG, run, 3600) != "success":
            raise SystemExit(f"the run failed: see {airflow.logs}")
        tasks = airflow.task_instances(DAG, run)
    sandbox.drop_table(TABLE)
    batches = [task for task in tasks if task["task_id"].startswith("batch.")]
    rebuilds = [seconds([task]) for task in tasks if task["task_id"] == "batch.rebuild_segment"]
    return {"run_s": seconds(tasks), "batches_s": seconds(batches), "rebuild_task_s": statistics.median(rebuilds)}


def seconds(tasks: list[dict[str, Any]]) -> float:
    """From the start of the first task to the end of the last."""
    starts = [datetime.fromisoformat(task["start_date"]) for task in tasks if task["start_date"]]
    ends = [datetime.fromisoformat(task["end_date"]) for task in tasks if task["end_date"]]
    return (max(ends) - min(starts)).total_seconds()


if __name__ == "__main__":
    main()
