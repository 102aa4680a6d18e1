"""The deep store: objects in S3 or a store that speaks S3, overwritten by compare-and-set only."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from deep_store_sync.checkpoint import CheckedFile
from deep_store_sync.errors import (
    DeepStoreError,
    DeepStoreUnavailableError,
    ObjectChangedError,
    ObjectNotFoundError,
)
from deep_store_sync.model import CopyBy
from deep_store_sync.store.copying import copy_over, way_to_copy
from deep_store_sync.store.multipart import OpenUpload, drop_upload, file_parts, open_uploads, upload_in_parts
from deep_store_sync.store.object_info import ObjectInfo, bare_etag, quoted_etag
from deep_store_sync.store.object_reads import ObjectReads
from deep_store_sync.store.object_url import object_url, parse_url
from deep_store_sync.store.store_errors import translated
from deep_store_sync.store.store_probe import probe, probe_copies
from deep_store_sync.store.tags_and_grants import grants, tagging

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["DeepStore", "ObjectInfo", "object_url", "parse_url"]

# What one PutObject or CopyObject takes (S3: "Uploading and copying objects", 5 GB is 5 GiB).
_ONE_REQUEST = 5 * 1024**3
_PART = 64 * 1024**2
_COPIED_PART = 512 * 1024**2
_DELETED_AT_ONCE = 1000  # the most that S3 takes


class DeepStore(ObjectReads):
    """Reads and writes objects by URL. Safe to use from several threads, as boto3's clients are.

    The client is used as it is configured. Its own retries are welcome: where a conditional write was refused only
    after botocore had sent it again, the refusal may be the doing of the first try, and counts as an unknown outcome
    (`store_errors.translated`).

    Besides what each method names, all raise: DeepStoreUnavailableError (no usable answer; for a write, the outcome is
    unknown), DeepStoreAccessError (credentials, permissions), ObjectNotFoundError (no such bucket), DeepStoreError (any
    other refusal), and ConfigError for a URL that is none.
    """

    def __init__(self, client: S3Client, *, multipart_threshold: int = _ONE_REQUEST, part_bytes: int = _PART) -> None:
        """Objects above `multipart_threshold` bytes are written and copied in parts, of `part_bytes` at least."""
        super().__init__(client)
        self.multipart_threshold = min(multipart_threshold, _ONE_REQUEST)
        self._part_bytes = part_bytes

    # --- the workspace -----------------------------------------------------------------------------------------------

    def write_workspace(self, url: str, body: bytes | Path) -> str:
        """Write an object whatever is there; returns its ETag. A segment is never written so, but with `replace`."""
        bucket, key = parse_url(url)
        if isinstance(body, Path) and body.stat().st_size > self.multipart_threshold:
            return bare_etag(
                upload_in_parts(self._client, url, file_parts(body, self._part_bytes), attributes={}, condition={})
            )
        with translated("PutObject", url), _opened(body) as data:
            return bare_etag(self._client.put_object(Bucket=bucket, Key=key, Body=data)["ETag"])

    def create(self, url: str, body: bytes) -> bool:
        """Write an object unless there is one; returns whether this call wrote it.

        Where a try of ours may have arrived without an answer, the object is read back and compared: make the body
        unlike anybody else's.
        """
        bucket, key = parse_url(url)
        try:
            with translated("PutObject", url, conditional_write=True):
                self._client.put_object(Bucket=bucket, Key=key, Body=body, IfNoneMatch="*")
        except ObjectChangedError:
            return False
        except DeepStoreUnavailableError:
            with suppress(ObjectNotFoundError):
                return self.read(url) == body
            raise
        return True

    def delete(self, url: str) -> None:
        """Remove an object. It is no error when there is none."""
        bucket, key = parse_url(url)
        with translated("DeleteObject", url):
            self._client.delete_object(Bucket=bucket, Key=key)

    def delete_all(self, urls: Iterable[str]) -> None:
        """Remove the objects of one bucket, a thousand with each call.

        Raises:
            DeepStoreError: the store did not remove all of them; it may have removed some.
        """
        places = [parse_url(url) for url in urls]
        for start in range(0, len(places), _DELETED_AT_ONCE):
            some = places[start : start + _DELETED_AT_ONCE]
            bucket = some[0][0]
            with translated("DeleteObjects", f"s3://{bucket}"):
                answer = self._client.delete_objects(
                    Bucket=bucket, Delete={"Objects": [{"Key": key} for _, key in some], "Quiet": True}
                )
            for error in answer.get("Errors", []):
                raise DeepStoreError(
                    f"DeleteObjects {object_url(bucket, error.get('Key', ''))}: refused ({error.get('Code')}: "
                    f"{error.get('Message')}). The credentials need s3:DeleteObject in the workspace"
                )

    def copy(self, source_url: str, target_url: str, *, source_etag: str) -> None:
        """Copy an object inside the store with its attributes, metadata and tags, over what is at the target.

        Not every store looks at a condition on the source (moto does not), so the source is looked at again afterwards.

        Raises:
            ObjectChangedError: the source's ETag is not `source_etag`. Nothing is left at the target.
            ObjectNotFoundError: there is no such source.
        """
        source = self._unchanged(source_url, source_etag)
        if source.size > self.multipart_threshold:
            attributes = source.attributes() | {"Metadata": dict(source.metadata)} | tagging(self._client, source)
            copy_over(
                self._client,
                source,
                target_url,
                CopyBy.PARTS,
                attributes=attributes,
                condition={},
                part_bytes=self._copied_part_bytes,
            )
        else:
            bucket, key = parse_url(source_url)
            target_bucket, target_key = parse_url(target_url)
            placed = {k: v for k, v in source.attributes().items() if not k.startswith(("Content", "Cache"))}
            copy_object: Any = self._client.copy_object
            with translated("CopyObject", f"{source_url} to {target_url}"):
                copy_object(
                    Bucket=target_bucket,
                    Key=target_key,
                    CopySource={"Bucket": bucket, "Key": key},
                    CopySourceIfMatch=quoted_etag(source_etag),
                    **placed,
                )
        try:
            self._unchanged(source_url, source_etag)
        except (ObjectChangedError, ObjectNotFoundError):
            self.delete(target_url)
            raise

    def _unchanged(self, url: str, etag: str) -> ObjectInfo:
        found = self.head(url)
        if found.etag != bare_etag(etag):
            raise ObjectChangedError(
                f"HeadObject {url}: the object has ETag {found.etag}, not {bare_etag(etag)} as before"
            )
        return found

    # --- segments ----------------------------------------------------------------------------------------------------

    def replace(
        self,
        url: str,
        body: Path,
        *,
        if_match: str,
        like: ObjectInfo,
        metadata: Mapping[str, str],
        begun: Callable[[str], object] = lambda _: None,
    ) -> str:
        """Overwrite the object that has this ETag; returns the new ETag.

        The new object takes content headers, storage class, encryption, user metadata, tags and grants from `like`;
        `metadata` is merged into the user metadata (keys: lower case and hyphens, values: ASCII). Grants that may not
        be read are not kept. Where it is written in parts, `begun` gets the id of that upload before there are any.

        Raises:
            ObjectChangedError: the object has another ETag. Nothing was changed.
            ObjectNotFoundError: the object is gone. Nothing was changed.
            WriteConflictError: the store could not decide between concurrent writes. The same call may succeed later.
            DeepStoreAccessError: also when the object has tags that may not be read: they would be lost.
            DeepStoreUnavailableError: the outcome is unknown: read the object's metadata back.
        """
        bucket, key = parse_url(url)
        attributes, condition = self._like(like, metadata), {"IfMatch": quoted_etag(if_match)}
        if body.stat().st_size > self.multipart_threshold:
            parts = file_parts(body, self._part_bytes)
            return bare_etag(
                upload_in_parts(self._client, url, parts, attributes=attributes, condition=condition, begun=begun)
            )
        put_object: Any = self._client.put_object
        with translated("PutObject", url, conditional_write=True), body.open("rb") as file:
            return bare_etag(put_object(Bucket=bucket, Key=key, Body=file, **attributes, **condition)["ETag"])

    def way_to_copy(self, size: int, ways: Collection[CopyBy]) -> CopyBy | None:
        """How so many bytes are copied, of the ways that `probe_copies` found; None where they are not."""
        return way_to_copy(size, ways, most_at_once=self.multipart_threshold)

    def replace_by_copy(
        self,
        url: str,
        source: ObjectInfo,
        way: CopyBy,
        *,
        if_match: str,
        like: ObjectInfo,
        metadata: Mapping[str, str],
        begun: Callable[[str], object] = lambda _: None,
    ) -> str:
        """The same with a copy of `source` as it was seen, inside the store: by url, ETag and size.

        Raises:
            ObjectChangedError, ObjectNotFoundError: as above, or because of the source. Nothing was changed.
        """
        etag = copy_over(
            self._client,
            source,
            url,
            way,
            attributes=self._like(like, metadata),
            condition={"IfMatch": quoted_etag(if_match)},
            part_bytes=self._copied_part_bytes,
            begun=begun,
        )
        return bare_etag(etag)

    @property
    def _copied_part_bytes(self) -> int:
        return max(self._part_bytes, min(self.multipart_threshold, _COPIED_PART))

    def _like(self, like: ObjectInfo, metadata: Mapping[str, str]) -> dict[str, Any]:
        merged = {"Metadata": {**like.metadata, **metadata}}
        return like.attributes() | merged | tagging(self._client, like) | grants(self._client, like)

    def open_uploads(self, prefix_url: str) -> Iterator[OpenUpload]:
        """The multipart uploads below the URL that were neither completed nor dropped, whoever began them."""
        return open_uploads(self._client, prefix_url)

    def drop_upload(self, upload: OpenUpload) -> None:
        """Drop an upload with its parts. It is no error when there is none any more."""
        drop_upload(self._client, upload.url, upload.id)

    def probe(self, prefix_url: str, *, multipart: bool = False) -> None:
        """Prove, on a small object under the prefix, that the store honours conditional writes; it is removed again.

        Ask for `multipart` where objects above the multipart threshold will be overwritten.

        Raises:
            StoreCapabilityError: it does not.
        """
        probe(self._client, prefix_url, multipart=multipart)

    def probe_copies(self, prefix_url: str) -> tuple[CopyBy, ...]:
        """The ways to overwrite an object with a copy in which the store honours the condition, and loses nothing.

        They are tried out on small objects under the prefix, which are removed again.
        """
        return probe_copies(self._client, prefix_url)


def _opened(body: bytes | Path) -> IO[bytes]:
    return CheckedFile(body) if isinstance(body, Path) else io.BytesIO(body)
