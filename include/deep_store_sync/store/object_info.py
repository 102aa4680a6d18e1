"""What S3 knows of an object besides its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

# Objects in these classes cannot be read before they are restored.
_ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})

_COPIED = {
    "ContentType": "content_type",
    "ContentEncoding": "content_encoding",
    "ContentDisposition": "content_disposition",
    "ContentLanguage": "content_language",
    "CacheControl": "cache_control",
    "StorageClass": "storage_class",
    "ServerSideEncryption": "encryption",
    "SSEKMSKeyId": "kms_key_id",
    "BucketKeyEnabled": "bucket_key_enabled",
}


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object's identity and attributes.

    `etag` is without its quotes. `metadata` is the user metadata, keys in lower case. `storage_class` is None for
    STANDARD. `archived` objects cannot be read. `tag_count` is None where the store does not tell. `last_modified` is
    by the store's clock, and so is `answered`, when the store told all this; None where it does not say. In a listing
    only url, etag, size, storage class and `last_modified` are filled in.
    """

    url: str
    etag: str
    size: int
    version_id: str | None = None
    last_modified: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    content_encoding: str | None = None
    content_disposition: str | None = None
    content_language: str | None = None
    cache_control: str | None = None
    storage_class: str | None = None
    archived: bool = False
    encryption: str | None = None
    kms_key_id: str | None = None
    bucket_key_enabled: bool | None = None
    tag_count: int | None = None
    answered: datetime | None = field(default=None, compare=False)

    def attributes(self) -> dict[str, Any]:
        """The attributes as arguments for writing an object like this one (metadata, tags and ACL are apart)."""
        return {argument: value for argument, name in _COPIED.items() if (value := getattr(self, name)) is not None}


def object_info(url: str, answer: Mapping[str, Any]) -> ObjectInfo:
    """What a HeadObject or GetObject answer, or an entry of a listing, tells of an object."""
    size = answer["ContentLength"] if "ContentLength" in answer else answer.get("Size", 0)
    storage_class = answer.get("StorageClass")
    return ObjectInfo(
        url=url,
        etag=bare_etag(answer.get("ETag", "")),
        size=size,
        version_id=answer.get("VersionId"),
        last_modified=answer.get("LastModified"),
        metadata={key.lower(): value for key, value in answer.get("Metadata", {}).items()},
        content_type=answer.get("ContentType"),
        content_encoding=answer.get("ContentEncoding"),
        content_disposition=answer.get("ContentDisposition"),
        content_language=answer.get("ContentLanguage"),
        cache_control=answer.get("CacheControl"),
        storage_class=None if storage_class == "STANDARD" else storage_class,
        archived=storage_class in _ARCHIVED or bool(answer.get("ArchiveStatus")),
        encryption=answer.get("ServerSideEncryption"),
        kms_key_id=answer.get("SSEKMSKeyId"),
        bucket_key_enabled=answer.get("BucketKeyEnabled"),
        tag_count=answer.get("TagCount"),
        answered=_answered(answer),
    )


def _answered(answer: Mapping[str, Any]) -> datetime | None:
    said = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return parsedate_to_datetime(said)
    except ValueError:  # no date, or one that is none
        return None


def bare_etag(etag: str) -> str:
    """An ETag without its quotes."""
    return etag.removeprefix('"').removesuffix('"')


def quoted_etag(etag: str) -> str:
    """An ETag as conditions are written."""
    return f'"{bare_etag(etag)}"'
