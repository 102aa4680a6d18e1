from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.deep_store_sync.pinot_segments import TABLE, build_segment, engine, jars, rows, schema, table_config

from deep_store_sync.errors import ConfigError, EngineError, ObjectNotFoundError, RebuildError, StoppedError
from deep_store_sync.model import (
    Action,
    Plan,
    PlannedSegment,
    RebuildResult,
    Rebuilt,
    RunRequest,
    Servers,
    StampState,
)
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.servers import ServerClient
from deep_store_sync.rebuild import rebuild_batch, spoken_bytes
from deep_store_sync.segment.archive import Compression, pack, unpack
from deep_store_sync.segment.segment_files import read_creation_meta, read_index_map, write_creation_meta
from deep_store_sync.services import Services
from deep_store_sync.settings import EngineSettings, TableSync
from deep_store_sync.store.deep_store import DeepStore, ObjectInfo
from deep_store_sync.store.object_mark import ObjectMark
from deep_store_sync.workspace import Workspace

LOG = logging.getLogger("tests.rebuild")
INDEXED = table_config(invertedIndexColumns=["city"])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    for number in range(4):
        build_segment(folder, f"s {number}", rows(200, number), table_config())
    build_segment(folder, "indexed", rows(200, 9), table_config())
    engine().preprocess(folder / "indexed", INDEXED, schema())
    meta = read_creation_meta(folder / "indexed")
    write_creation_meta(folder / "indexed", replace(meta, crc=engine().crc(folder / "indexed")))
    return folder


@dataclass
class Batch:
    """Segments in the store, a plan for them, and `rebuild_batch` on it."""

    services: Services
    store: DeepStore
    prefix: str
    built: Path
    tmp_path: Path
    planned: list[PlannedSegment] = field(default_factory=list)

    @property
    def client(self) -> Any:
        return self.store._client

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
        should_stop: Callable[[], bool] = lambda: False,
        services: Services | None = None,
    ) -> list[RebuildResult]:
        services = services or self.services
        workspace = Workspace.for_run(self.store, f"{self.prefix}/work", TABLE, "run", 1)
        plan = Plan(TABLE, RunRequest("run"), 1, config or INDEXED, of or schema(), tuple(self.planned))
        url = workspace.write_plan(plan)
        workdir = self.tmp_path / "work"
        workdir.mkdir(exist_ok=True)
        try:
            answer = rebuild_batch(services, url, "b1", workdir=workdir, log=LOG, should_stop=should_stop)
        finally:
            assert list(workdir.iterdir()) == []
        assert answer == workspace.result_url("rebuilt", "b1")
        results = workspace.read_results("rebuilt", "b1", RebuildResult)
        assert results is not None
        assert [result.segment for result in results] == [row.segment for row in self.planned]
        return results

    def staged(self, result: RebuildResult) -> tuple[Path, Compression]:
        """The staged archive, unpacked."""
        assert result.staged_url
        archive = self.tmp_path / "staged"
        assert self.store.download(result.staged_url, archive).size == result.staged_bytes
        shutil.rmtree(self.tmp_path / "unpacked", ignore_errors=True)
        unpacked = unpack(archive, self.tmp_path / "unpacked", result.segment)
        return unpacked.dir, unpacked.compression


@pytest.fixture
def batch(store: DeepStore, prefix: str, built: Path, tmp_path: Path) -> Iterator[Batch]:
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
            engine=EngineSettings(jars=jars().paths[0].parent, heap=512 << 20),
        )
        yield Batch(Services(controller, servers, store, settings), store, prefix, built, tmp_path)


@pytest.mark.parametrize("compression", Compression)
def test_changed_segment_is_staged_as_it_was_packed(batch: Batch, compression: Compression) -> None:
    row = batch.add("s 0", compression=compression)
    (result,) = batch.run()
    assert (result.status, result.message, result.changes) == (Rebuilt.CHANGED, "", ("city: inverted_index added",))
    assert result.invisible_changes == ()
    assert (result.crc, result.object_crc) == (row.crc, row.crc)
    assert result.etag == batch.store.head(row.url).etag
    assert result.object_bytes == batch.store.head(row.url).size
    folder, packed_with = batch.staged(result)
    assert packed_with is compression
    assert ("city", "inverted_index") in read_index_map(folder)
    assert (folder / "v3" / "metadata.properties").read_bytes() == result.metadata_properties
    assert engine().crc(folder) == result.new_crc != row.crc
    original = read_creation_meta(batch.built / "s 0")
    assert read_creation_meta(folder) == replace(original, crc=result.new_crc)
    assert (result.staged_crc, result.creation_ms, result.data_crc) == (
        result.new_crc,
        original.creation_ms,
        original.data_crc,
    )


