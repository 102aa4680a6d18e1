"""Bucket versioning as a backup, on a real gateway and on the mock."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deep_store_sync.errors import DeepStoreAccessError, ObjectNotFoundError, StoreCapabilityError
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.store.versioning import Versioning


@pytest.fixture(params=["gateway", "moto"])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    client = request.getfixturevalue(request.param).client()
    yield client
    client.close()


@pytest.fixture
def bucket(client: Any) -> str:
    name = f"versions-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return name


def keep_versions(client: Any, bucket: str, status: str = "Enabled") -> None:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})


def test_what_is_overwritten_can_be_read_under_its_version(client: Any, bucket: str, tmp_path: Path) -> None:
    """Also what was written before the bucket kept versions, unless the store does not show it under one beforehand."""
    store, url = DeepStore(client), f"s3://{bucket}/s"
    body, back = tmp_path / "new", tmp_path / "back"
    store.write_workspace(url, b"0")
    keep_versions(client, bucket)
    versioning = Versioning(store)
    for old, new in ((b"0", b"1"), (b"1", b"2")):
        before = store.head(url)
        version = versioning.version(before)
        body.write_bytes(new)
        store.replace(url, body, if_match=before.etag, like=before, metadata={})
        assert store.read(url) == new
        if version is None:  # versitygw shows the version "null" only once it is an earlier one
            assert old == b"0"
            continue
        assert store.head(url, version_id=version).etag == before.etag
        assert store.download(url, back, if_match=before.etag, version_id=version).etag == before.etag
        assert back.read_bytes() == old
    assert version is not None
    client.delete_object(Bucket=bucket, Key="s", VersionId=version)
    with pytest.raises(ObjectNotFoundError):
        store.head(url, version_id=version)


@pytest.mark.parametrize("status", [None, "Suspended"])
def test_a_bucket_that_does_not_keep_versions(client: Any, bucket: str, status: str | None) -> None:
    if status:
        keep_versions(client, bucket)
        keep_versions(client, bucket, status)
    store, url = DeepStore(client), f"s3://{bucket}/s"
    store.write_workspace(url, b"0")
    versioning = Versioning(store)
    assert versioning.version(store.head(url)) is None
    with pytest.raises(StoreCapabilityError, match=f"the bucket {bucket} does not keep versions.*set backup to copy"):
        versioning.require(url)


def test_a_store_that_does_not_tell_counts_as_one_that_keeps_none(client: Any, bucket: str) -> None:
    class FakeForbiddingStore(DeepStore):
        """The real store with credentials that lack s3:GetBucketVersioning, which the gateway cannot be told."""

        asked = 0

        def keeps_versions(self, url: str) -> bool:
            self.asked += 1
            raise DeepStoreAccessError("403")

    store, url = FakeForbiddingStore(client), f"s3://{bucket}/s"
    store.write_workspace(url, b"0")
    versioning = Versioning(store)
    assert versioning.version(store.head(url)) is None
    with pytest.raises(StoreCapabilityError, match="does not tell whether it keeps versions"):
        versioning.require(url)
    assert store.asked == 1
