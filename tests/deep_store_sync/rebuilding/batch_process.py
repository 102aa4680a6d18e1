"""`rebuild_batch` in a process of its own, with the signal handler that Airflow's task runner has."""

from __future__ import annotations

import json
import logging
import signal
import sys
from typing import Any

import httpx

from deep_store_sync.errors import DeepStoreSyncError
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.servers import ServerClient
from deep_store_sync.rebuilding.rebuild import rebuild_batch
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore
from pinot_sandbox.gateway import S3Gateway


def main() -> None:
    told: dict[str, Any] = json.loads(sys.stdin.readline())
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cancelled: list[str] = []
    signal.signal(signal.SIGTERM, lambda *_: cancelled.append("the task was cancelled"))
    version = httpx.MockTransport(lambda _: httpx.Response(200, json={"pinot-controller": told["version"]}))
    with ControllerClient("http://pinot", transport=version) as controller, ServerClient() as servers:
        store = DeepStore(S3Gateway(**told["gateway"]).client())
        services = Services(controller, servers, store, TableSync.model_validate(told["settings"]))
        try:
            rebuild_batch(
                services,
                told["plan_url"],
                "b1",
                log=logging.getLogger("batch"),
                should_stop=lambda: cancelled[0] if cancelled else None,
            )
        except DeepStoreSyncError as error:
            print(f"{type(error).__name__}: {error}")
        else:
            print("done")


if __name__ == "__main__":
    main()
