"""Where publishing works on the disk. The rest of it needs a cluster: `tests/e2e`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

import pytest

from deep_store_sync.errors import DeepStoreSyncError
from deep_store_sync.model import RebuildResult, Rebuilt
from deep_store_sync.publishing.publish_segment import SegmentPublisher
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore, ObjectInfo
from deep_store_sync.store.object_mark import ObjectMark
from deep_store_sync.workspace import Workspace
from pinot_sandbox.gateway import S3Gateway

LOG = logging.getLogger("tests.publish_segment")


class FakeWatchedStore(DeepStore):
    """The real store, which tells where it downloads to."""

    downloaded_to: Path | None = None

    def download(self, url: str, path: Path, **options: Any) -> ObjectInfo:
        self.downloaded_to = path
        return super().download(url, path, **options)


def test_it_works_in_the_work_folder_and_leaves_nothing_there(gateway: S3Gateway, prefix: str, tmp_path: Path) -> None:
    store = FakeWatchedStore(gateway.client())
    settings = TableSync(
        table="flights_OFFLINE",
        deep_store_prefixes=(f"{prefix}/segments",),
        workspace=f"{prefix}/work",
    )
    services = Services(cast("Any", None), cast("Any", None), store, settings)
    workspace = Workspace.for_run(store, f"{prefix}/work", settings.table, "run", 1)
    (tmp_path / "work").mkdir()
    publisher = SegmentPublisher(services, workspace, "run", LOG, tmp_path / "work")
    store.write_workspace(staged := workspace.staged_url("s"), b"cut short")
    rebuilt = RebuildResult("s", Rebuilt.CHANGED, crc=1, staged_url=staged, staged_bytes=10)
    row, before = cast("Any", None), ObjectInfo(f"{prefix}/segments/s", "etag", 3)
    with pytest.raises(DeepStoreSyncError, match="has 9 bytes, 10 were staged"):
        publisher._replace(row, rebuilt, before, ObjectMark("run", 1, 2, "v1:x"), 2)
    assert store.downloaded_to is not None
    assert store.downloaded_to.is_relative_to(tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []
