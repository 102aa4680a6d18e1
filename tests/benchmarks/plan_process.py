"""The first step of a run, as the Airflow task calls it, in a process of its own; see `tests.benchmarks.plan`."""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from deep_store_sync.find import find_stale_segments
from deep_store_sync.model import RunRequest
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.servers import ServerClient
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.workspace import Workspace
from pinot_sandbox.gateway import S3Gateway


class TwoStores(DeepStore):
    """The workspace in one store, and the segments listed in another."""

    segments: DeepStore

    def list_etags(
        self, prefix_url: str, *, after: str | None = None, until: str | None = None
    ) -> Iterator[list[tuple[str, str]]]:
        return self.segments.list_etags(prefix_url, after=after, until=until)


def main() -> None:
    told = json.loads(sys.stdin.read())
    gateway = S3Gateway(**told["gateway"])
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = TableSync(
        table="events_OFFLINE",
        deep_store_prefixes=("s3://deep/store",),
        workspace=f"s3://{gateway.bucket}/{told['work']}",
        audit_budget=told["budget"],
    )
    store = TwoStores(gateway.client())
    store.segments = DeepStore(replace(gateway, endpoint_url=told["controller"]).client())
    idle_mb = _most_mb()
    with ControllerClient(told["controller"]) as controller, ServerClient() as servers:
        services = Services(controller, servers, store, settings)
        started = time.monotonic()
        found = find_stale_segments(
            services, RunRequest("benchmark", force=told["force"]), log=logging.getLogger("plan")
        )
        seconds = time.monotonic() - started
    answer = {
        "seconds": seconds,
        "cpu_s": time.process_time(),
        "rss_mb": _most_mb(),
        "idle_mb": idle_mb,
        "planned": len(found.plan.segments),
        "batches": len(found.batches),
        "plan_mb": store.head(found.plan_url).size / 1e6,
    }
    if found.batches:
        started = time.monotonic()
        middle = found.batches[len(found.batches) // 2]
        plan = Workspace.of_plan(store, found.plan_url).read_plan(middle.id)
        assert len(plan.segments) == middle.segments
        answer["read_batch_s"] = time.monotonic() - started
    print(json.dumps(answer))


def _most_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
