"""The deep store: objects in S3 or a store that speaks S3, overwritten by compare-and-set only."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from deep_store_sync.checkpoint import CheckedFile, checkpoint
from deep_store_sync.errors import (
    DeepStoreError,
    DeepStoreUnavailableError,
    ObjectChangedError,
    ObjectNotFoundError,
)
from deep_store_sync.store.fast_listing import read_listings_fast
from deep_store_sync.store.multipart import file_parts, object_parts, upload_in_parts
from deep_store_sync.store.object_info import ObjectInfo, bare_etag, object_info, quoted_etag
from deep_store_sync.store.object_url import object_url, parse_url
from deep_store_sync.store.store_errors import translated
from deep_store_sync.store.store_probe import probe
from deep_store_sync.store.tags_and_grants import grants, tagging
from deep_store_sync.store.whole_answers import expect_whole_answers

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["DeepStore", "ObjectInfo", "object_url", "parse_url"]

# What one PutObject or CopyObject takes (S3: "Uploading and copying objects", 5 GB is 5 GiB).
_ONE_REQUEST = 5 * 1024**3
_PART = 64 * 1024**2
_COPIED_PART = 512 * 1024**2
_CHUNK = 1024**2
_DOWNLOAD_TRIES = 3
_DELETED_AT_ONCE = 1000  # the most that S3 takes


class DeepStore:
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
        expect_whole_answers(client)
        read_listings_fast(client)
        self._client = client
        self.multipart_threshold = min(multipart_threshold, _ONE_REQUEST)
        self._part_bytes = part_bytes

    # --- reading -----------------------------------------------------------------------------------------------------

    def head(self, url: str, *, version_id: str | None = None) -> ObjectInfo:
        """An object's attributes, or those of an earlier version of it.

        Raises:
            ObjectNotFoundError: there is no such object or version.
        """
        bucket, key = parse_url(url)
        head_object: Any = self._client.head_object
        with translated("HeadObject", url):
            return object_info(url, head_object(Bucket=bucket, Key=key, **_version(version_id)))

    def exists(self, url: str) -> bool:
        """Whether there is such an object."""
        try:
            self.head(url)
        except ObjectNotFoundError:
            return False
        return True

    def download(
        self,
        url: str,
        path: Path,
        *,
        if_match: str | None = None,
        version_id: str | None = None,
        first_bytes: int | None = None,
    ) -> ObjectInfo:
        """Stream an object, or an earlier version of it, into a file: the whole of it, or only its `first_bytes`.

        A body that is cut short is fetched again, and a file that is not whole is not left behind. With `first_bytes`,
        the size that is returned is that of the part.

        Raises:
            ObjectChangedError: its ETag is not `if_match`.
            ObjectNotFoundError: there is no such object or version.
        """
        arguments = {**_version(version_id), **({"Range": f"bytes=0-{first_bytes - 1}"} if first_bytes else {})}
        try:
            with path.open("wb") as file:
                return self._fetch(url, file, if_match, arguments)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def read(self, url: str) -> bytes:
        """An object's bytes, for objects that fit into memory.

        Raises:
            ObjectNotFoundError: there is no such object.
        """
        buffer = io.BytesIO()
        self._fetch(url, buffer, None)
        return buffer.getvalue()

    def read_part(self, url: str, start: int, length: int, *, if_match: str) -> bytes:
        """So many bytes of an object, from `start` on.

        Raises:
            ObjectChangedError: its ETag is not `if_match`.
            ObjectNotFoundError: there is no such object.
        """
        buffer = io.BytesIO()
        self._fetch(url, buffer, if_match, {"Range": f"bytes={start}-{start + length - 1}"})
        return buffer.getvalue()

    def _fetch(
        self, url: str, sink: IO[bytes], if_match: str | None, arguments: Mapping[str, str] | None = None
    ) -> ObjectInfo:
        for left in reversed(range(_DOWNLOAD_TRIES)):
            try:
                return self._fetch_once(url, sink, if_match, arguments or {})
            except DeepStoreUnavailableError:
                if not left:
                    raise
            sink.seek(0)
            sink.truncate()
        raise AssertionError("unreachable")

    def _fetch_once(self, url: str, sink: IO[bytes], if_match: str | None, arguments: Mapping[str, str]) -> ObjectInfo:
        bucket, key = parse_url(url)
        get_object: Any = self._client.get_object
        condition = {"IfMatch": quoted_etag(if_match)} if if_match else {}
        with translated("GetObject", url):
            answer = get_object(Bucket=bucket, Key=key, **arguments, **condition)
            info = object_info(url, answer)
            got = 0
            with closing(answer["Body"]) as body:  # `with answer["Body"]` gives what is below it, without its checks
                if if_match and info.etag != bare_etag(if_match):
                    raise ObjectChangedError(
                        f"GetObject {url}: the object has ETag {info.etag}, not {if_match} as before"
                    )
                while chunk := body.read(_CHUNK):
                    checkpoint()
                    sink.write(chunk)
                    got += len(chunk)
        if got != info.size:
            raise DeepStoreUnavailableError(
                f"GetObject {url}: the body ended after {got} of {info.size} bytes. Check the network to the store"
            )
        return info

    def list_etags(
        self, prefix_url: str, *, after: str | None = None, until: str | None = None
    ) -> Iterator[list[tuple[str, str]]]:
        """Key and ETag of the objects whose key begins with the URL's, page by page, in the order of keys.

        Only of keys greater than `after`, and up to `until`.
        """
        bucket, prefix = parse_url(prefix_url)
        beginning: Any = {"StartAfter": after} if after is not None else {}
        with translated("ListObjectsV2", prefix_url):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **beginning)
            for page in pages:
                found = [(entry["Key"], bare_etag(entry["ETag"])) for entry in page.get("Contents", [])]
                if until is None or not found or found[-1][0] <= until:
                    yield found
                else:
                    yield [(key, etag) for key, etag in found if key <= until]
                    return

    def list(self, prefix_url: str) -> Iterator[ObjectInfo]:
        """The objects whose key begins with the URL's, in the store's order, page by page."""
        bucket, prefix = parse_url(prefix_url)
        with translated("ListObjectsV2", prefix_url):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    yield object_info(object_url(bucket, entry["Key"]), entry)

    def folders(self, prefix_url: str) -> Iterator[str]:
        """URLs of the folders right below a folder's URL, each with its closing slash, in the store's order."""
        bucket, prefix = parse_url(prefix_url.rstrip("/") + "/")
        pages = self._client.get_paginator("list_objects_v2")
        with translated("ListObjectsV2", prefix_url):
            for page in pages.paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"):
                for entry in page.get("CommonPrefixes", []):
                    yield object_url(bucket, entry["Prefix"])

    def keeps_versions(self, url: str) -> bool:
        """Whether what is overwritten in the URL's bucket stays there as an earlier version."""
        bucket, _ = parse_url(url)
        with translated("GetBucketVersioning", url):
            return self._client.get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled"

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
        bucket, key = parse_url(source_url)
        target_bucket, target_key = parse_url(target_url)
        etag = quoted_etag(source_etag)
        if source.size > self.multipart_threshold:
            parts = object_parts(
                bucket, key, etag, source.size, max(self._part_bytes, min(self.multipart_threshold, _COPIED_PART))
            )
            attributes = source.attributes() | {"Metadata": dict(source.metadata)} | tagging(self._client, source)
            upload_in_parts(self._client, target_url, parts, attributes=attributes, condition={})
        else:
            placed = {k: v for k, v in source.attributes().items() if not k.startswith(("Content", "Cache"))}
            copy_object: Any = self._client.copy_object
            with translated("CopyObject", f"{source_url} to {target_url}"):
                copy_object(
                    Bucket=target_bucket,
                    Key=target_key,
                    CopySource={"Bucket": bucket, "Key": key},
                    CopySourceIfMatch=etag,
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

    def replace(self, url: str, body: Path, *, if_match: str, like: ObjectInfo, metadata: Mapping[str, str]) -> str:
        """Overwrite the object that has this ETag; returns the new ETag.

        The new object takes content headers, storage class, encryption, user metadata, tags and grants from `like`;
        `metadata` is merged into the user metadata (keys: lower case and hyphens, values: ASCII). Grants that may not
        be read are not kept.

        Raises:
            ObjectChangedError: the object has another ETag. Nothing was changed.
            ObjectNotFoundError: the object is gone. Nothing was changed.
            WriteConflictError: the store could not decide between concurrent writes. The same call may succeed later.
            DeepStoreAccessError: also when the object has tags that may not be read: they would be lost.
            DeepStoreUnavailableError: the outcome is unknown: read the object's metadata back.
        """
        bucket, key = parse_url(url)
        attributes = (
            like.attributes()
            | {"Metadata": {**like.metadata, **metadata}}
            | tagging(self._client, like)
            | grants(self._client, like)
        )
        condition = {"IfMatch": quoted_etag(if_match)}
        if body.stat().st_size > self.multipart_threshold:
            parts = file_parts(body, self._part_bytes)
            return bare_etag(upload_in_parts(self._client, url, parts, attributes=attributes, condition=condition))
        put_object: Any = self._client.put_object
        with translated("PutObject", url, conditional_write=True), body.open("rb") as file:
            return bare_etag(put_object(Bucket=bucket, Key=key, Body=file, **attributes, **condition)["ETag"])

    def probe(self, prefix_url: str, *, multipart: bool = False) -> None:
        """Prove, on a small object under the prefix, that the store honours conditional writes; it is removed again.

        Ask for `multipart` where objects above the multipart threshold will be overwritten.

        Raises:
            StoreCapabilityError: it does not.
        """
        probe(self._client, prefix_url, multipart=multipart)


def _version(version_id: str | None) -> dict[str, str]:
    return {"VersionId": version_id} if version_id else {}


def _opened(body: bytes | Path) -> IO[bytes]:
    return CheckedFile(body) if isinstance(body, Path) else io.BytesIO(body)
