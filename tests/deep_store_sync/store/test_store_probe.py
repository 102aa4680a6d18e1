from __future__ import annotations

from typing import Any

import pytest

from deep_store_sync.errors import DeepStoreAccessError, ObjectNotFoundError, StoreCapabilityError
from deep_store_sync.store.deep_store import DeepStore
from pinot_sandbox.gateway import S3Gateway


def nothing_left(s3: Any, gateway: S3Gateway, prefix: str) -> None:
    assert list(DeepStore(s3).list(prefix)) == []
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=gateway.bucket)


def test_a_store_that_honours_conditions(s3: Any, versitygw: S3Gateway, prefix: str) -> None:
    DeepStore(s3).probe(prefix + "/", multipart=True)
    nothing_left(s3, versitygw, prefix)


def test_moto_ignores_the_condition_on_completion(moto: S3Gateway) -> None:
    s3, prefix = moto.client(), f"s3://{moto.bucket}/work space"
    DeepStore(s3).probe(prefix)
    with pytest.raises(StoreCapabilityError, match=r"ignores If-Match.*CompleteMultipartUpload.*versitygw"):
        DeepStore(s3).probe(prefix, multipart=True)
    nothing_left(s3, moto, prefix)


@pytest.mark.parametrize(
    ("header", "says"),
    [("If-Match", "ignores If-Match with another ETag on PutObject"), ("If-None-Match", r"ignores If-None-Match: \*")],
)
def test_fake_store_that_ignores_a_condition_is_refused(
    gateway: S3Gateway, prefix: str, header: str, says: str
) -> None:
    s3 = gateway.client()

    def ignore(request: Any, **_: Any) -> None:
        del request.headers[header]

    s3.meta.events.register("before-sign.s3.PutObject", ignore)
    with pytest.raises(StoreCapabilityError, match=says):
        DeepStore(s3).probe(prefix)
    nothing_left(s3, gateway, prefix)


def test_fake_store_that_loses_metadata_is_refused(gateway: S3Gateway, prefix: str) -> None:
    s3 = gateway.client()
    s3.meta.events.register("before-parameter-build.s3.PutObject", lambda params, **_: params.pop("Metadata"))
    with pytest.raises(StoreCapabilityError, match="does not keep user metadata"):
        DeepStore(s3).probe(prefix)
    nothing_left(s3, gateway, prefix)


def test_a_bucket_that_is_not_there(s3: Any) -> None:
    with pytest.raises(ObjectNotFoundError, match="the bucket does not exist"):
        DeepStore(s3).probe("s3://no-such-bucket-anywhere/workspace")


def test_what_may_not_be_written_is_no_matter_of_conditions(versitygw: S3Gateway, prefix: str) -> None:
    s3 = versitygw.client()

    def wrong_secret(request: Any, **_: Any) -> None:
        request.headers["Authorization"] = request.headers["Authorization"][:-4] + b"0000"

    s3.meta.events.register("before-send.s3.PutObject", wrong_secret)
    with pytest.raises(DeepStoreAccessError):
        DeepStore(s3).probe(prefix)
