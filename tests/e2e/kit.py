"""One table on the sandbox, synced by the real steps, and everything that can be seen of it from outside."""

from __future__ import annotations

import hashlib
import io
import logging
import tarfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from deep_store_sync.find import FoundPlan, find_stale_segments
from deep_store_sync.model import Outcome, RunRequest, SegmentOutcome
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.servers import ServerClient
from deep_store_sync.publishing.publish import upload_and_refresh
from deep_store_sync.publishing.stamping import stamp_batch
from deep_store_sync.rebuilding.rebuild import rebuild_batch
from deep_store_sync.report import RunReport, write_report
from deep_store_sync.services import Services
from deep_store_sync.settings import EngineSettings, TableSync
from deep_store_sync.stamp import HASH_KEY, RUN_KEY
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.workspace import Workspace
from pinot_sandbox import Sandbox

TABLE = "flights_OFFLINE"
LOG = logging.getLogger("tests.e2e")


@dataclass(frozen=True)
class SegmentView:
    """A segment from outside: the object, what is in it, and ZooKeeper's word."""

    etag: str
    content: dict[str, str]
    """Member of the archive to the digest of its bytes, `creation.meta` aside."""
    indexes: frozenset[str]
    """`column.index` of everything in `columns.psf`."""
    crc: int
    stamp: str | None
    stamped_by: str | None
    refresh_ms: int | None


@dataclass
class Sync:
    """Runs the steps of the DAG, one after the other, on a table of the sandbox."""

    sandbox: Sandbox
    workspace: str
    settings: TableSync
    services: Services
    last: FoundPlan | None = None
    reports: list[RunReport] = field(default_factory=list)
    table: str = TABLE

    def with_settings(self, **changes: Any) -> Sync:
        settings = self.settings.model_copy(update=changes)
        services = Services(self.services.controller, self.services.servers, self.services.store, settings)
        return Sync(self.sandbox, self.workspace, settings, services, table=self.table)

    def run(
        self,
        *,
        between: Callable[[], None] = lambda: None,
        stop: Callable[[], str | None] = lambda: None,
        **request: Any,
    ) -> dict[str, SegmentOutcome]:
        """A whole run; `between` comes after rebuilding, before publishing. Returns the report's rows by segment."""
        run_id = request.pop("run_id", f"manual__{uuid.uuid4()}")
        found = find_stale_segments(self.services, RunRequest(run_id, **request), log=LOG)
        self.last = found
        for batch in found.batches:
            rebuilt = rebuild_batch(self.services, found.plan_url, batch.id, log=LOG, should_stop=lambda: None)
            between()
            if rebuilt is None:
                continue
            published = upload_and_refresh(self.services, found.plan_url, batch.id, rebuilt, log=LOG, should_stop=stop)
            stamp_batch(self.services, found.plan_url, batch.id, published, log=LOG)
        report = write_report(self.services, found.plan_url, log=LOG)
        self.reports.append(report)
        if report.dry_run:
            return {}
        rows = Workspace.of_plan(self.services.store, found.plan_url).read_report()
        assert len(rows) == len(found.plan.segments)
        return {row.segment: row for row in rows}

    def look(self) -> dict[str, SegmentView]:
        """Every segment of the table as it is now, but for those that consume."""
        views = {}
        for record in self.services.controller.segments(self.table):
            if record.status == "IN_PROGRESS":
                continue
            assert record.url is not None
            assert record.crc is not None
            body = self.services.store.read(record.url)
            content, indexes = _archive(body)
            views[record.name] = SegmentView(
                etag=self.services.store.head(record.url).etag,
                content=content,
                indexes=indexes,
                crc=record.crc,
                stamp=record.custom.get(HASH_KEY),
                stamped_by=record.custom.get(RUN_KEY),
                refresh_ms=record.refresh_ms,
            )
        return views

    def downloads(self) -> dict[str, int]:
        """Downloads of the table's segments by server since the last reset."""
        counts = self.sandbox.downloads(self.table)
        return {server: sum(item.count for item in counts[server].values()) for server in self.sandbox.servers}


@contextmanager
def syncing(sandbox: Sandbox, table: str = TABLE) -> Iterator[Sync]:
    """A sync of a table that is yet to be made; it is dropped in the end, and all servers run."""
    client = sandbox.s3.client()
    workspace = f"s3://{sandbox.s3.bucket}/deep-store-sync/{uuid.uuid4().hex}"
    settings = TableSync(
        table=table,
        deep_store_prefixes=(sandbox.deep_store_url,),
        workspace=workspace,
        engine=EngineSettings(jars=sandbox.jars_dir),
        proof_timeout=timedelta(seconds=60),
    )
    with ControllerClient(sandbox.controller_url) as controller, ServerClient() as servers:
        services = Services(controller, servers, DeepStore(client), settings)
        yield Sync(sandbox, workspace, settings, services, table=table)
        for server in sandbox.servers:
            if not sandbox.is_running(server):
                sandbox.start_server(server)
        sandbox.drop_table(table)
    client.close()


def _archive(body: bytes) -> tuple[dict[str, str], frozenset[str]]:
    content, indexes = {}, set()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        for member in archive:
            if not member.isfile():
                continue
            data = archive.extractfile(member).read()  # type: ignore[union-attr]
            name = member.name.partition("/")[2]
            if name.endswith("index_map"):
                indexes |= {line.split(" ")[0].rsplit(".", 1)[0] for line in data.decode().splitlines() if line.strip()}
            if not name.endswith("creation.meta"):
                content[name] = hashlib.sha256(data).hexdigest()
    return content, frozenset(indexes)


def add_indexes(sandbox: Sandbox) -> None:
    """The change of the scenarios: inverted, range and bloom filter indexes that the segments were built without."""
    config = sandbox.table_config(TABLE)
    config["tableIndexConfig"].update(
        invertedIndexColumns=["origin", "carrier"], rangeIndexColumns=["distance"], bloomFilterColumns=["tailnum"]
    )
    sandbox.update_table_config(config)


def leave_servers_behind(sync: Sync) -> dict[str, Any]:
    """A stamped month of flights whose servers were reloaded for a config that was taken back; returns the config.

    The deep store is current, and only a forced download brings the servers there.
    """
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1])
    original = sandbox.table_config(TABLE)
    assert outcomes(sync.run(force=True)) == {Outcome.STAMPED}
    add_indexes(sandbox)
    sandbox.reload(TABLE)
    sandbox.update_table_config(original)
    return original


NEW_INDEXES = frozenset(
    {"origin.inverted_index", "carrier.inverted_index", "distance.range_index", "tailnum.bloom_filter"}
)


def outcomes(rows: dict[str, SegmentOutcome]) -> set[Outcome]:
    return {row.outcome for row in rows.values()}
