from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep_store_sync.errors import ConfigError
from deep_store_sync.store.object_url import object_url, parse_url


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("s3://b/dir/seg", "dir/seg"),
        ("s3a://b/dir/seg", "dir/seg"),
        ("s3://b/dir/a%20b%2Bc+d%253A", "dir/a b+c+d%3A"),
        ("s3://b/dir/%C3%A9", "dir/é"),
        ("s3://b/dir/é x", "dir/é x"),
        ("s3://b//dir///seg", "dir/seg"),  # as S3PinotFS finds it
        ("s3://b/a%2Fb", "a/b"),
        ("s3://b/prefix/", "prefix/"),
        ("s3://b", ""),
        ("s3://b/", ""),
        ("s3://b/a/%2E%2E/b", "a/../b"),
        ("s3://B_1.x/K", "K"),
    ],
)
def test_the_key_is_the_path_decoded_once(url: str, key: str) -> None:
    assert parse_url(url) == ("B_1.x" if "B_" in url else "b", key)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/local/file",
        "file:///data/seg",
        "http://controller:9000/segments/t/s",
        "s3:///key",
        "s3://u:pw@b/key",
        "s3://b:80/key",
        "s3://b/k?versionId=1",
        "s3://b/k#1",
        "s3://b/k?",
        "s3://b/a/../k",
        "s3://b/./k",
        "s3://[b/k",
    ],
)
def test_what_is_no_object_url(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_url(url)
    assert "pw" not in str(caught.value)


@given(st.text(st.characters(codec="utf-8"), min_size=1) | st.text("/.%+ a", min_size=1))
def test_every_key_has_a_url(key: str) -> None:
    url = object_url("bucket", key)
    assert url.isascii()
    assert parse_url(url) == ("bucket", key)


def test_plain_keys_stay_readable() -> None:
    assert object_url("b", "t/flights_2013-01+x.tar.gz") == "s3://b/t/flights_2013-01+x.tar.gz"
