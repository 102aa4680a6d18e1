"""Whether a store honours the conditions that safe overwriting depends on.

It is tried out, since some stores take a condition and ignore it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deep_store_sync.errors import (
    DeepStoreError,
    ObjectChangedError,
    ObjectNotFoundError,
    StoreCapabilityError,
)
from deep_store_sync.model import CopyBy
from deep_store_sync.store.copying import copy_over
from deep_store_sync.store.multipart import SMALLEST_PART, Upload, upload_in_parts
from deep_store_sync.store.object_info import ObjectInfo, bare_etag, object_info, quoted_etag
from deep_store_sync.store.object_url import object_url, parse_url
from deep_store_sync.store.store_errors import translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_WRONG = quoted_etag("0" * 32)
_METADATA = {"deep-store-sync-probe": "a b=c"}
# As a segment has them, and as a staged archive has them: what a copy has to have in the end, and what it has not.
_CARRIED = {
    "ContentType": "application/x-probe",
    "CacheControl": "no-cache",
    "ContentDisposition": "attachment",
    "Metadata": _METADATA,
    "Tagging": "probe=a%20b",
}
_SOURCE = {"ContentType": "application/x-source", "Metadata": {"source": "1"}}


def probe(client: S3Client, prefix_url: str, *, multipart: bool) -> None:
    """Write a small object under the prefix in every way that matters, and remove it again.

    Raises:
        StoreCapabilityError: the store ignores a condition, or loses user metadata.
        DeepStoreError: the object cannot be written, read or removed there.
    """
    with _probe_object(client, prefix_url) as url:
        first = _put(client, url, b"1", IfNoneMatch="*")
        _must_refuse(client, url, "PutObject", "If-None-Match: * on an object that exists", IfNoneMatch="*")
        _must_refuse(client, url, "PutObject", "If-Match with another ETag", IfMatch=_WRONG)
        _put(client, url, b"2", IfMatch=first)
        metadata = _head(client, url).metadata
        if metadata != _METADATA:
            raise StoreCapabilityError(
                f"the store of {prefix_url} does not keep user metadata, which unfinished work is recognised by: "
                f"{metadata} came back for {_METADATA}. Use another store or gateway"
            )
        if multipart:
            _multipart_must_refuse(client, url)


def probe_copies(client: S3Client, prefix_url: str) -> tuple[CopyBy, ...]:
    """Which ways of copying over an object honour the conditions, and give the copy all that it has to have.

    A way that fails for whatever reason is none.
    """
    with _probe_object(client, prefix_url) as source_url, _probe_object(client, prefix_url) as url:
        return tuple(way for way in CopyBy if _copies(client, source_url, url, way))


def _copies(client: S3Client, source_url: str, url: str, way: CopyBy) -> bool:
    try:
        _put(client, source_url, b"copied", _SOURCE)
        _put(client, url, b"before", _CARRIED)
        source, before = _head(client, source_url), _head(client, url)

        def copy(of: ObjectInfo, if_match: str) -> str:
            over = {"IfMatch": quoted_etag(if_match)}
            return copy_over(client, of, url, way, attributes=_CARRIED, condition=over, part_bytes=SMALLEST_PART)

        for of, if_match in ((source, _WRONG), (replace(source, etag=_WRONG), before.etag)):
            with suppress(ObjectChangedError, ObjectNotFoundError):
                copy(of, if_match)
                return False
        if _head(client, url) != before:
            return False
        etag = bare_etag(copy(source, before.etag))
        after, (bucket, key) = _head(client, url), parse_url(url)
        with translated("GetObjectTagging", url):
            tags = client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
        with translated("GetObject", url):
            content = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    except DeepStoreError:
        return False
    return (after.etag, after.attributes(), after.metadata, content) == (
        etag,
        before.attributes(),
        before.metadata,
        b"copied",
    ) and tags == [{"Key": "probe", "Value": "a b"}]


@contextmanager
def _probe_object(client: S3Client, prefix_url: str) -> Iterator[str]:
    """The URL of an object that may be written, and is removed in the end."""
    bucket, prefix = parse_url(prefix_url)
    key = f"{prefix.rstrip('/')}/probe-{uuid.uuid4().hex}".lstrip("/")
    url = object_url(bucket, key)
    try:
        yield url
    finally:
        with suppress(DeepStoreError), translated("DeleteObject", url):
            client.delete_object(Bucket=bucket, Key=key)


def _head(client: S3Client, url: str) -> ObjectInfo:
    bucket, key = parse_url(url)
    with translated("HeadObject", url):
        return object_info(url, dict(client.head_object(Bucket=bucket, Key=key)))


def _put(client: S3Client, url: str, body: bytes, carried: Mapping[str, Any] | None = None, /, **condition: str) -> str:
    bucket, key = parse_url(url)
    put: Any = client.put_object
    attributes = {"Metadata": _METADATA} if carried is None else carried
    with translated("PutObject", url, conditional_write=True):
        etag: str = put(Bucket=bucket, Key=key, Body=body, **attributes, **condition)["ETag"]
    return etag


def _must_refuse(client: S3Client, url: str, call: str, condition: str, **arguments: str) -> None:
    try:
        _put(client, url, b"never", **arguments)
    except ObjectChangedError:
        return
    raise _ignored(url, call, condition)


def _multipart_must_refuse(client: S3Client, url: str) -> None:
    def part(upload: Upload, number: int) -> dict[str, Any]:
        put: Any = client.upload_part
        with translated("UploadPart", url):
            return upload.receipt(put(**upload.place, PartNumber=number, Body=b"never"))

    try:
        upload_in_parts(client, url, iter([part]), attributes={}, condition={"IfMatch": _WRONG})
    except (ObjectChangedError, ObjectNotFoundError):
        return
    raise _ignored(url, "CompleteMultipartUpload", "If-Match with another ETag")


def _ignored(url: str, call: str, condition: str) -> StoreCapabilityError:
    return StoreCapabilityError(
        f"the store of {url} ignores {condition} on {call}: overwriting segments there could destroy what somebody "
        "else wrote meanwhile. Use a store or gateway that honours conditional writes, as AWS S3 and versitygw do, or "
        "a newer version of this one"
    )
