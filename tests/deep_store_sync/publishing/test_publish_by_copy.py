"""Publishing by copies inside the store, by the real gateway: what is copied, what is streamed, and what is said."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from tests.deep_store_sync.store.test_copying import open_uploads
from tests.fake_copies import FakeAnswer

from deep_store_sync.errors import DeepStoreSyncError, DeepStoreUnavailableError, ObjectChangedError
from deep_store_sync.model import Action, CopyBy, PlannedSegment, RebuildResult, Rebuilt, Servers, StampState
from deep_store_sync.publishing.publish_segment import SegmentPublisher
from deep_store_sync.publishing.segment_writes import LostRaceError, SegmentWrites
from deep_store_sync.segment.archive import metadata_archive, read_metadata
from deep_store_sync.segment.segment_files import CreationMeta
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore, ObjectInfo, parse_url
from deep_store_sync.store.object_mark import ObjectMark, read_mark
from deep_store_sync.workspace import Workspace
from pinot_sandbox.gateway import S3Gateway

LOG = logging.getLogger("tests.publish_by_copy")
OLD_CRC, NEW_CRC = 5, 7
MARK = ObjectMark("run", OLD_CRC, NEW_CRC, "v1:x")


@dataclass
class Publishing:
    """A segment in the store, a rebuilt archive of it in the workspace, and a publisher. `calls` are those of S3."""

    store: DeepStore
    workspace: Workspace
    publisher: SegmentPublisher
    url: str
    calls: list[str]

    def stage(self, segment: str = "s", *, crc: int = NEW_CRC) -> tuple[PlannedSegment, RebuildResult]:
        """The segment's object and its staged archive, which has this CRC."""
        bucket, key = parse_url(f"{self.url}/{segment}")
        cast(Any, self.store)._client.put_object(
            Bucket=bucket,
            Key=key,
            Body=b"old",
            ContentType="application/x-tar",
            Metadata={"theirs": "1"},
            Tagging="a=1",
        )
        body = metadata_archive(segment, CreationMeta(crc, 1, None).to_bytes(), b"segment.name = " + segment.encode())
        staged_url = self.workspace.staged_url(segment)
        etag = self.store.write_workspace(staged_url, body)
        row = PlannedSegment(
            segment, Action.REBUILD, "", "v1:x", Servers.STALE, StampState.NONE, OLD_CRC, f"{self.url}/{segment}"
        )
        rebuilt = RebuildResult(
            segment,
            Rebuilt.CHANGED,
            crc=OLD_CRC,
            new_crc=NEW_CRC,
            staged_url=staged_url,
            staged_crc=crc,
            staged_etag=etag,
            staged_bytes=len(body),
        )
        self.calls.clear()
        return row, rebuilt

    def publish(self, row: PlannedSegment, rebuilt: RebuildResult) -> tuple[str, int]:
        return self.publisher._replace(row, rebuilt, self.store.head(row.url), MARK, NEW_CRC)

    def expect_published(self, row: PlannedSegment, folder: Path) -> ObjectInfo:
        """The object is as a put would have written it, and is marked."""
        found = self.store.head(row.url)
        assert (found.content_type, read_mark(found.metadata)) == ("application/x-tar", MARK)
        assert {name for name in found.metadata if not name.startswith("deep-store-sync")} == {"theirs"}
        bucket, key = parse_url(row.url)
        tags = cast(Any, self.store)._client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
        assert tags == [{"Key": "a", "Value": "1"}]
        self.store.download(row.url, folder / "published")
        assert CreationMeta.from_bytes(read_metadata(folder / "published", row.segment)[0]).crc == NEW_CRC
        return found


@pytest.fixture
def publishing(versitygw: S3Gateway, prefix: str, tmp_path: Path) -> Publishing:
    client: Any = versitygw.client()
    calls: list[str] = []
    client.meta.events.register("before-call.s3", lambda model, **_: calls.append(model.name))
    store = DeepStore(client)
    settings = TableSync(
        table="flights_OFFLINE",
        deep_store_prefixes=(f"{prefix}/segments",),
        workspace=f"{prefix}/work",
    )
    services = Services(cast(Any, None), cast(Any, None), store, settings)
    workspace = Workspace.for_run(store, settings.workspace, settings.table, "run", 1)
    (folder := tmp_path / "work").mkdir()
    publisher = SegmentPublisher(services, workspace, "run", LOG, folder, lambda _: None, copies=(CopyBy.PARTS,))
    return Publishing(store, workspace, publisher, f"{prefix}/segments", calls)


def spoil(publishing: Publishing, event: str, handler: Any) -> None:
    cast(Any, publishing.store)._client.meta.events.register(event, handler)


def test_no_byte_passes_through_the_worker(publishing: Publishing, tmp_path: Path) -> None:
    (tmp_path / "work").rmdir()
    row, rebuilt = publishing.stage()
    etag, written = publishing.publish(row, rebuilt)
    assert {"GetObject", "UploadPart"} & set(publishing.calls) == set()
    assert publishing.calls.count("PutObject") == 1  # the note on the upload
    ((_, note),) = publishing.workspace.noted_uploads()
    assert publishing.store.read(note.url) == row.url.encode()
    assert (publishing.expect_published(row, tmp_path).etag, written) == (etag, rebuilt.staged_bytes)
    assert publishing.store.head(row.url).size == rebuilt.staged_bytes


def test_an_archive_that_was_staged_for_another_crc_is_written_once_more_and_streamed(
    publishing: Publishing, tmp_path: Path
) -> None:
    row, rebuilt = publishing.stage(crc=OLD_CRC)
    publishing.publish(row, rebuilt)
    publishing.expect_published(row, tmp_path)
    assert "UploadPartCopy" not in publishing.calls
    assert {"GetObject", "PutObject"} <= set(publishing.calls)


