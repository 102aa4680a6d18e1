"""Overwriting an object with a copy of another one, inside the store: the bytes do not pass through this machine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from deep_store_sync.model import CopyBy
from deep_store_sync.store.multipart import object_parts, upload_in_parts
from deep_store_sync.store.object_info import ObjectInfo, quoted_etag
from deep_store_sync.store.object_url import parse_url
from deep_store_sync.store.store_errors import translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def way_to_copy(size: int, ways: Collection[CopyBy], *, most_at_once: int) -> CopyBy | None:
    """How so many bytes are copied where the store knows these ways, or None where it does not copy so many.

    `most_at_once` is what one request copies.
    """
    if CopyBy.WHOLE in ways and size <= most_at_once:
        return CopyBy.WHOLE
    return CopyBy.PARTS if CopyBy.PARTS in ways else None


def copy_over(
    client: S3Client,
    source: ObjectInfo,
    target_url: str,
    way: CopyBy,
    *,
    attributes: Mapping[str, Any],
    condition: Mapping[str, str],
    part_bytes: int,
    begun: Callable[[str], object] = lambda _: None,
) -> str:
    """Copy an object, if it is still as it was seen; returns the new ETag.

    The copy has `attributes` (with user metadata and tags) instead of the source's. `condition` is on the target.

    Raises:
        ObjectChangedError: the source is another one by now, or the condition does not hold. Nothing was changed.
        ObjectNotFoundError: the source is gone, or what the condition speaks of.
    """
    bucket, key = parse_url(source.url)
    etag = quoted_etag(source.etag)
    if way is CopyBy.PARTS:
        parts = object_parts(bucket, key, etag, source.size, part_bytes)
        # With the size that it has to have in the end, where the store looks at that.
        ending = {**condition, "MpuObjectSize": source.size}
        return upload_in_parts(client, target_url, parts, attributes=attributes, condition=ending, begun=begun)
    target_bucket, target_key = parse_url(target_url)
    copy_object: Any = client.copy_object
    with translated("CopyObject", f"{source.url} to {target_url}", conditional_write=True):
        answer = copy_object(
            Bucket=target_bucket,
            Key=target_key,
            CopySource={"Bucket": bucket, "Key": key},
            CopySourceIfMatch=etag,
            MetadataDirective="REPLACE",
            TaggingDirective="REPLACE",
            **attributes,
            **condition,
        )
    copied: str = answer["CopyObjectResult"]["ETag"]
    return copied