def test_crc_is_kept_where_every_server_has_the_change(batch: Batch) -> None:
    batch.add("s 0", servers=Servers.CLEAN)
    batch.add("s 1", servers=Servers.UNKNOWN)
    kept, new = batch.run()
    assert kept.staged_crc == kept.crc != kept.new_crc
    assert read_creation_meta(batch.staged(kept)[0]).crc == kept.crc
    assert new.staged_crc == new.new_crc != new.crc


def test_crc_is_not_kept_where_is_stale_cannot_see_the_change(batch: Batch) -> None:
    batch.add("s 0", servers=Servers.CLEAN)
    codec = {"name": "note", "encodingType": "RAW", "compressionCodec": "ZSTANDARD"}
    (result,) = batch.run(table_config(fields=[codec]))
    assert result.invisible_changes == result.changes == ("note: forward_index rewritten (LZ4 → ZSTANDARD)",)
    assert result.staged_crc == result.new_crc != result.crc


def test_creation_time_is_zookeepers(batch: Batch) -> None:
    batch.add("s 0", creation_ms=1_600_000_000_000)
    (result,) = batch.run()
    assert result.creation_ms == 1_600_000_000_000
    assert read_creation_meta(batch.staged(result)[0]).creation_ms == 1_600_000_000_000


@pytest.mark.parametrize("action", [Action.REBUILD, Action.AUDIT])
def test_segment_that_is_as_it_should_be(batch: Batch, action: Action) -> None:
    row = batch.add("indexed", action=action)
    (result,) = batch.run()
    assert (result.status, result.changes, result.staged_url) == (Rebuilt.UNCHANGED, (), None)
    assert result.new_crc == result.object_crc == row.crc
    expected = (batch.built / "indexed" / "v3" / "metadata.properties").read_bytes()
    assert result.metadata_properties == expected
    assert not list(batch.store.list(f"{batch.prefix}/work/{TABLE}/runs/run/1/staged"))


def test_reload_reads_what_a_metadata_push_needs(batch: Batch) -> None:
    batch.add("s 0", action=Action.RELOAD)
    (result,) = batch.run()
    meta = read_creation_meta(batch.built / "s 0")
    assert (result.status, result.staged_url) == (Rebuilt.RELOAD, None)
    assert (result.object_crc, result.creation_ms, result.data_crc) == (meta.crc, meta.creation_ms, meta.data_crc)
    assert result.metadata_properties == (batch.built / "s 0" / "v3" / "metadata.properties").read_bytes()


@pytest.mark.parametrize("action", [Action.REBUILD, Action.RELOAD])
def test_object_of_another_crc_is_left_alone(batch: Batch, action: Action) -> None:
    batch.add("s 0", action=action, crc=7)
    (result,) = batch.run()
    assert result.status is Rebuilt.NOT_ELIGIBLE
    assert "not ZooKeeper's 7: somebody's push" in result.message
    assert result.staged_url is None


def test_mark_of_another_push_does_not_help(batch: Batch) -> None:
    batch.add("s 0", crc=7, metadata=ObjectMark("run", 8, 9, "v1:x").to_metadata())
    (result,) = batch.run()
    assert result.status is Rebuilt.NOT_ELIGIBLE


@pytest.mark.parametrize("action", [Action.REBUILD, Action.RELOAD])
def test_push_of_ours_that_was_cut_short_is_taken_up(batch: Batch, action: Action) -> None:
    crc = read_creation_meta(batch.built / "indexed").crc
    batch.add("indexed", action=action, crc=7, metadata=ObjectMark("run", 7, crc, "v1:x").to_metadata())
    (result,) = batch.run()
    assert (result.status, result.changes) == (Rebuilt.CHANGED, ())
    assert (result.crc, result.object_crc, result.new_crc, result.staged_crc) == (7, crc, crc, crc)
    assert "ZooKeeper has not been told" in result.message
    assert read_creation_meta(batch.staged(result)[0]).crc == crc


