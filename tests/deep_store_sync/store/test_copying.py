"""Overwriting objects with copies inside the store: by which ways a store does it, and that it is a compare-and-set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fake_copies import FakeAnswer, fake_conditional_copies

from deep_store_sync.errors import DeepStoreAccessError, ObjectChangedError, ObjectNotFoundError
from deep_store_sync.model import CopyBy
from deep_store_sync.store.copying import way_to_copy
from deep_store_sync.store.deep_store import DeepStore, ObjectInfo, parse_url
from pinot_sandbox.gateway import S3Gateway

# 6 MiB: a part of 5 MiB, the smallest there is, and one of 1 MiB.
LARGE = bytes(range(256)) * 4 * 1024 * 6
WAYS = list(CopyBy)


@pytest.fixture
def copying(versitygw: S3Gateway) -> Iterator[DeepStore]:
    """A store that copies in both ways, with parts of 5 MiB."""
    client = versitygw.client()
    yield DeepStore(fake_conditional_copies(client), part_bytes=1)
    client.close()


def put(s3: Any, url: str, body: bytes = b"old", **attributes: Any) -> None:
    bucket, key = parse_url(url)
    s3.put_object(Bucket=bucket, Key=key, Body=body, **attributes)


def open_uploads(s3: Any, url: str) -> list[Any]:
    bucket, prefix = parse_url(url)
    return list(s3.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", []))


def staged(store: DeepStore, prefix: str, body: bytes = b"staged") -> ObjectInfo:
    url = f"{prefix}/staged + %.tar"
    return ObjectInfo(url, store.write_workspace(url, body), len(body))


# --- the ways --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "ways", "expected"),
    [
        (10, (), None),
        (10, (CopyBy.WHOLE,), CopyBy.WHOLE),
        (11, (CopyBy.WHOLE,), None),
        (10, (CopyBy.PARTS,), CopyBy.PARTS),
        (10, (CopyBy.PARTS, CopyBy.WHOLE), CopyBy.WHOLE),
        (11, (CopyBy.WHOLE, CopyBy.PARTS), CopyBy.PARTS),
    ],
)
def test_what_one_request_cannot_copy_goes_in_parts(size: int, ways: Any, expected: CopyBy | None) -> None:
    assert way_to_copy(size, ways, most_at_once=10) is expected


def test_one_request_copies_5_gib(s3: Any) -> None:
    store = DeepStore(s3)
    assert store.way_to_copy(5 * 1024**3, WAYS) is CopyBy.WHOLE
    assert store.way_to_copy(5 * 1024**3 + 1, WAYS) is CopyBy.PARTS


def test_versitygw_honours_the_condition_on_completion_only(s3: Any, versitygw: S3Gateway, prefix: str) -> None:
    assert DeepStore(s3).probe_copies(prefix) == (CopyBy.PARTS,)
    assert list(DeepStore(s3).list(prefix)) == []
    assert open_uploads(s3, prefix) == []


def test_moto_honours_none(moto: S3Gateway) -> None:
    assert DeepStore(moto.client()).probe_copies(f"s3://{moto.bucket}/work space") == ()
    assert list(DeepStore(moto.client()).list(f"s3://{moto.bucket}/work space")) == []


def test_fake_store_that_honours_both(copying: DeepStore, s3: Any, prefix: str) -> None:
    assert copying.probe_copies(prefix) == (CopyBy.WHOLE, CopyBy.PARTS)
    assert list(copying.list(prefix)) == []


def _without_header(operation: str, header: str) -> Callable[[Any], None]:
    def ignore(request: Any, **_: Any) -> None:
        del request.headers[header]

    return lambda s3: s3.meta.events.register(f"before-sign.s3.{operation}", ignore)


def _without(operation: str, parameter: str) -> Callable[[Any], None]:
    return lambda s3: s3.meta.events.register(
        f"before-parameter-build.s3.{operation}", lambda params, **_: params.pop(parameter, None)
    )


def _refusing(operation: str, status: int, code: str) -> Callable[[Any], None]:
    return lambda s3: s3.meta.events.register(f"before-send.s3.{operation}", lambda **_: FakeAnswer(status, code))


FAULTS = {
    "ignores the condition on the target": (
        _without_header("CopyObject", "If-Match"),
        _without_header("CompleteMultipartUpload", "If-Match"),
    ),
    "ignores the condition on the source": (
        _without_header("CopyObject", "x-amz-copy-source-if-match"),
        _without_header("UploadPartCopy", "x-amz-copy-source-if-match"),
    ),
    "loses user metadata": (_without("CopyObject", "Metadata"), _without("CreateMultipartUpload", "Metadata")),
    "keeps the source's attributes": (
        _without("CopyObject", "MetadataDirective"),
        _without("CreateMultipartUpload", "CacheControl"),
    ),
    "loses the content type": (_without("CopyObject", "ContentType"), _without("CreateMultipartUpload", "ContentType")),
    "loses tags": (_without("CopyObject", "Tagging"), _without("CreateMultipartUpload", "Tagging")),
    "does not copy": (_refusing("CopyObject", 501, "NotImplemented"), _refusing("UploadPartCopy", 403, "AccessDenied")),
    "fails": (
        _refusing("CopyObject", 400, "InvalidRequest"),
        _refusing("CreateMultipartUpload", 400, "InvalidRequest"),
    ),
    "does not tell tags": (_refusing("GetObjectTagging", 403, "AccessDenied"),),
    "takes no tags": (_refusing("PutObject", 501, "NotImplemented"),),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_fake_store_with_a_fault_in_copies_is_not_made_to_copy(copying: DeepStore, prefix: str, fault: str) -> None:
    for spoil in FAULTS[fault]:
        spoil(copying._client)
    assert copying.probe_copies(prefix) == ()


# --- compare-and-set -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_has_what_the_object_carries_and_nothing_of_the_source(
    copying: DeepStore, s3: Any, prefix: str, tmp_path: Path, way: CopyBy
) -> None:
    url, streamed = prefix + "/a b+%c", prefix + "/streamed"
    carried: dict[str, Any] = {
        "ContentType": "application/x-tar",
        "CacheControl": "no-store",
        "ContentLanguage": "en",
        "Metadata": {"theirs": "1", "run": "old"},
        "Tagging": "team=a%20b&x=%2B",
    }
    for place in (url, streamed):
        put(s3, place, **carried)
    put(s3, f"{prefix}/staged", b"staged", ContentType="text/plain", Metadata={"no": "1"}, Tagging="no=1")
    source, before = copying.head(f"{prefix}/staged"), copying.head(url)
    etag = copying.replace_by_copy(url, source, way, if_match=before.etag, like=before, metadata={"run": "r-1"})
    after = copying.head(url)
    assert (after.etag, copying.read(url)) == (etag, b"staged")
    assert after.metadata == {"theirs": "1", "run": "r-1"}
    assert (after.content_type, after.cache_control, after.content_language) == ("application/x-tar", "no-store", "en")
    bucket, key = parse_url(url)
    tags = s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "a b", "x": "+"}
    assert copying.head(source.url) == source
    # As it is when it is streamed.
    (tmp_path / "body").write_bytes(b"staged")
    like = copying.head(streamed)
    copying.replace(streamed, tmp_path / "body", if_match=like.etag, like=like, metadata={"run": "r-1"})
    other = copying.head(streamed)
    assert (after.attributes(), after.metadata, after.size) == (other.attributes(), other.metadata, other.size)


def test_storage_class_encryption_and_grants_are_kept(moto: S3Gateway) -> None:
    s3, url = moto.client(), f"s3://{moto.bucket}/copied over"
    key_id = "arn:aws:kms:us-east-1:123456789012:key/1"
    everyone = 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'
    sent: list[dict[str, Any]] = []
    for operation in ("CopyObject", "CreateMultipartUpload"):
        s3.meta.events.register(f"provide-client-params.s3.{operation}", lambda params, **_: sent.append(params))
    for way in WAYS:
        put(s3, url, StorageClass="STANDARD_IA", ServerSideEncryption="aws:kms", SSEKMSKeyId=key_id, GrantRead=everyone)
        store = DeepStore(s3)
        before, source = store.head(url), staged(store, f"s3://{moto.bucket}/work")
        store.replace_by_copy(url, source, way, if_match=before.etag, like=before, metadata={})
        names = ("StorageClass", "ServerSideEncryption", "SSEKMSKeyId", "GrantRead")
        assert [sent[-1].get(name) for name in names] == ["STANDARD_IA", "aws:kms", key_id, everyone]
        after = store.head(url)
        assert (after.storage_class, after.encryption, after.kms_key_id) == ("STANDARD_IA", "aws:kms", key_id)


@pytest.mark.parametrize("way", WAYS)
def test_a_lost_race_changes_nothing(copying: DeepStore, s3: Any, prefix: str, way: CopyBy) -> None:
    url, source = prefix + "/s", staged(copying, prefix)
    put(s3, url)
    before = copying.head(url)
    put(s3, url, b"theirs")
    with pytest.raises(ObjectChangedError, match=url):
        copying.replace_by_copy(url, source, way, if_match=before.etag, like=before, metadata={})
    assert copying.read(url) == b"theirs"
    copying.delete(url)
    with pytest.raises(ObjectNotFoundError):
        copying.replace_by_copy(url, source, way, if_match=before.etag, like=before, metadata={})
    assert not copying.exists(url)
    assert open_uploads(s3, prefix) == []


@pytest.mark.parametrize("way", WAYS)
def test_another_source_than_was_staged_is_not_copied(copying: DeepStore, s3: Any, prefix: str, way: CopyBy) -> None:
    url, source = prefix + "/s", staged(copying, prefix)
    put(s3, url)
    before = copying.head(url)
    put(s3, source.url, b"others")
    with pytest.raises(ObjectChangedError, match="staged"):
        copying.replace_by_copy(url, source, way, if_match=before.etag, like=before, metadata={})
    copying.delete(source.url)
    with pytest.raises(ObjectNotFoundError, match="staged"):
        copying.replace_by_copy(url, source, way, if_match=before.etag, like=before, metadata={})
    assert copying.head(url) == before
    assert open_uploads(s3, prefix) == []


def test_what_is_too_large_for_one_request_is_copied_in_parts(s3: Any, versitygw: S3Gateway, prefix: str) -> None:
    store = DeepStore(s3, multipart_threshold=5 * 1024**2, part_bytes=1)
    url, source = prefix + "/s", staged(store, prefix, LARGE)
    put(s3, url)
    before, told = store.head(url), []
    bucket, key = parse_url(url)

    def begun(upload_id: str) -> None:
        parts = s3.list_parts(Bucket=bucket, Key=key, UploadId=upload_id).get("Parts", [])
        told.append((upload_id == open_uploads(s3, url)[0]["UploadId"], len(parts)))

    way = store.way_to_copy(source.size, WAYS)
    assert way is CopyBy.PARTS
    etag = store.replace_by_copy(url, source, way, if_match=before.etag, like=before, metadata={}, begun=begun)
    assert etag.endswith("-2")
    assert store.read(url) == LARGE
    assert told == [(True, 0)]
    assert open_uploads(s3, prefix) == []


def test_a_copy_that_is_shorter_than_what_was_staged_does_not_show(s3: Any, versitygw: S3Gateway, prefix: str) -> None:
    client = versitygw.client()
    url, source = prefix + "/s", staged(DeepStore(client), prefix, b"0123456789")

    def shorten(params: dict[str, Any], **_: Any) -> None:
        params["CopySourceRange"] = "bytes=0-4"

    client.meta.events.register("before-parameter-build.s3.UploadPartCopy", shorten)
    put(s3, url)
    before = DeepStore(s3).head(url)
    with pytest.raises(Exception, match="CompleteMultipartUpload"):
        DeepStore(client).replace_by_copy(url, source, CopyBy.PARTS, if_match=before.etag, like=before, metadata={})
    assert DeepStore(s3).head(url) == before


def test_a_copy_that_is_not_permitted_leaves_nothing(versitygw: S3Gateway, s3: Any, prefix: str) -> None:
    client = versitygw.client()
    _refusing("UploadPartCopy", 403, "AccessDenied")(client)
    url, source = prefix + "/s", staged(DeepStore(client), prefix)
    put(s3, url)
    before = DeepStore(s3).head(url)
    with pytest.raises(DeepStoreAccessError, match="UploadPartCopy"):
        DeepStore(client).replace_by_copy(url, source, CopyBy.PARTS, if_match=before.etag, like=before, metadata={})
    assert DeepStore(s3).head(url) == before
    assert open_uploads(s3, prefix) == []
