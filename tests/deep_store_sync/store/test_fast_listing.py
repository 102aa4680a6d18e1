"""What is read fast is what botocore reads."""

from __future__ import annotations

from typing import Any

import pytest

from deep_store_sync.store.deep_store import DeepStore, parse_url
from deep_store_sync.store.fast_listing import Entries, _read, read_listings_fast
from pinot_sandbox.gateway import S3Gateway

NAMES = ["a", "a b", "a+b", "a%20b", "é/ü&<>\"'", "z" * 200, "below/deep/er"]


@pytest.fixture(params=["gateway", "moto"])
def either(request: pytest.FixtureRequest) -> S3Gateway:
    found: S3Gateway = request.getfixturevalue(request.param)
    return found


def pages(client: Any, bucket: str, prefix: str, **more: Any) -> list[list[dict[str, Any]]]:
    paginator = client.get_paginator("list_objects_v2")
    return [
        [{name: entry.get(name) for name in ("Key", "ETag", "Size", "StorageClass", "LastModified")} for entry in found]
        for page in paginator.paginate(Bucket=bucket, Prefix=prefix, **more)
        for found in [page.get("Contents", [])]
    ]


def test_listings_are_the_same(either: S3Gateway) -> None:
    plain, fast = either.client(), either.client()
    for _ in range(2):
        read_listings_fast(fast)
    for number, name in enumerate(NAMES):
        plain.put_object(Bucket=either.bucket, Key=f"fast-listing/{name}", Body=bytes(number))
    several = {"PaginationConfig": {"PageSize": 3}}
    found = pages(fast, either.bucket, "fast-listing/", **several)
    assert [len(page) for page in found] == [3, 3, 1]
    assert found == pages(plain, either.bucket, "fast-listing/", **several)
    assert {entry["Key"] for page in found for entry in page} == {f"fast-listing/{name}" for name in NAMES}
    assert pages(fast, either.bucket, "no-such-folder/") == [[]]
    folders = fast.list_objects_v2(Bucket=either.bucket, Prefix="fast-listing/", Delimiter="/")["CommonPrefixes"]
    assert {folder["Prefix"] for folder in folders} == {"fast-listing/é/", "fast-listing/below/"}
    with pytest.raises(fast.exceptions.NoSuchBucket):
        fast.list_objects_v2(Bucket="no-such-bucket")


def test_a_blank_that_is_written_as_a_plus_sign() -> None:
    entries = Entries(["<Key>a+b%2Bc%20d</Key><ETag>e</ETag>"], encoded=True)
    assert (entries.keys, entries[0]["Key"]) == (["a b+c d"], "a b+c d")
    assert Entries(["<Key>a+b%2Bc</Key><ETag>e</ETag>"], encoded=False).keys == ["a+b%2Bc"]


def test_etags_of_a_range_of_keys(store: DeepStore, prefix: str) -> None:
    etags = {name: store.write_workspace(f"{prefix}/{name}", name.encode()) for name in "abcdef"}
    folder = parse_url(prefix)[1]

    def listed(after: str | None, until: str | None) -> dict[str, str]:
        ends = [end and f"{folder}/{end}" for end in (after, until)]
        found = store.list_etags(prefix + "/", after=ends[0], until=ends[1])
        return {key.removeprefix(folder + "/"): etag for page in found for key, etag in page}

    assert listed(None, None) == etags
    assert listed("b", "d").keys() == set("cd")
    assert listed(None, "b").keys() == set("ab")
    assert listed("e", None).keys() == set("f")
    assert listed("f", "z") == {}


@pytest.mark.parametrize(
    "body", [b"", b"<html", b"<a><Contents/></a>", b"<ListBucketResult><Contents/></ListBucketResult>"]
)
def test_what_is_no_listing_is_left_to_botocore(body: bytes) -> None:
    class FakeModel:
        name = "ListObjectsV2"

    answer, more = {"status_code": 200, "body": body}, dict[str, Any]()
    _read(FakeModel(), answer, more)
    assert answer["body"] == body
    assert more == {}
