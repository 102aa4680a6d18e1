"""Rebuilding a batch of segments for an index-only change, against Pinot's own way: `python -m tests.benchmarks.run`.

Each side runs in processes of its own, JVM start, download and upload included, in turns. Pinot's way is measured on a
few segments, and the rest of the batch is counted like the last of them. Results go to build/benchmarks.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.benchmarks.job import Job
from tests.benchmarks.table import ROWS, schema, table_config

from deep_store_sync.segment.archive import Compression, pack
from deep_store_sync.segment.segment_files import read_creation_meta
from pinot_sandbox.gateway import GatewayProcess, choose_gateway
from pinot_sandbox.toolchain import ensure_jars, find_java

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Measured:
    """A process: how long it took from its start to its end, what it told, and the most that its work folder held."""

    seconds: float
    told: dict[str, Any]
    disk_mb: float


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="deep-store-sync-bench-") as name:
        folder = Path(name)
        (folder / "logs").mkdir()
        jars = ensure_jars(print)
        segments = build_segments(folder, jars, options.segments, options.rows)
        kind, binary = choose_gateway("auto", print)
        gateway = GatewayProcess(kind, binary, folder)
        try:
            job = upload(gateway, segments, jars, folder)
            print(
                f"S3: {kind}. {options.rounds} rounds of {len(segments)} segments of {options.rows:,} rows", flush=True
            )
            rows = [measure(job, options.theirs, number) for number in range(options.rounds)]
        finally:
            gateway.close()
    report(rows, options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=8, help="segments of the batch")
    parser.add_argument("--theirs", type=int, default=2, help="segments that Pinot's way is measured on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of a segment")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks.json")
    return parser.parse_args()


def build_segments(folder: Path, jars: Path, count: int, rows: int) -> list[Path]:
    started = time.monotonic()
    (folder / "config.json").write_text(json.dumps(table_config()))
    (folder / "schema.json").write_text(json.dumps(schema()))
    out = folder / "built"
    out.mkdir()
    source = Path(__file__).with_name("BenchSegments.java")
    quiet = ROOT / "include" / "deep_store_sync" / "jvm" / "log4j2.xml"
    command = [str(find_java()), "-Xmx4g", f"-Dlog4j2.configurationFile={quiet}", "-cp", f"{jars}/*", str(source)]
    settings = [out, count, rows, folder / "config.json", folder / "schema.json"]
    subprocess.run([*command, *map(str, settings)], check=True)
    segments = sorted(out.iterdir())
    size = sum(path.stat().st_size for path in segments[0].rglob("*") if path.is_file())
    print(f"{count} segments of {size / 1e6:.1f} MB built in {time.monotonic() - started:.0f} s", flush=True)
    return segments


def upload(gateway: GatewayProcess, segments: list[Path], jars: Path, folder: Path) -> Job:
    client = gateway.s3.client()
    client.create_bucket(Bucket=gateway.s3.bucket)
    crcs = [read_creation_meta(segment).crc for segment in segments]
    names = [segment.name for segment in segments]
    job = Job(gateway.s3, str(jars), names, crcs, "bench", str(folder / "work"))
    for segment in segments:
        archive = folder / "packed"
        pack(segment, archive, Compression.GZIP)
        client.upload_file(str(archive), gateway.s3.bucket, job.key(segment.name))
        archive.unlink()
    return job


def measure(job: Job, theirs: int, number: int) -> dict[str, Any]:
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
        "rss_mb": ours.told["rss_mb"],
        "disk_mb": ours.disk_mb,
    }
    told = ours.told
    steps = ", ".join(f"{step} {told[step + '_s']:.1f} s" for step in ("download", "rebuild", "verify", "stage"))
    print(
        f"round {number + 1}: {row['ratio']:.1f} times as fast\n"
        f"  ours   {ours.seconds:.1f} s ({row['ours_cpu_s']:.1f} s of processor), {told['rss_mb']} MB RSS, "
        f"{ours.disk_mb:.0f} MB disk, object of {told['object_mb']:.1f} MB to one of {told['staged_mb']:.1f} MB "
        f"(sums of overlapping steps: {steps})\n"
        f"  theirs {theirs_s:.1f} s ({row['theirs_cpu_s']:.1f} s of processor), {other.told['rss_mb']} MB RSS, "
        f"{other.disk_mb:.0f} MB disk, to an object of {other.told['staged_mb']:.1f} MB "
        f"({', '.join(f'{s:.1f}' for s in each)} s a segment, the rest of {len(job.segments)} counted like the last)",
        flush=True,
    )
    return row


def run(side: str, job: Job) -> Measured:
    started = time.monotonic()
    with watched(Path(job.workdir)) as most:
        process = subprocess.run(
            [sys.executable, "-m", f"tests.benchmarks.{side}"],
            input=job.to_json(),
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        seconds = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"{side} failed:\n{process.stderr}\n{process.stdout}")
    return Measured(seconds, json.loads(process.stdout.splitlines()[-1]), most[0] / 1e6)


@contextmanager
def watched(folder: Path) -> Iterator[list[float]]:
    """The most bytes that a folder holds meanwhile, looked at twenty times a second."""
    most, done = [0.0], threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            most[0] = max(most[0], used(folder))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield most
    finally:
        done.set()
        watcher.join()


def used(folder: Path) -> float:
    total = 0
    for parent, _, names in os.walk(folder):  # which passes over folders that go away meanwhile
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(parent, name).stat().st_blocks * 512
    return total


def report(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    middle = {key: round(statistics.median(row[key] for row in rows), 2) for key in rows[0]}
    row = {
        "name": "rebuild_index_only_500k",
        "ratio": middle["ratio"],
        "ours_s": middle["ours_s"],
        "theirs_s": middle["theirs_s"],
        "ours_cpu_s": middle["ours_cpu_s"],
        "theirs_cpu_s": middle["theirs_cpu_s"],
        "rss_mb": max(row["rss_mb"] for row in rows),
        "disk_mb": round(max(row["disk_mb"] for row in rows)),
        "ratios": [round(row["ratio"], 2) for row in rows],
        "segments": options.segments,
        "rows": options.rows,
        "theirs_measured_on_segments": options.theirs,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"load {os.getloadavg()[2]:.1f} over the last quarter of an hour",
    }
    known = json.loads(options.out.read_text()) if options.out.exists() else []
    options.out.parent.mkdir(parents=True, exist_ok=True)
    kept = [other for other in known if other["name"] != row["name"]]
    options.out.write_text(json.dumps([*kept, row], indent=2) + "\n")
    print(f"{row['name']}: {row['ratio']} times as fast (median of {options.rounds}); written to {options.out}")


if __name__ == "__main__":
    main()
