"""Whether a store honours the conditions that safe overwriting depends on.

It is tried out, since some stores take a condition and ignore it.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from deep_store_sync.errors import DeepStoreError, ObjectChangedError, ObjectNotFoundError, StoreCapabilityError
from deep_store_sync.store.multipart import Upload, upload_in_parts
from deep_store_sync.store.object_info import quoted_etag
from deep_store_sync.store.object_url import object_url, parse_url
from deep_store_sync.store.store_errors import translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_WRONG = quoted_etag("0" * 32)
_METADATA = {"deep-store-sync-probe": "a b=c"}


def probe(client: S3Client, prefix_url: str, *, multipart: bool) -> None:
    """Write a small object under the prefix in every way that matters, and remove it again.

    Raises:
        StoreCapabilityError: the store ignores a condition, or loses user metadata.
        DeepStoreError: the object cannot be written, read or removed there.
    """
    bucket, prefix = parse_url(prefix_url)
    key = f"{prefix.rstrip('/')}/probe-{uuid.uuid4().hex}".lstrip("/")
    url = object_url(bucket, key)
    try:
        first = _put(client, url, b"1", IfNoneMatch="*")
        _must_refuse(client, url, "PutObject", "If-None-Match: * on an object that exists", IfNoneMatch="*")
        _must_refuse(client, url, "PutObject", "If-Match with another ETag", IfMatch=_WRONG)
        _put(client, url, b"2", IfMatch=first)
        with translated("HeadObject", url):
            head = client.head_object(Bucket=bucket, Key=key)
        if {name.lower(): value for name, value in head["Metadata"].items()} != _METADATA:
            raise StoreCapabilityError(
                f"the store of {prefix_url} does not keep user metadata, which unfinished work is recognised by: "
                f"{head['Metadata']} came back for {_METADATA}. Use another store or gateway"
            )
        if multipart:
            _multipart_must_refuse(client, url)
    finally:
        with suppress(DeepStoreError), translated("DeleteObject", url):
            client.delete_object(Bucket=bucket, Key=key)


def _put(client: S3Client, url: str, body: bytes, **condition: str) -> str:
    bucket, key = parse_url(url)
    put: Any = client.put_object
    with translated("PutObject", url, conditional_write=True):
        etag: str = put(Bucket=bucket, Key=key, Body=body, Metadata=_METADATA, **condition)["ETag"]
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
