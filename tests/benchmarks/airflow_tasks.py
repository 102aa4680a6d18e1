"""What Airflow itself costs: `python -m tests.benchmarks.airflow_tasks [--batches 50]`.

A DAG of the shape that a table's has, with mapped groups of four tasks that do nothing, in a live Airflow with
LocalExecutor and PostgreSQL: seconds a run, a batch and a task; and what the DAG processor takes to build and serialize
the DAGs of many table files. Rows `airflow_*` go to build/benchmarks.json.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import ROOT
from tests.benchmarks.run import write_row

from pinot_sandbox.live_airflow import LiveAirflow

DAG = """
from datetime import datetime
from airflow.sdk import DAG, BaseOperator, task_group

class Nothing(BaseOperator):
    template_fields = ("batch",)
    def __init__(self, *, batch=None, **kwargs):
        super().__init__(**kwargs)
        self.batch = batch
    def execute(self, context):
        return self.batch

class Batches(BaseOperator):
    def execute(self, context):
        return [{"id": f"b{number:04d}"} for number in range(context["params"]["batches"])]

with DAG("nothing", schedule=None, start_date=datetime(2024, 1, 1), params={"batches": 1}) as dag:
    @task_group(group_id="batch")
    def batch_group(batch):
        steps = [Nothing(task_id=name, batch=batch) for name in ("rebuild", "wait", "upload", "stamp")]
        for one, other in zip(steps, steps[1:]):
            one >> other
    Nothing(task_id="wait") >> (found := Batches(task_id="find"))
    batch_group.expand(batch=found.output) >> Nothing(task_id="report", trigger_rule="all_done")
"""
PARSE = """
import time
from pathlib import Path
from airflow.serialization.serialized_objects import DagSerialization
from deep_store_sync_airflow.dag_factory import build_dags
start = time.process_time()
found = [DagSerialization.to_dict(dag) for dag in build_dags(Path(%r))]
print(len(found), time.process_time() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=50)
    parser.add_argument("--parallel", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks.json")
    options = parser.parse_args()
    row = parsed(options.tables)
    write_row({"name": f"airflow_tables_{options.tables}", **row}, options.out)
    print(row, flush=True)
    for parallel in options.parallel:
        row = measured(options.batches, parallel)
        write_row({"name": f"airflow_tasks_{parallel}_at_once", **row}, options.out)
        print(row, flush=True)


def measured(batches: int, parallel: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="deep-store-sync-bench-") as name:
        dags, tables = Path(name, "dags"), Path(name, "tables")
        dags.mkdir()
        tables.mkdir()
        (dags / "nothing.py").write_text(DAG)
        with LiveAirflow(tables=tables, dags=dags, home=Path(name, "home"), parallelism=parallel) as airflow:
            airflow.unpause("nothing")
            row: dict[str, Any] = {"parallel": parallel, "database": airflow.database}
            for count in (1, batches):
                run = airflow.trigger("nothing", {"batches": count})
                assert airflow.wait_for_run("nothing", run, 1200) == "success"
                states = airflow.task_states("nothing", run)
                assert len(states) == 3 + 4 * count, len(states)
                row[f"run_of_{count}_s"] = round(_took(airflow.dag_run("nothing", run)), 2)
            row["task_s"] = round(row[f"run_of_{batches}_s"] / (3 + 4 * batches), 3)
        return row


def parsed(tables: int) -> dict[str, Any]:
    """The DAGs of many table files, as the DAG processor builds them."""
    with tempfile.TemporaryDirectory(prefix="deep-store-sync-bench-") as name:
        for number in range(tables):
            Path(name, f"t{number}.yaml").write_text(
                f"table: t{number}_OFFLINE\ndeepStorePrefixes: [s3://b/d]\nworkspace: s3://b/w\n"
            )
        environment = {**os.environ, "AIRFLOW_HOME": name}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PARSE % name],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found, seconds = done.stdout.split()[-2:]
        assert int(found) == tables
        return {
            "tables": tables,
            "cpu_s": round(float(seconds), 2),
            "cpu_ms_a_table": round(1e3 * float(seconds) / tables),
        }


def _took(run: dict[str, Any]) -> float:
    start, end = (datetime.fromisoformat(run[name].replace("Z", "+00:00")) for name in ("start_date", "end_date"))
    return (end - start).total_seconds()


if __name__ == "__main__":
    main()
