"""A batch the way this product does it: `rebuild_batch` as the Airflow task calls it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from tests.benchmarks.job import Job, perform

from deep_store_sync.model import Action, Plan, PlannedSegment, RebuildResult, Rebuilt, RunRequest, Servers, StampState
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.servers import ServerClient
from deep_store_sync.rebuilding.rebuild import rebuild_batch
from deep_store_sync.services import Services
from deep_store_sync.settings import EngineSettings, TableSync
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.workspace import Workspace
from pinot_sandbox.toolchain import pinot_version


@contextmanager
def prepared(job: Job) -> Iterator[tuple[Services, Workspace, str]]:
    """Services for the job's table, and a plan of one batch `b1` in its workspace."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    table = job.config["tableName"]
    root = f"s3://{job.gateway.bucket}/{job.prefix}"
    store = DeepStore(job.client())
    planned = tuple(
        PlannedSegment(
            segment=segment,
            action=Action.REBUILD,
            reason="benchmark",
            table_hash="v1:benchmark",
            servers=Servers.STALE,
            stamp=StampState.NONE,
            crc=crc,
            url=f"{root}/segments/{segment}",
            size_bytes=store.head(f"{root}/segments/{segment}").size,
            batch="b1",
        )
        for segment, crc in zip(job.segments, job.crcs, strict=True)
    )
    workspace = Workspace.for_run(store, f"{root}/work", table, "benchmark", 1)
    url = workspace.write_plan(Plan(table, RunRequest("benchmark"), 1, job.config, job.schema, planned))
    settings = TableSync(
        table=table,
        deep_store_prefixes=(f"{root}/segments",),
        workspace=f"{root}/work",
        engine=EngineSettings(jars=Path(job.jars), workdir=Path(job.workdir), **job.engine),
    )
    # The one thing that a rebuild asks the controller.
    version = httpx.MockTransport(lambda _: httpx.Response(200, json={"pinot-controller": pinot_version()}))
    with ControllerClient("http://controller", transport=version) as controller, ServerClient() as servers:
        yield Services(controller, servers, store, settings), workspace, url


def work(job: Job) -> dict[str, Any]:
    with prepared(job) as (services, workspace, url):
        started = time.monotonic()
        rebuild_batch(services, url, "b1", log=logging.getLogger("benchmark"), should_stop=lambda: None)
        seconds = time.monotonic() - started
        results = workspace.read_results("rebuilt", "b1", RebuildResult) or []
    assert {result.status for result in results} == {Rebuilt.CHANGED}, results
    return {
        "batch_s": seconds,
        "download_s": sum(result.download_s for result in results),
        "rebuild_s": sum(result.rebuild_s for result in results),
        "verify_s": sum(result.verify_s for result in results),
        "stage_s": sum(result.stage_s for result in results),
        "object_mb": sum(result.object_bytes for result in results) / len(results) / 1e6,
        "staged_mb": sum(result.staged_bytes for result in results) / len(results) / 1e6,
    }


if __name__ == "__main__":
    perform(work)