def test_push_of_ours_that_was_cut_short_and_is_outdated_by_now(batch: Batch) -> None:
    crc = read_creation_meta(batch.built / "indexed").crc
    metadata = ObjectMark("run", 7, crc, "v1:x").to_metadata()
    batch.add("indexed", crc=7, metadata=metadata, servers=Servers.CLEAN)
    (result,) = batch.run(table_config(invertedIndexColumns=["city"], bloomFilterColumns=["city"]))
    assert (result.status, result.changes) == (Rebuilt.CHANGED, ("city: bloom_filter added",))
    assert result.object_crc == crc
    assert result.staged_crc == result.new_crc not in (7, crc)


def test_one_segments_trouble_is_its_own(batch: Batch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOG.name)
    batch.add("s 0")
    batch.add("s 1", body=b"<html>")
    batch.add("s 2", url=f"{batch.prefix}/segments/gone")
    batch.add("s 3")
    good, broken, missing, last = batch.run()
    assert (good.status, last.status) == (Rebuilt.CHANGED, Rebuilt.CHANGED)
    assert (broken.status, missing.status) == (Rebuilt.FAILED, Rebuilt.FAILED)
    assert "no segment archive" in broken.message
    assert "gone" in missing.message
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(" ")[0] for line in lines if "/4 " in line] == ["1/4", "2/4", "3/4", "4/4"]
    assert "s 0: changed, city: inverted_index added (" in next(line for line in lines if line.startswith("1/4"))


def test_archive_of_another_segment(batch: Batch) -> None:
    pack(batch.built / "s 1", batch.tmp_path / "other", Compression.GZIP)
    batch.add("s 0", body=(batch.tmp_path / "other").read_bytes())
    (result,) = batch.run()
    assert result.status is Rebuilt.FAILED
    assert "top folder is 's 1', not the segment's name 's 0'" in result.message


def test_segment_that_calls_itself_otherwise(batch: Batch) -> None:
    folder = Path(shutil.copytree(batch.built / "s 1", batch.tmp_path / "s 0"))
    pack(folder, batch.tmp_path / "other", Compression.GZIP)
    batch.add("s 0", body=(batch.tmp_path / "other").read_bytes(), crc=read_creation_meta(folder).crc)
    (result,) = batch.run()
    assert result.status is Rebuilt.NOT_ELIGIBLE
    assert "holds the segment 's 1'" in result.message


def test_name_that_pinot_cannot_load(batch: Batch, tmp_path: Path) -> None:
    batch.built = tmp_path / "built"
    segment = build_segment(batch.built, "day_v3", rows(20), table_config())
    batch.add("day_v3")
    (result,) = batch.run()
    with pytest.raises(RebuildError, match="forwardIndexReader"):  # as a server that loads it
        engine().preprocess(segment, INDEXED, schema())
    assert result.status is Rebuilt.NOT_ELIGIBLE
    assert "its name ends in v3" in result.message


def test_what_preprocessing_cannot_do_is_refused_with_its_reason(batch: Batch) -> None:
    batch.add("s 0")
    (result,) = batch.run(of=schema(code={"dataType": "LONG"}))
    assert result.status is Rebuilt.FAILED
    assert result.message.startswith(
        "needs the segment regenerated: column 'code' is INT in the segment, LONG in the schema. Re-ingest it, or"
    )


def test_rebuild_that_pinot_refuses(batch: Batch) -> None:
    batch.add("s 0")
    tree = {"dimensionsSplitOrder": ["code"], "functionColumnPairs": ["SUM__city"], "maxLeafRecords": 10}
    (result,) = batch.run(table_config(starTreeIndexConfigs=[tree], enableDynamicStarTreeCreation=True))
    assert result.status is Rebuilt.FAILED
    assert "left something undone" in result.message


def test_segment_that_does_not_pass_verification_is_not_staged(batch: Batch) -> None:
    batch.add("s 0")
    lossy = {"name": "tags", "indexTypes": ["INVERTED"], "properties": {"forwardIndexDisabled": "true"}}
    (result,) = batch.run(table_config(fields=[lossy]))
    assert (result.status, result.staged_url) == (Rebuilt.FAILED, None)
    assert "column 'tags', forward_index" in result.message


