"""Rebuilding batches of segments, against Pinot's own way: `python -m tests.benchmarks.run`.

Each side runs in processes of its own, JVM start, download and upload included, in turns. Pinot's way is measured on a
few segments, and the rest of the batch is counted like the last of them. Results go to build/benchmarks.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.benchmarks.job import Job
from tests.benchmarks.measure import ROOT, run
from tests.benchmarks.segments import make_job
from tests.benchmarks.tables import Table, events, wide, year_of_flights

from pinot_sandbox.gateway import GatewayProcess, choose_gateway
from pinot_sandbox.toolchain import ensure_jars


@dataclass(frozen=True, slots=True)
class Batch:
    """A table and how many segments of it: of the batch, and of those that Pinot's way is measured on."""

    table: Callable[[Path], Table]
    segments: int
    theirs: int


BATCHES = {
    "500k": Batch(lambda _: events(), segments=20, theirs=2),
    "flights": Batch(year_of_flights, segments=20, theirs=2),
    "wide": Batch(lambda _: wide(), segments=2, theirs=1),
}


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="deep-store-sync-bench-") as name:
        folder = Path(name)
        (folder / "logs").mkdir()
        jars = ensure_jars(print)
        kind, binary = choose_gateway("auto", print)
        gateway = GatewayProcess(kind, binary, folder)
        try:
            gateway.s3.client().create_bucket(Bucket=gateway.s3.bucket)
            print(f"S3: {kind}. {options.rounds} rounds", flush=True)
            for batch_name in options.batches:
                measure_batch(gateway, batch_name, jars, folder, options)
        finally:
            gateway.close()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("batches", nargs="*", default=["500k", "flights"], help=f"of {', '.join(BATCHES)}")
    parser.add_argument("--changes", nargs="+", default=["index_only", "type_change"])
    parser.add_argument("--segments", type=int, help="segments of a batch")
    parser.add_argument("--theirs", type=int, help="segments that Pinot's way is measured on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parallel", type=int, help="engine.parallelSegments")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks.json")
    return parser.parse_args()


def measure_batch(gateway: GatewayProcess, name: str, jars: Path, folder: Path, options: argparse.Namespace) -> None:
    batch = BATCHES[name]
    table = batch.table(folder)
    unchanged = make_job(gateway, table, options.segments or batch.segments, jars, folder / name)
    engine = {"parallel_segments": options.parallel} if options.parallel else {}
    for change in options.changes:
        config, schema = getattr(table, change)()
        job = replace(unchanged, config=config, schema=schema, engine=engine)
        row = f"rebuild_{change}_{table.name}"
        print(row, flush=True)
        rounds = [compare(job, options.theirs or batch.theirs, number) for number in range(options.rounds)]
        report(row, table, job, rounds, options)
        measure_overlap(f"batch_{change}_{table.name}", job, options)


def measure_overlap(name: str, job: Job, options: argparse.Namespace) -> None:
    """What the pipeline is worth: a batch's wall time against its slowest stage alone, in turns."""
    rounds = []
    for _ in range(options.rounds):
        batch_s, alone = run("ours", job).told["batch_s"], run("stages", job).told
        slowest = max(alone["fetch_s"], alone["rebuild_s"], alone["stage_s"])
        rounds.append({"batch_s": batch_s, "slowest_stage_s": slowest, "ratio": batch_s / slowest, **alone})
    row = {key: round(statistics.median(one[key] for one in rounds), 2) for key in rounds[0]}
    write_row({"name": name, "segments": len(job.segments), **row}, options.out)
    print(
        f"{name}: {row['ratio']} times its slowest stage ({row['batch_s']} s; alone: download and unpack "
        f"{row['fetch_s']} s, rebuild and verify {row['rebuild_s']} s, pack and upload {row['stage_s']} s)",
        flush=True,
    )


def compare(job: Job, theirs: int, number: int) -> dict[str, Any]:
    """A round: ours, then Pinot's way."""
    ours = run("ours", job)
    other = run("theirs", replace(job, segments=job.segments[:theirs], crcs=job.crcs[:theirs]))
    each = other.told["segments_s"]
    rest = len(job.segments) - len(each)
    theirs_s = other.seconds + rest * each[-1]  # by the last one: Java is warm by then
    row = {
        "ours_s": ours.seconds,
        "theirs_s": theirs_s,
        "ratio": theirs_s / ours.seconds,
        "ours_cpu_s": ours.told["cpu_s"],
        "theirs_cpu_s": other.told["cpu_s"] + rest * other.told["segments_cpu_s"][-1],
        "rss_mb": ours.rss_mb,
        "disk_mb": ours.disk_mb,
        "verify_share": ours.told["verify_s"] / max(ours.told["rebuild_s"], 1e-9),
    }
    told = ours.told
    steps = ", ".join(f"{step} {told[step + '_s']:.1f} s" for step in ("download", "rebuild", "verify", "stage"))
    print(
        f"round {number + 1}: {row['ratio']:.1f} times as fast\n"
        f"  ours   {ours.seconds:.1f} s ({row['ours_cpu_s']:.1f} s of processor), {ours.rss_mb:.0f} MB RSS, "
        f"{ours.disk_mb:.0f} MB disk, object of {told['object_mb']:.1f} MB to one of {told['staged_mb']:.1f} MB "
        f"(sums of overlapping steps: {steps}; the batch alone {told['batch_s']:.1f} s)\n"
        f"  theirs {theirs_s:.1f} s ({row['theirs_cpu_s']:.1f} s of processor), {other.rss_mb:.0f} MB RSS, "
        f"{other.disk_mb:.0f} MB disk, to an object of {other.told['staged_mb']:.1f} MB "
        f"({', '.join(f'{s:.1f}' for s in each)} s a segment, the rest of {len(job.segments)} counted like the last)",
        flush=True,
    )
    return row


def report(name: str, table: Table, job: Job, rounds: list[dict[str, Any]], options: argparse.Namespace) -> None:
    middle = {key: round(statistics.median(row[key] for row in rounds), 2) for key in rounds[0]}
    write_row(
        {
            "name": name,
            **middle,
            "rss_mb": round(max(row["rss_mb"] for row in rounds)),
            "disk_mb": round(max(row["disk_mb"] for row in rounds)),
            "ratios": [round(row["ratio"], 2) for row in rounds],
            "segments": len(job.segments),
            "rows": table.rows,
            "columns": table.columns,
        },
        options.out,
    )
    print(f"{name}: {middle['ratio']} times as fast (median of {options.rounds}); written to {options.out}", flush=True)


def write_row(row: dict[str, Any], out: Path) -> None:
    """Put a row in place of the one of its name, with the machine that it was measured on."""
    row["machine"] = (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"load {os.getloadavg()[2]:.1f} over the last quarter of an hour"
    )
    known = json.loads(out.read_text()) if out.exists() else []
    out.parent.mkdir(parents=True, exist_ok=True)
    kept = [other for other in known if other["name"] != row["name"]]
    out.write_text(json.dumps([*kept, row], indent=2) + "\n")


if __name__ == "__main__":
    main()
