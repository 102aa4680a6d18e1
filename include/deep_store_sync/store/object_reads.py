"""Reading what is in the store: whole objects, parts of them, their attributes, and listings."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from deep_store_sync.checkpoint import checkpoint
from deep_store_sync.errors import DeepStoreUnavailableError, ObjectChangedError, ObjectNotFoundError
from deep_store_sync.store.fast_listing import Entries, read_listings_fast
from deep_store_sync.store.object_info import ObjectInfo, bare_etag, object_info, quoted_etag
from deep_store_sync.store.object_url import object_url, parse_url
from deep_store_sync.store.store_errors import translated
from deep_store_sync.store.whole_answers import expect_whole_answers

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CHUNK = 1024**2
_DOWNLOAD_TRIES = 3


class ObjectReads:
    """Reads objects by URL. What its methods raise besides what they name is told by `DeepStore`."""

    def __init__(self, client: S3Client) -> None:
        expect_whole_answers(client)
        read_listings_fast(client)
        self._client = client

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
                found = list(_keys_and_etags(page.get("Contents", [])))
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


def _keys_and_etags(entries: Any) -> Iterator[tuple[str, str]]:
    if isinstance(entries, Entries):
        return zip(entries.keys, map(bare_etag, entries.etags), strict=True)
    return ((entry["Key"], bare_etag(entry["ETag"])) for entry in entries)


def _version(version_id: str | None) -> dict[str, str]:
    return {"VersionId": version_id} if version_id else {}
