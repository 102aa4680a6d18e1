"""Bucket versioning as a backup: whether what is overwritten can be read again, and under which version."""

from __future__ import annotations

from threading import Lock

from deep_store_sync.errors import DeepStoreError, DeepStoreUnavailableError, ObjectNotFoundError, StoreCapabilityError
from deep_store_sync.store.deep_store import DeepStore, ObjectInfo
from deep_store_sync.store.object_url import parse_url

# The version that an object has that was written before its bucket kept versions (S3: "Managing objects in a
# versioning-enabled bucket"). It stays like any other when it is overwritten.
_BEFORE_VERSIONING = "null"


class Versioning:
    """Knows which buckets keep versions. Each is asked once. Safe to use from several threads."""

    def __init__(self, store: DeepStore) -> None:
        self._store = store
        self._lock = Lock()
        self._off: dict[str, str | None] = {}

    def off(self, url: str) -> str | None:
        """Why the URL's bucket cannot be counted on to keep what is overwritten; None when it can.

        Raises:
            DeepStoreUnavailableError: the store does not answer.
        """
        bucket, _ = parse_url(url)
        with self._lock:
            if bucket not in self._off:
                self._off[bucket] = self._ask(bucket, url)
            return self._off[bucket]

    def require(self, url: str) -> None:
        """Refuse to go on where the URL's bucket does not keep versions.

        Raises:
            StoreCapabilityError: it does not, or does not tell.
        """
        reason = self.off(url)
        if reason:
            raise StoreCapabilityError(
                f"backup: versioning cannot be relied on: {reason}. Enable versioning on the bucket, or set backup to "
                "copy, or to auto, which takes what there is"
            )

    def version(self, current: ObjectInfo) -> str | None:
        """The version id under which an object can be read once it is overwritten; None where that is not certain."""
        if self.off(current.url):
            return None
        if current.version_id:
            return current.version_id
        try:
            found = self._store.head(current.url, version_id=_BEFORE_VERSIONING)
        except ObjectNotFoundError:
            return None
        return _BEFORE_VERSIONING if found.etag == current.etag else None

    def _ask(self, bucket: str, url: str) -> str | None:
        try:
            return None if self._store.keeps_versions(url) else f"the bucket {bucket} does not keep versions"
        except DeepStoreUnavailableError:
            raise
        except DeepStoreError as error:
            return f"the bucket {bucket} does not tell whether it keeps versions ({error})"
