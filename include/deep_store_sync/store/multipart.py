"""Multipart uploads, for objects that are too large for one request. Nothing shows before they are completed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deep_store_sync.checkpoint import checkpoint
from deep_store_sync.errors import DeepStoreError, ObjectNotFoundError
from deep_store_sync.store.object_url import object_url, parse_url
from deep_store_sync.store.store_errors import translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# The store's limits: 10,000 parts, each of 5 MiB to 5 GiB, but for the last one, which may be smaller.
_MOST_PARTS = 10_000
SMALLEST_PART = 5 * 1024**2

Sender = Callable[["Upload", int], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload that was begun."""

    client: S3Client
    url: str
    id: str
    with_checksums: bool

    @property
    def place(self) -> dict[str, str]:
        """Bucket, key and upload id as arguments."""
        bucket, key = parse_url(self.url)
        return {"Bucket": bucket, "Key": key, "UploadId": self.id}

    def receipt(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """What completion has to name of a part: its ETag, and its checksum where the upload was begun with one."""
        names = [name for name in answer if name.startswith("Checksum") and name != "ChecksumType"]
        return {name: answer[name] for name in ["ETag", *(names if self.with_checksums else [])]}


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """An upload that was neither completed nor dropped, by anybody. `begun` is by the store's clock."""

    url: str
    id: str
    begun: datetime


def upload_in_parts(
    client: S3Client,
    url: str,
    senders: Iterator[Sender],
    *,
    attributes: Mapping[str, Any],
    condition: Mapping[str, Any],
    begun: Callable[[str], object] = lambda _: None,
) -> str:
    """Begin, send every part, complete under a condition; returns the new ETag. Whatever fails, the parts are dropped.

    `begun` gets the upload's id before the first part is sent. Dropping parts after a completion whose outcome is
    unknown is safe: a completed upload is no longer there to be dropped.
    """
    bucket, key = parse_url(url)
    begin: Any = client.create_multipart_upload
    complete: Any = client.complete_multipart_upload
    with translated("CreateMultipartUpload", url):
        answer = begin(Bucket=bucket, Key=key, **attributes)
    upload = Upload(client, url, answer["UploadId"], "ChecksumAlgorithm" in answer)
    try:
        begun(upload.id)
        parts = [{"PartNumber": number, **send(upload, number)} for number, send in enumerate(senders, 1)]
        with translated("CompleteMultipartUpload", url, conditional_write=True):
            etag: str = complete(**upload.place, MultipartUpload={"Parts": parts}, **condition)["ETag"]
        return etag
    except BaseException:
        with suppress(DeepStoreError):
            drop_upload(client, url, upload.id)
        raise


def open_uploads(client: S3Client, prefix_url: str) -> Iterator[OpenUpload]:
    """The uploads to keys that begin with the URL's, whoever began them."""
    bucket, prefix = parse_url(prefix_url)
    with translated("ListMultipartUploads", prefix_url):
        for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Uploads", []):
                yield OpenUpload(object_url(bucket, entry["Key"]), entry["UploadId"], entry["Initiated"])


def drop_upload(client: S3Client, url: str, upload_id: str) -> None:
    """Drop an upload with its parts. It is no error when there is none, or none any more."""
    bucket, key = parse_url(url)
    with suppress(ObjectNotFoundError), translated("AbortMultipartUpload", url):
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)


def file_parts(path: Path, part_bytes: int) -> Iterator[Sender]:
    """The parts of a file. One of them is in memory at a time."""
    for start, end in _ranges(path.stat().st_size, part_bytes):

        def send(upload: Upload, number: int, start: int = start, end: int = end) -> dict[str, Any]:
            checkpoint()
            with path.open("rb") as file:
                file.seek(start)
                body = file.read(end - start)
            put: Any = upload.client.upload_part
            with translated("UploadPart", upload.url):
                return upload.receipt(put(**upload.place, PartNumber=number, Body=body))

        yield send


def object_parts(bucket: str, key: str, etag: str, size: int, part_bytes: int) -> Iterator[Sender]:
    """The parts of another object, copied inside the store, as long as it has this ETag."""
    for start, end in _ranges(size, part_bytes):

        def send(upload: Upload, number: int, start: int = start, end: int = end) -> dict[str, Any]:
            copy: Any = upload.client.upload_part_copy
            with translated("UploadPartCopy", f"{object_url(bucket, key)} to {upload.url}"):
                copied = copy(
                    **upload.place,
                    PartNumber=number,
                    CopySource={"Bucket": bucket, "Key": key},
                    CopySourceIfMatch=etag,
                    CopySourceRange=f"bytes={start}-{end - 1}",
                )
                return upload.receipt(copied["CopyPartResult"])

        yield send


def _ranges(size: int, part_bytes: int) -> Iterator[tuple[int, int]]:
    step = max(part_bytes, SMALLEST_PART, math.ceil(size / _MOST_PARTS))
    for start in range(0, size, step):
        yield start, min(start + step, size)