def test_an_archive_of_an_earlier_version_of_this_package_is_streamed(publishing: Publishing, tmp_path: Path) -> None:
    """Its result names no ETag, so nobody could tell whether it is still what was staged."""
    row, rebuilt = publishing.stage()
    publishing.publish(row, RebuildResult(**{**_fields(rebuilt), "staged_etag": ""}))
    publishing.expect_published(row, tmp_path)
    assert "UploadPartCopy" not in publishing.calls


def _fields(result: RebuildResult) -> dict[str, Any]:
    return {name: getattr(result, name) for name in RebuildResult.__dataclass_fields__}


@pytest.mark.parametrize(
    ("operation", "status", "code"),
    [
        ("UploadPartCopy", 403, "AccessDenied"),
        ("UploadPartCopy", 501, "NotImplemented"),
        ("CreateMultipartUpload", 403, "AccessDenied"),
        ("CompleteMultipartUpload", 400, "InvalidRequest"),
    ],
)
def test_fake_store_that_refuses_copies_has_archives_streamed_and_that_is_said_once(
    publishing: Publishing, tmp_path: Path, caplog: pytest.LogCaptureFixture, operation: str, status: int, code: str
) -> None:
    spoil(publishing, f"before-send.s3.{operation}", lambda **_: FakeAnswer(status, code))
    for segment in ("s", "t"):
        row, rebuilt = publishing.stage(segment)
        publishing.publish(row, rebuilt)
        publishing.expect_published(row, tmp_path)
    assert operation not in publishing.calls  # the second one was not even tried
    (said,) = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert "archives are streamed from here on" in said
    assert operation in said
    assert open_uploads(cast(Any, publishing.store)._client, publishing.url) == []


def test_fake_store_whose_copies_lose_an_attribute_has_the_archive_streamed_over_them(
    publishing: Publishing, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(
        publishing,
        "before-parameter-build.s3.CreateMultipartUpload",
        lambda params, **_: params.update(ContentType="text/plain"),
    )
    row, rebuilt = publishing.stage()
    etag, _ = publishing.publish(row, rebuilt)
    assert publishing.expect_published(row, tmp_path).etag == etag
    assert "'ContentType': 'text/plain'" in caplog.text


def test_a_staged_archive_that_is_another_one_by_now_is_not_published(publishing: Publishing) -> None:
    row, rebuilt = publishing.stage()
    publishing.store.write_workspace(str(rebuilt.staged_url), b"another try's")
    before = publishing.store.head(row.url)
    with pytest.raises(ObjectChangedError, match=r"GetObject .*staged"):
        publishing.publish(row, rebuilt)
    publishing.store.delete(str(rebuilt.staged_url))
    with pytest.raises(DeepStoreSyncError, match="staged"):
        publishing.publish(row, rebuilt)
    assert publishing.store.head(row.url) == before


@pytest.mark.parametrize("gone", [False, True])
def test_a_lost_race_is_one(publishing: Publishing, gone: bool) -> None:
    row, rebuilt = publishing.stage()
    before = publishing.store.head(row.url)
    publishing.store.delete(row.url) if gone else publishing.store.write_workspace(row.url, b"theirs")
    with pytest.raises(LostRaceError, match="deleted meanwhile"):
        publishing.publisher._replace(row, rebuilt, before, MARK, NEW_CRC)
    assert gone or publishing.store.read(row.url) == b"theirs"
    assert publishing.publisher.copies == (CopyBy.PARTS,) or gone
    assert open_uploads(cast(Any, publishing.store)._client, publishing.url) == []


def test_fake_store_that_cannot_decide_is_asked_again(publishing: Publishing, tmp_path: Path) -> None:
    answers = [FakeAnswer(409, "ConditionalRequestConflict"), None]
    spoil(publishing, "before-send.s3.CompleteMultipartUpload", lambda **_: answers.pop(0))
    row, rebuilt = publishing.stage()
    publishing.publish(row, rebuilt)
    publishing.expect_published(row, tmp_path)
    assert publishing.calls.count("UploadPartCopy") == 2


def test_fake_store_that_fails_is_no_reason_to_stream(publishing: Publishing) -> None:
    """What was done is not known, and is read back."""
    spoil(publishing, "before-send.s3.CompleteMultipartUpload", lambda **_: FakeAnswer(503, "SlowDown"))
    row, rebuilt = publishing.stage()
    before = publishing.store.head(row.url)
    with pytest.raises(DeepStoreUnavailableError, match="unknown"):
        publishing.publish(row, rebuilt)
    assert publishing.store.head(row.url) == before
    assert "GetObject" not in publishing.calls


def test_an_upload_is_noted_before_it_has_a_part(publishing: Publishing) -> None:
    """However it goes on from there: a process may be killed at any time."""
    noted: list[int] = []
    spoil(
        publishing,
        "before-call.s3.UploadPartCopy",
        lambda **_: noted.append(len(list(publishing.workspace.noted_uploads()))),
    )
    row, rebuilt = publishing.stage()
    publishing.publish(row, rebuilt)
    assert noted == [1]


def test_parts_that_are_streamed_are_noted_as_well(publishing: Publishing, tmp_path: Path) -> None:
    row, _ = publishing.stage()
    store = DeepStore(cast(Any, publishing.store)._client, multipart_threshold=10, part_bytes=1)
    services = Services(cast(Any, None), cast(Any, None), store, cast(Any, None))
    (tmp_path / "body").write_bytes(b"0123456789a")
    writes = SegmentWrites(services, LOG, lambda _: None, publishing.workspace)
    writes.overwrite("s", row.url, tmp_path / "body", before=store.head(row.url), metadata=MARK.to_metadata())
    assert len(list(publishing.workspace.noted_uploads())) == 1
