"""A sync whose controller and store are beyond a bad network, step by step as the tasks of the DAG run it."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import httpx
from botocore.config import Config
from tests.e2e.kit import LOG, Sync
from tests.network.faults import Fault
from tests.network.routes import Network, RoutingTransport, s3_client
from tests.network.toxiproxy import Toxiproxy

from deep_store_sync.find import FoundPlan, find_stale_segments
from deep_store_sync.model import RunRequest, SegmentOutcome
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.publishing.publish import upload_and_refresh
from deep_store_sync.publishing.stamping import stamp_batch
from deep_store_sync.rebuilding.rebuild import rebuild_batch
from deep_store_sync.report import write_report
from deep_store_sync.services import Services
from deep_store_sync.store.client_config import client_config
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.workspace import Workspace

STORE_TIMEOUT_S = 1.5
CONTROLLER_TIMEOUT_S = 2.0
# Two tries instead of five: what is tested is that there are several.
_TWICE = Config(retries={"mode": "standard", "total_max_attempts": 2})

Rule = Callable[[str, str], Fault | None]


@dataclass(frozen=True, slots=True)
class Call:
    """A try of a call: `GetObject staged`, `POST push` or `GET /version`, say, and what befell it."""

    step: str
    name: str
    fault: Fault | None


@dataclass
class FaultySync:
    """The steps of a run. `rule` says which fault befalls a call for a segment, or for none: `""`."""

    services: Services
    step: str = ""
    rule: Rule = lambda segment, call: None
    calls: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    plan_url: str = ""
    _lock: Any = field(default_factory=threading.Lock)

    def find(self, **request: Any) -> FoundPlan:
        self.step = "find"
        run_id = request.pop("run_id", "manual__faults")
        found = find_stale_segments(self.services, RunRequest(run_id, **request), log=LOG)
        self.plan_url = found.plan_url
        return found

    def rebuild(self, batch: str) -> str:
        self.step = "rebuild"
        return rebuild_batch(self.services, self.plan_url, batch, log=LOG, should_stop=lambda: None)

    def upload(self, batch: str, rebuilt: str) -> str:
        self.step = "upload"
        return upload_and_refresh(self.services, self.plan_url, batch, rebuilt, log=LOG)

    def stamp(self, batch: str, published: str) -> str:
        self.step = "stamp"
        return stamp_batch(self.services, self.plan_url, batch, published, log=LOG)

    def report(self) -> dict[str, SegmentOutcome]:
        self.step = "report"
        write_report(self.services, self.plan_url, log=LOG)
        return {row.segment: row for row in Workspace.of_plan(self.services.store, self.plan_url).read_report()}

    def run(self, **request: Any) -> dict[str, SegmentOutcome]:
        """All steps, one after the other."""
        for batch in self.find(**request).batches:
            self.stamp(batch.id, self.upload(batch.id, self.rebuild(batch.id)))
        return self.report()

    def choose(self, segment: str, name: str) -> Fault | None:
        with self._lock:
            fault = self.rule(segment, name)
            self.calls[segment].append(Call(self.step, name, fault))
            return fault

    def choose_for_store(self, operation: str, key: str) -> Fault | None:
        """Calls of the store are named by operation and by what it is done to."""
        if found := re.search(r"/(staged|backup)/([^/]+?)(?:/[0-9a-f]{32})?\.(tar|json)$", key):
            place = "note" if found[3] == "json" else found[1]
            return self.choose(unquote(found[2]), f"{operation} {place}")
        if key.startswith("deepstore/") and not key.endswith("/"):
            return self.choose(unquote(key.rpartition("/")[2]), f"{operation} segment")
        found = re.search(r"/runs/[^/]+/[^/]+/(.+?)(-[0-9a-f]{32}|\.parquet)?$", key)
        return self.choose("", f"{operation} {unquote(found[1])}" if found else operation)

    def choose_for_controller(self, request: httpx.Request) -> Fault | None:
        if request.method == "POST" and request.url.path == "/v2/segments":
            return self.choose(request.headers["DOWNLOAD_URI"].rpartition("/")[2], "POST push")
        if found := re.fullmatch(r"/segments/[^/]+/([^/]+)/metadata", request.url.path):
            return self.choose(found[1], "GET record")
        return self.choose("", f"{request.method} {request.url.path}")


@contextmanager
def far_away(sync: Sync, toxiproxy: Toxiproxy, **settings: Any) -> Iterator[FaultySync]:
    """The sync with other settings, and with a network between us and both controller and store."""
    sandbox = sync.sandbox
    with ExitStack() as stack:
        to_store, to_controller = (
            Network(toxiproxy, sandbox.s3.endpoint_url),
            Network(toxiproxy, sandbox.controller_url),
        )
        stack.callback(to_store.close)
        stack.callback(to_controller.close)
        placeholder: Any = None
        faulty = FaultySync(placeholder)
        config = client_config(STORE_TIMEOUT_S).merge(_TWICE)
        client = s3_client(sandbox.s3, to_store, config, faulty.choose_for_store)
        stack.callback(client.close)
        controller = stack.enter_context(
            ControllerClient(
                sandbox.controller_url,
                timeout_s=CONTROLLER_TIMEOUT_S,
                retries=1,
                transport=RoutingTransport(to_controller, faulty.choose_for_controller),
            )
        )
        changed = sync.settings.model_copy(update=settings)
        faulty.services = Services(controller, sync.services.servers, DeepStore(client), changed)
        yield faulty
