"""The segments of a benchmark: built by Pinot's own library, uploaded to the gateway."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from tests.benchmarks.job import Job
from tests.benchmarks.tables import Table

from deep_store_sync.segment.archive import Compression, pack
from deep_store_sync.segment.segment_files import read_creation_meta
from pinot_sandbox.gateway import GatewayProcess
from pinot_sandbox.toolchain import find_java

ROOT = Path(__file__).parents[2]


def make_job(gateway: GatewayProcess, table: Table, count: int, jars: Path, folder: Path) -> Job:
    """Build `count` segments of a table and upload them; returns a job on them that asks for no change yet."""
    folder.mkdir()
    segments = _build(folder, jars, table, count)
    client = gateway.s3.client()
    prefix = f"bench/{table.name}"
    crcs = [read_creation_meta(segment).crc for segment in segments]
    names = [segment.name for segment in segments]
    job = Job(gateway.s3, str(jars), names, crcs, prefix, str(folder / "work"), table.config, table.schema)
    for segment in segments:
        archive = folder / "packed"
        pack(segment, archive, Compression.GZIP)
        client.upload_file(str(archive), gateway.s3.bucket, job.key(segment.name))
        archive.unlink()
    return job


def _build(folder: Path, jars: Path, table: Table, count: int) -> list[Path]:
    started = time.monotonic()
    (folder / "config.json").write_text(json.dumps(table.config))
    (folder / "schema.json").write_text(json.dumps(table.schema))
    out = folder / "built"
    out.mkdir()
    source = Path(__file__).with_name("BenchSegments.java")
    quiet = ROOT / "include" / "deep_store_sync" / "jvm" / "log4j2.xml"
    command = [str(find_java()), "-Xmx8g", f"-Dlog4j2.configurationFile={quiet}", "-cp", f"{jars}/*", str(source)]
    settings = [out, count, table.rows, folder / "config.json", folder / "schema.json", *filter(None, [table.source])]
    subprocess.run([*command, *map(str, settings)], check=True)
    segments = sorted(out.iterdir())
    size = sum(path.stat().st_size for path in segments[0].rglob("*") if path.is_file())
    print(
        f"{table.name}: {count} segments of {table.rows:,} rows, {table.columns} columns, {size / 1e6:.1f} MB built in "
        f"{time.monotonic() - started:.0f} s",
        flush=True,
    )
    return segments
