"""What a wave costs on a large table: `python -m tests.benchmarks.waves [1000 10000 100000 1000000]`.

A batch is published in waves, by the product's own step, to a simulated cluster (`tests.benchmarks.simulated_cluster`)
in a process beside it and a real S3 gateway, with archives of a few bytes: what is left is what a wave costs besides
moving data. Once quietly, once by refresh. Rows `waves_*` go to build/benchmarks.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import ROOT
from tests.benchmarks.plan import running
from tests.benchmarks.run import write_row
from tests.benchmarks.simulated_controller import Scenario

from pinot_sandbox.gateway import GatewayProcess, S3Gateway, choose_gateway

WAVES, WAVE_SEGMENTS = 20, 10
SHAPES: dict[str, dict[str, Any]] = {"quiet": {}, "refresh": {"stale": 1.0}}


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
            for bucket in (gateway.s3.bucket, "deep"):
                gateway.s3.client().create_bucket(Bucket=bucket)
            for shape in options.shapes:
                for segments in options.segments:
                    row = measure(gateway.s3, Scenario(segments, **SHAPES[shape]))
                    write_row({"name": f"waves_{shape}_{segments}", **row}, options.out)
                    print(f"{shape}, {segments} segments: {row}", flush=True)
        finally:
            gateway.close()


def measure(gateway: S3Gateway, scenario: Scenario) -> dict[str, Any]:
    with running(scenario, "simulated_cluster") as url:
        job = {"controller": url, "gateway": asdict(gateway), "scenario": asdict(scenario), "waves": WAVES,
               "wave_segments": WAVE_SEGMENTS}  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.waves_process"],
            input=json.dumps(job), capture_output=True, text=True, cwd=ROOT, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(done.stderr)
        with urllib.request.urlopen(f"{url}/simulated/calls") as answer:
            calls = json.load(answer)
    told = json.loads(done.stdout.splitlines()[-1])
    of_table = f"/segments/{scenario.table}/isStale"
    pushes = calls.pop("/v2/segments")
    per_segment = sum(calls.pop(path) for path in list(calls) if path.endswith("/metadata"))
    crcs = calls.pop(f"/tables/{scenario.table}/segments/crc", 0)
    rounded = {name: round(value, 2) if isinstance(value, float) else value for name, value in told.items()}
    return {
        "segments": scenario.segments,
        "waves": WAVES,
        **rounded,
        "is_stale": calls.get(of_table, 0),
        "calls_a_wave": round(sum(calls.values()) / WAVES, 1),
        "calls_a_segment": round((pushes + per_segment) / (WAVES * WAVE_SEGMENTS), 1),
        "server_calls_a_wave": round(crcs / WAVES, 1),
    }


if __name__ == "__main__":
    main()
