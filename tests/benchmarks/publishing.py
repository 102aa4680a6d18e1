"""Bringing staged archives to the deep store: streamed through the worker, against copied inside the store.

`python -m tests.benchmarks.publishing`. Both go through what publishes a segment, in turns, with archives of the sizes
that `tests.benchmarks.run` has, on a gateway of its own. Results go to build/benchmarks.json.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, cast

from tests.benchmarks.measure import ROOT
from tests.benchmarks.run import write_row

from deep_store_sync.model import Action, CopyBy, PlannedSegment, RebuildResult, Rebuilt, Servers, StampState
from deep_store_sync.publishing.publish_segment import SegmentPublisher
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.store.object_mark import ObjectMark
from deep_store_sync.workspace import Workspace
from pinot_sandbox.gateway import GatewayProcess, choose_gateway

SIZES_MB = (5, 24, 405)
SEGMENTS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES_MB), help="megabytes of an archive")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deep-store-sync-bench-") as name:
        folder = Path(name)
        (folder / "logs").mkdir()
        kind, binary = choose_gateway("auto", print)
        gateway = GatewayProcess(kind, binary, folder)
        try:
            gateway.s3.client().create_bucket(Bucket=gateway.s3.bucket)
            store = DeepStore(gateway.s3.client())
            ways = store.probe_copies(f"s3://{gateway.s3.bucket}/probe")
            if not ways:
                raise SystemExit(f"{kind} copies nothing on a condition: nothing to compare")
            for size in options.sizes:
                measure(store, f"s3://{gateway.s3.bucket}/{size}", size, ways, folder, options)
        finally:
            gateway.close()


def measure(
    store: DeepStore, root: str, size: int, ways: tuple[CopyBy, ...], folder: Path, options: argparse.Namespace
) -> None:
    archive = folder / "archive"
    with archive.open("wb") as file:
        for _ in range(size):
            file.write(os.urandom(1_000_000))
    rounds = []
    for _ in range(options.rounds):
        row: dict[str, float] = {}
        for name, copies in (("streamed", ()), ("copied", ways)):
            seconds, processor = publish(store, root, archive, copies, folder / "work")
            row |= {f"{name}_s": seconds, f"{name}_cpu_s": processor}
        rounds.append(row | {"ratio": row["streamed_s"] / row["copied_s"]})
    archive.unlink()
    middle = {key: round(statistics.median(one[key] for one in rounds), 3) for key in rounds[0]}
    write_row({"name": f"publish_{size}mb", "segments": SEGMENTS, "ways": " ".join(ways), **middle}, options.out)
    print(
        f"{SEGMENTS} archives of {size} MB: streamed {middle['streamed_s']} s ({middle['streamed_cpu_s']} s of the "
        f"worker's processor), copied {middle['copied_s']} s ({middle['copied_cpu_s']} s): {middle['ratio']} times",
        flush=True,
    )


def publish(
    store: DeepStore, root: str, archive: Path, copies: tuple[CopyBy, ...], workdir: Path
) -> tuple[float, float]:
    """Seconds, and seconds of this process' processor, that it takes to overwrite objects with staged archives."""
    settings = TableSync(
        table="bench_OFFLINE",
        deep_store_prefixes=(f"{root}/segments",),
        workspace=f"{root}/work",
    )
    services = Services(cast(Any, None), cast(Any, None), store, settings)
    workspace = Workspace(store, f"{root}/work/runs/1")
    publisher = SegmentPublisher(services, workspace, "run", logging.getLogger("benchmark"), workdir, copies=copies)
    staged = []
    for number in range(SEGMENTS):
        segment, url = f"s{number}", f"{root}/segments/s{number}"
        store.write_workspace(url, b"old")
        etag = store.write_workspace(workspace.staged_url(segment), archive)
        row = PlannedSegment(segment, Action.REBUILD, "", "v1:0", Servers.STALE, StampState.NONE, 1, url)
        rebuilt = RebuildResult(
            segment,
            Rebuilt.CHANGED,
            crc=1,
            staged_url=workspace.staged_url(segment),
            staged_crc=2,
            staged_etag=etag,
            staged_bytes=archive.stat().st_size,
        )
        staged.append((row, rebuilt, store.head(url)))
    started, processor = time.monotonic(), time.process_time()
    for row, rebuilt, before in staged:
        publisher._replace(row, rebuilt, before, ObjectMark("run", 1, 2, "v1:0"), 2)
    return time.monotonic() - started, time.process_time() - processor


if __name__ == "__main__":
    main()
