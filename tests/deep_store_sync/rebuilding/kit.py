"""A batch of segments in a store, and `rebuild_batch` on it."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
from tests.deep_store_sync.pinot_segments import TABLE, jars, schema, table_config
from tests.deep_store_sync.rebuilding import explosive

from deep_store_sync.model import (
    Action,
    Plan,
    PlannedSegment,
    RebuildResult,
    RunRequest,
    Servers,
    StampState,
)
from deep_store_sync.rebuilding.rebuild import rebuild_batch
from deep_store_sync.segment.archive import Compression, pack, unpack
from deep_store_sync.segment.segment_files import read_creation_meta
from deep_store_sync.services import Services
from deep_store_sync.store.deep_store import DeepStore, ObjectInfo
from deep_store_sync.workspace import Workspace
from pinot_sandbox.gateway import S3Gateway

LOG = logging.getLogger("tests.rebuild")
INDEXED = table_config(invertedIndexColumns=["city"])


@dataclass
class Batch:
    """Segments in the store, a plan for them, and `rebuild_batch` on it."""

    services: Services
    store: DeepStore
    gateway: S3Gateway
    prefix: str
    built: Path
    tmp_path: Path
    planned: list[PlannedSegment] = field(default_factory=list)

    @property
    def client(self) -> Any:
        return self.store._client

    @property
    def workdir(self) -> Path:
        return self.tmp_path / "work"

    def limit(self, **engine: Any) -> None:
        """Change the settings of the engine."""
        settings = self.services.settings
        changed = settings.model_copy(update={"engine": settings.engine.model_copy(update=engine)})
        self.services = replace(self.services, settings=changed)

    def add(
        self,
        name: str,
        *,
        action: Action = Action.REBUILD,
        body: bytes | None = None,
        metadata: dict[str, str] | None = None,
        compression: Compression = Compression.GZIP,
        **planned: Any,
    ) -> PlannedSegment:
        source = self.built / name
        archive = self.tmp_path / "packing"
        pack(source, archive, compression)
        url = f"{self.prefix}/segments/{name.replace(' ', '_')}"
        bucket, key = url.removeprefix("s3://").split("/", 1)
        body = archive.read_bytes() if body is None else body
        self.client.put_object(Bucket=bucket, Key=key, Body=body, Metadata=metadata or {})
        row = PlannedSegment(
            **{
                "segment": name,
                "action": action,
                "reason": "test",
                "table_hash": "v1:x",
                "servers": Servers.STALE,
                "stamp": StampState.NONE,
                "crc": read_creation_meta(source).crc,
                "url": url,
                "size_bytes": len(body),
                "batch": "b1",
            }
            | planned
        )
        self.planned.append(row)
        return row

    def run(
        self,
        config: dict[str, Any] | None = None,
        of: dict[str, Any] | None = None,
        *,
        should_stop: Callable[[], str | None] = lambda: None,
        services: Services | None = None,
    ) -> list[RebuildResult]:
        url = self.write_plan(config, of)
        try:
            answer = rebuild_batch(services or self.services, url, "b1", log=LOG, should_stop=should_stop)
        finally:
            assert list(self.workdir.glob("*")) == []
        workspace = Workspace.of_plan(self.store, url)
        assert answer == workspace.result_url("rebuilt", "b1")
        results = workspace.read_results("rebuilt", "b1", RebuildResult)
        assert results is not None
        assert [result.segment for result in results] == [row.segment for row in self.planned]
        return results

    def write_plan(self, config: dict[str, Any] | None = None, of: dict[str, Any] | None = None) -> str:
        workspace = Workspace.for_run(self.store, f"{self.prefix}/work", TABLE, "run", 1)
        plan = Plan(TABLE, RunRequest("run"), 1, config or INDEXED, of or schema(), tuple(self.planned))
        return workspace.write_plan(plan)

    def process(self, config: dict[str, Any], of: dict[str, Any], *prefix: str) -> subprocess.Popen[str]:
        """`rebuild_batch` on the plan in a process of its own, started by the command `prefix`."""
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tests.deep_store_sync.rebuilding.batch_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        told = {
            "gateway": asdict(self.gateway),
            "settings": self.services.settings.model_dump(by_alias=True),
            "plan_url": self.write_plan(config, of),
            "version": jars().version,
        }
        assert process.stdin
        process.stdin.write(
            json.dumps(
                told, default=lambda value: value.total_seconds() if isinstance(value, timedelta) else str(value)
            )
            + "\n"
        )
        process.stdin.flush()
        return process

    def staged(self, result: RebuildResult) -> tuple[Path, Compression]:
        """The staged archive, unpacked."""
        assert result.staged_url
        archive = self.tmp_path / "staged"
        assert self.store.download(result.staged_url, archive).size == result.staged_bytes
        shutil.rmtree(self.tmp_path / "unpacked", ignore_errors=True)
        unpacked = unpack(archive, self.tmp_path / "unpacked", result.segment)
        return unpacked.dir, unpacked.compression


class FakeStore(DeepStore):
    """A store that does one thing at a bad moment, and watches what is on the worker's disk."""

    def __init__(self, store: DeepStore, workdir: Path) -> None:
        super().__init__(store._client)
        self.workdir = workdir
        self.after_head: Callable[[str], None] = lambda _: None
        self.on_stage: Callable[[str], None] = lambda _: None
        self.most_segments = 0
        self._lock = threading.Lock()

    def head(self, url: str) -> ObjectInfo:
        info = super().head(url)
        if "/segments/" in url:  # and not for the plan
            self.after_head(url)
        return info

    def download(self, url: str, path: Path, *, if_match: str | None = None) -> ObjectInfo:
        self._look()
        return super().download(url, path, if_match=if_match)

    def write_workspace(self, url: str, body: bytes | Path) -> str:
        self._look()
        if "/staged/" in url:
            self.on_stage(url)
        return super().write_workspace(url, body)

    def _look(self) -> None:
        with self._lock:
            count = sum(1 for _ in self.workdir.glob("*/[0-9]*"))
            self.most_segments = max(self.most_segments, count)


@contextmanager
def when_growing(folder: Path, action: Callable[[], Any]) -> Iterator[None]:
    """Does something once, as soon as a star-tree grows in the folder."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            if any(folder.glob(explosive.GROWING)):
                action()
                return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def engines_of(pid: int) -> list[psutil.Process]:
    """The Java processes of a process."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):  # gone meanwhile
            if "deep_store_sync.jvm.worker" in child.cmdline():
                found.append(child)
    return found