def test_jars_of_another_version_stop_the_batch(batch: Batch) -> None:
    batch.add("s 0")

    def version(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"pinot-controller": "9.9.9"})

    with ControllerClient("http://pinot", transport=httpx.MockTransport(version)) as controller:
        services = replace(batch.services, controller=controller)
        with pytest.raises(EngineError, match=r"runs Pinot 9\.9\.9"):
            batch.run(services=services)


def test_plan_that_is_not_there_or_has_no_such_batch(batch: Batch) -> None:
    with pytest.raises(ObjectNotFoundError):
        rebuild_batch(batch.services, f"{batch.prefix}/plan.parquet", "b1", log=LOG, should_stop=lambda: False)
    batch.add("s 0", batch="b2")
    with pytest.raises(ConfigError, match="has no batch 'b1'"):
        batch.run()


def test_kill_switch_stops_between_segments(batch: Batch) -> None:
    for number in range(4):
        batch.add(f"s {number}")
    batch.add("indexed")
    asked = iter([False, True])
    with pytest.raises(StoppedError, match="kill switch"):
        batch.run(should_stop=lambda: next(asked))


def test_kill_switch_stops_while_a_download_waits_for_room(batch: Batch) -> None:
    for number in range(4):
        batch.add(f"s {number}")

    def should_stop() -> bool:
        while not waiting_for_room():
            time.sleep(0.01)
        return True

    def waiting_for_room() -> bool:
        thread = next(thread for thread in threading.enumerate() if thread.name.startswith("deep-store-sync-fetch"))
        frames = traceback.extract_stack(sys._current_frames()[thread.ident or 0])
        return "_room.acquire" in "".join(frame.line or "" for frame in frames)

    with pytest.raises(StoppedError, match="kill switch"):
        batch.run(should_stop=should_stop)


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
            count = sum(1 for _ in self.workdir.glob("*/*"))
            self.most_segments = max(self.most_segments, count)


@pytest.fixture
def fake_store(batch: Batch) -> FakeStore:
    store = FakeStore(batch.store, batch.tmp_path / "work")
    batch.services = replace(batch.services, store=store)
    return store


def test_object_that_changes_under_the_download_is_a_lost_race(batch: Batch, fake_store: FakeStore) -> None:
    row = batch.add("s 0")

    def overwrite(_: str) -> None:
        bucket, key = row.url.removeprefix("s3://").split("/", 1)
        batch.client.put_object(Bucket=bucket, Key=key, Body=b"another")

    fake_store.after_head = overwrite
    (result,) = batch.run()
    assert result.status is Rebuilt.LOST_RACE


def test_full_disk_is_one_segments_trouble(batch: Batch, fake_store: FakeStore) -> None:
    def full(url: str) -> None:
        if "s%25200" in url or "s%200" in url:
            raise OSError(28, "No space left on device")

    fake_store.on_stage = full
    batch.add("s 0")
    batch.add("s 1")
    first, second = batch.run()
    assert (first.status, second.status) == (Rebuilt.FAILED, Rebuilt.CHANGED)
    assert "no space left in" in first.message
    assert first.staged_url is None


def test_no_more_than_three_segments_are_on_disk(batch: Batch, fake_store: FakeStore) -> None:
    for number in range(4):
        batch.add(f"s {number}")
    batch.add("indexed")
    # The first upload takes until the others have come as far as they can.
    fourth_is_fetched = threading.Event()
    fake_store.after_head = lambda url: fourth_is_fetched.set() if url.endswith("s_3") else None
    fake_store.on_stage = lambda _: fourth_is_fetched.wait(1)
    assert {result.status for result in batch.run()} == {Rebuilt.CHANGED, Rebuilt.UNCHANGED}
    assert fake_store.most_segments == 3


def test_error_that_nobody_expects_is_one_segments_trouble(batch: Batch, fake_store: FakeStore) -> None:
    def broken(url: str) -> None:
        if url.endswith("s_0"):
            raise ZeroDivisionError("bug")

    fake_store.after_head = broken
    batch.add("s 0")
    batch.add("s 1")
    first, second = batch.run()
    assert (first.status, first.message) == (Rebuilt.FAILED, "ZeroDivisionError: bug")
    assert second.status is Rebuilt.CHANGED


@pytest.mark.parametrize(
    ("count", "spoken"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (52_345_678, "52.3 MB"), (4 * 10**12, "4.0 TB")]
)
def test_sizes_are_spoken(count: int, spoken: str) -> None:
    assert spoken_bytes(count) == spoken
