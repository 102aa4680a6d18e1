"""A batch published in waves, as the Airflow task calls it, in a process of its own; see `tests.benchmarks.waves`."""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
from typing import Any

from tests.benchmarks.simulated_controller import Scenario

from deep_store_sync.model import (
    Action,
    Outcome,
    Plan,
    PlannedSegment,
    Published,
    RebuildResult,
    Rebuilt,
    RunRequest,
    Servers,
    StampState,
)
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.servers import ServerClient
from deep_store_sync.publishing.publish import upload_and_refresh
from deep_store_sync.publishing.stamping import stamp_batch
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.table_hash import table_hash
from deep_store_sync.workspace import Workspace
from pinot_sandbox.gateway import S3Gateway

BATCH = "b0000"
LOG = logging.getLogger("waves")


def rebuilt_batch(services: Services, scenario: Scenario, count: int) -> Workspace:
    """A plan with one batch of the first `count` segments, rebuilt and staged; objects and archives are a few bytes."""
    store, settings = services.store, services.settings
    workspace = Workspace.for_run(store, settings.workspace, settings.table, "benchmark", 1)
    rows, results = [], []
    for number in range(count):
        name, crc = scenario.name(number), scenario.crc(number)
        url, staged = f"{scenario.folder}/{name}", workspace.staged_url(name)
        etag = store.write_workspace(url, f"old {name}".encode())
        body = f"new {name}".encode()
        staged_etag = store.write_workspace(staged, body)
        servers = Servers.STALE if number < scenario.segments * scenario.stale else Servers.CLEAN
        hosts = tuple(scenario.server(server) for server in scenario.hosts(number))
        rows.append(
            PlannedSegment(
                name,
                Action.REBUILD,
                "forced",
                table_hash(scenario.table_config(), scenario.schema()),
                servers,
                StampState.NONE,
                crc=crc,
                url=url,
                size_bytes=len(body),
                replicas=hosts,
                batch=BATCH,
            )
        )
        new_crc = crc + 1
        results.append(
            RebuildResult(
                name,
                Rebuilt.CHANGED,
                crc=crc,
                object_crc=crc,
                new_crc=new_crc,
                etag=etag,
                staged_url=staged,
                staged_crc=crc if servers is Servers.CLEAN else new_crc,
                staged_etag=staged_etag,
                changes=("user_id: inverted_index added",),
                metadata_properties=b"x = y\n",
                object_bytes=len(body),
                staged_bytes=len(body),
            )
        )
    plan = Plan(
        settings.table, RunRequest("benchmark", force=True), 1, scenario.table_config(), scenario.schema(), rows
    )
    workspace.write_plan(plan)
    workspace.write_results("rebuilt", BATCH, results, RebuildResult)
    return workspace


def published_batch(services: Services, workspace: Workspace) -> list[Published]:
    """What publishing it came to."""
    upload_and_refresh(services, workspace.plan_url, BATCH, workspace.result_url("rebuilt", BATCH), log=LOG)
    return workspace.read_results("published", BATCH, Published) or []


def main() -> None:
    told = json.loads(sys.stdin.read())
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    gateway, scenario = S3Gateway(**told["gateway"]), Scenario(**told["scenario"])
    settings = TableSync(
        table=scenario.table,
        deep_store_prefixes=("s3://deep/store",),
        workspace=f"s3://{gateway.bucket}/waves-{scenario.segments}-{scenario.stale:g}",
        wave_segments=told["wave_segments"],
    )
    with ControllerClient(told["controller"], timeout_s=300) as controller, ServerClient(timeout_s=300) as servers:
        services = Services(controller, servers, DeepStore(gateway.client()), settings)
        count = told["waves"] * told["wave_segments"]
        workspace = rebuilt_batch(services, scenario, count)
        before_mb, started, cpu = _most_mb(), time.monotonic(), time.process_time()
        results = published_batch(services, workspace)
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
        answer: dict[str, Any] = {
            "wave_s": seconds / told["waves"],
            "wave_cpu_s": cpu / told["waves"],
            "rss_mb": _most_mb(),
            "before_mb": before_mb,
            "modes": sorted({str(row.mode) for row in results}),
        }
        assert {row.outcome for row in results} == {Outcome.SYNCED}, results[:3]
        assert len(results) == count
        started = time.monotonic()
        stamp_batch(services, workspace.plan_url, BATCH, workspace.result_url("published", BATCH), log=LOG)
        answer["stamp_s"] = (time.monotonic() - started) / count
    print(json.dumps(answer))


def _most_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
