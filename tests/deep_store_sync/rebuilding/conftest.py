from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from tests.deep_store_sync.pinot_segments import TABLE, build_segment, engine, jars, rows, schema, table_config
from tests.deep_store_sync.rebuilding.kit import INDEXED, Batch, FakeStore

from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.servers import ServerClient
from deep_store_sync.segment.segment_files import read_creation_meta, write_creation_meta
from deep_store_sync.services import Services
from deep_store_sync.settings import EngineSettings, TableSync
from deep_store_sync.store.deep_store import DeepStore
from pinot_sandbox.gateway import S3Gateway


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    for number in range(4):
        build_segment(folder, f"s {number}", rows(200, number), table_config())
    build_segment(folder, "indexed", rows(200, 9), table_config())
    engine().preprocess(folder / "indexed", INDEXED, schema())
    meta = read_creation_meta(folder / "indexed")
    write_creation_meta(folder / "indexed", replace(meta, crc=engine().crc(folder / "indexed")))
    return folder


@pytest.fixture
def batch(store: DeepStore, gateway: S3Gateway, prefix: str, built: Path, tmp_path: Path) -> Iterator[Batch]:
    def version(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/version"
        return httpx.Response(200, json={"pinot-controller": jars().version})

    with (
        ControllerClient("http://pinot", transport=httpx.MockTransport(version)) as controller,
        ServerClient() as servers,
    ):
        settings = TableSync(
            table=TABLE,
            deep_store_prefixes=(f"{prefix}/segments",),
            workspace=f"{prefix}/work",
            engine=EngineSettings(jars=jars().paths[0].parent, heap=512 << 20, workdir=tmp_path / "work"),
        )
        yield Batch(Services(controller, servers, store, settings), store, gateway, prefix, built, tmp_path)


@pytest.fixture
def fake_store(batch: Batch) -> FakeStore:
    store = FakeStore(batch.store, batch.workdir)
    batch.services = replace(batch.services, store=store)
    return store


@pytest.fixture
def explosive_batch(batch: Batch, explosive_segments: Path) -> Batch:
    """Segments that the star-tree of `explosive.CONFIG` is no trouble for, and a large one that it blows up."""
    batch.built = explosive_segments
    return batch
