from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from tests.deep_store_sync.pinot_segments import TABLE, build_segment, engine, rows, schema, table_config
from tests.deep_store_sync.rebuilding.kit import INDEXED, LOG, Batch, FakeStore

from deep_store_sync.errors import ConfigError, EngineError, ObjectNotFoundError, RebuildError
from deep_store_sync.model import (
    Action,
    Rebuilt,
    Servers,
)
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.rebuilding.rebuild import rebuild_batch
from deep_store_sync.segment.archive import Compression, pack
from deep_store_sync.segment.segment_files import read_creation_meta, read_index_map
from deep_store_sync.spoken import spoken_bytes
from deep_store_sync.store.object_mark import ObjectMark


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
    assert any("/4 s 0: changed, city: inverted_index added (" in line for line in lines)


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


def test_segment_format_before_v3(batch: Batch, tmp_path: Path) -> None:
    batch.built = tmp_path / "built"
    build_segment(batch.built, "old", rows(20), table_config(segmentFormatVersion="v1"))
    batch.add("old")
    batch.add("old", action=Action.RELOAD)
    rebuilt, reloaded = batch.run()
    assert rebuilt.status is Rebuilt.NOT_ELIGIBLE
    assert "segment format v1" in rebuilt.message
    assert reloaded.status is Rebuilt.RELOAD


def test_text_that_only_a_text_index_holds_though_the_config_no_longer_says_so(batch: Batch, tmp_path: Path) -> None:
    batch.built = tmp_path / "built"
    text = {"name": "note", "encodingType": "RAW", "indexTypes": ["TEXT"]}
    only = text | {"properties": {"noRawDataForTextIndex": "true"}}
    build_segment(batch.built, "only in it", rows(20), table_config(fields=[only]))
    build_segment(batch.built, "in both", rows(20), table_config(fields=[text]))
    batch.add("only in it")
    batch.add("in both")
    dummies, texts = batch.run(table_config(fields=[text], sortedColumn=["code"]))
    assert dummies.status is Rebuilt.NOT_ELIGIBLE
    assert "only the text index of column 'note' may" in dummies.message
    assert texts.status is Rebuilt.CHANGED


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
        rebuild_batch(batch.services, f"{batch.prefix}/plan.parquet", "b1", log=LOG, should_stop=lambda: None)
    batch.add("s 0", batch="b2")
    with pytest.raises(ConfigError, match="has no batch 'b1'"):
        batch.run()


def test_object_that_changes_under_the_download_is_a_lost_race(batch: Batch, fake_store: FakeStore) -> None:
    row = batch.add("s 0")

    def overwrite(url: str) -> None:
        if url == row.url:
            bucket, key = row.url.removeprefix("s3://").split("/", 1)
            batch.client.put_object(Bucket=bucket, Key=key, Body=b"another")

    fake_store.after_head = overwrite
    (result,) = batch.run()
    assert result.status is Rebuilt.LOST_RACE


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
