"""Planning at scale: `python -m tests.benchmarks.plan [1000 10000 100000 1000000]`.

The first step of a run, against a simulated controller (`tests.benchmarks.simulated_controller`) in a process beside
it, for tables of more and more segments: seconds, the most memory of the step's process, and calls to the controller.
Rows `plan_*` go to build/benchmarks.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import ROOT
from tests.benchmarks.run import write_row
from tests.benchmarks.simulated_controller import Scenario

from deep_store_sync.table_hash import table_hash
from pinot_sandbox.gateway import GatewayProcess, S3Gateway, choose_gateway

_ANY = Scenario(0)
SHAPES: dict[str, dict[str, Any]] = {
    # A config was changed and the servers were reloaded, but for some: what a bootstrap looks like.
    "plan": {"stale": 0.1},
    # A config was changed, and no server was reloaded.
    "plan_all_stale": {"stale": 1.0},
    # A table that has been kept in sync for a while: some was pushed since, and a few servers are behind.
    "plan_mixed": {"stale": 0.02, "stamped": 0.93, "stamp": table_hash(_ANY.table_config(), _ANY.schema())},
    # All is in sync: what a run on schedule finds nearly always.
    "plan_stamped": {"stamped": 1.0, "stamp": table_hash(_ANY.table_config(), _ANY.schema())},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("segments", nargs="*", type=int, default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deep-store-sync-bench-") as name:
        (Path(name) / "logs").mkdir()
        kind, binary = choose_gateway("auto", print)
        gateway = GatewayProcess(kind, binary, Path(name))
        try:
            gateway.s3.client().create_bucket(Bucket=gateway.s3.bucket)
            for shape in options.shapes:
                for segments in options.segments:
                    row = measure(gateway.s3, Scenario(segments, **SHAPES[shape]))
                    write_row({"name": f"{shape}_{segments}", **row}, options.out)
                    print(
                        f"{shape}, {segments} segments: {row['seconds']} s ({row['cpu_s']} s of processor), "
                        f"{row['rss_mb']} MB RSS "
                        f"({row['idle_mb']} MB before it began), {row['calls']} calls to the controller, "
                        f"plan of {row['plan_mb']} MB in {row['batches']} batches, one of which is read in "
                        f"{row.get('read_batch_s', 0)} s",
                        flush=True,
                    )
        finally:
            gateway.close()


def measure(
    gateway: S3Gateway, scenario: Scenario, *, force: bool = True, budget: int = 50 * 1024**3
) -> dict[str, Any]:
    with running(scenario) as url:
        job = {
            "controller": url,
            "gateway": asdict(gateway),
            "work": f"plan-{scenario.segments}",
            "force": force,
            "budget": budget,
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.plan_process"],
            input=json.dumps(job), capture_output=True, text=True, cwd=ROOT, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(done.stderr)
        with urllib.request.urlopen(f"{url}/simulated/calls") as answer:
            calls = sum(json.load(answer).values())
    told = json.loads(done.stdout.splitlines()[-1])
    rounded = {name: round(value, 2) if isinstance(value, float) else value for name, value in told.items()}
    return {"segments": scenario.segments, "calls": calls, **rounded}


@contextmanager
def running(scenario: Scenario, simulated: str = "simulated_controller") -> Iterator[str]:
    """A simulated controller, or cluster, in a process of its own; gives its controller's URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.benchmarks.{simulated}", json.dumps(asdict(scenario))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


if __name__ == "__main__":
    main()
