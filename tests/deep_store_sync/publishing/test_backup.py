"""The note on a backup, and what is refused as one."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from deep_store_sync.errors import BackupError
from deep_store_sync.publishing.backup import (
    Backup,
    Kept,
    fetch_original,
    find_kept,
    has_been_put_back,
    put_back_run,
    read_note,
    written_by,
)
from deep_store_sync.segment.archive import metadata_archive
from deep_store_sync.segment.segment_files import CreationMeta
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.store.object_mark import ObjectMark, put_back_metadata
from deep_store_sync.workspace import Workspace

EARLIER, MARK = ObjectMark("earlier", 5, 7, "v1:a"), ObjectMark("run", 7, 9, "v1:b")


def note(url: str, copy_url: str, size: int = 0) -> Backup:
    return Backup(
        "s é/1",
        url,
        MARK,
        Kept.COPY,
        crc=7,
        object_crc=7,
        etag="e",
        size=size,
        metadata=EARLIER.to_metadata(),
        stamp={"deepStoreSync.crc": "7"},
        copy_url=copy_url,
    )


def test_a_note_reads_as_written_and_is_found_by_its_segment(store: DeepStore, prefix: str) -> None:
    workspace = Workspace.for_run(store, prefix, "t_OFFLINE", "lauf ü", 12)
    copy_url, url = workspace.backup_urls("s é/1")
    written = note("s3://b/s", copy_url)
    store.write_workspace(url, written.to_json())
    store.write_workspace(copy_url, b"")
    # As versions before wrote it, and those of segments whose names begin alike.
    before = f"{workspace.run_url}/backup/{quote('s é/1', safe='')}.json"
    store.write_workspace(before, written.to_json())
    for other in ("s é", "s é/1.jsonx", "s é/10", "s é/1/1"):
        store.write_workspace(workspace.backup_urls(other)[1], b"")
    for records in (workspace.backup_records("s é/1"), workspace.backup_records()):
        found = [(segment, store.read(item.url)) for segment, item in records if segment == "s é/1"]
        assert found == [("s é/1", written.to_json())] * 2
    assert len(list(workspace.backup_records("s é/1"))) == 2
    assert len(list(workspace.backup_records())) == 6
    assert {workspace.backed_up(each) for each in (url, copy_url, before)} == {"s é/1"}
    assert read_note(store, url) == written
    # The mark on an object has the run's id in ASCII, and leads to the same folder.
    assert [place.run_url for place in workspace.tries_of(ObjectMark("lauf ü", 1, 2, "h").run)] == [workspace.run_url]
    assert workspace.tries_of("another") == []


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"mark": {"run": 1}}'])
def test_what_is_no_note(data: bytes) -> None:
    with pytest.raises(BackupError, match="cannot be read"):
        Backup.from_json(data)


def test_only_what_was_kept_is_taken_for_the_backup(store: DeepStore, prefix: str, tmp_path: Path) -> None:
    copy_url, archive = prefix + "/copy", tmp_path / "archive"
    body = metadata_archive("s é/1".replace("/", "_"), CreationMeta(7, 1).to_bytes(), b"x=1")
    kept = Backup("s é_1", prefix + "/s", MARK, Kept.COPY, crc=7, object_crc=7, size=len(body), copy_url=copy_url)
    with pytest.raises(BackupError, match="is gone"):
        find_kept(store, kept)
    store.write_workspace(copy_url, body)
    assert fetch_original(store, kept, archive).meta.crc == 7
    other = metadata_archive("s é_1", CreationMeta(8, 1).to_bytes(), b"x=1")
    store.write_workspace(copy_url, other)
    with pytest.raises(BackupError, match=r"CRC 8.*CRC 7 were kept"):
        fetch_original(store, kept, archive)


def test_whose_object_it_is() -> None:
    kept = note("s3://b/s", "s3://w/s")
    undone = ObjectMark(put_back_run(MARK), 9, 7, "v1:b")
    back = put_back_metadata(EARLIER.to_metadata(), undone)
    assert written_by(kept, MARK.to_metadata())
    assert not written_by(kept, EARLIER.to_metadata())
    assert not written_by(kept, back)
    assert has_been_put_back(kept, back)
    assert not has_been_put_back(kept, put_back_metadata({}, undone))
    assert not has_been_put_back(kept, EARLIER.to_metadata())
