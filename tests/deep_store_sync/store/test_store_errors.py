from __future__ import annotations

import pickle
import socket
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError, ParamValidationError

from deep_store_sync.errors import (
    DeepStoreAccessError,
    DeepStoreError,
    DeepStoreUnavailableError,
    ObjectChangedError,
    ObjectNotFoundError,
    StoreCapabilityError,
    WriteConflictError,
)
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.store.store_errors import translated

URL = "s3://b/k"


def refusal(status: int, code: str, retries: int = 0) -> ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": "Pinot's bucket says no", "AWSAccessKeyId": "AKIA-SECRET"},
        "ResponseMetadata": {"HTTPStatusCode": status, "RetryAttempts": retries},
    }
    return ClientError(answer, "PutObject")


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (412, "PreconditionFailed", ObjectChangedError),
        (409, "ConditionalRequestConflict", WriteConflictError),
        (404, "NoSuchKey", ObjectNotFoundError),
        (404, "404", ObjectNotFoundError),
        (404, "NoSuchBucket", ObjectNotFoundError),
        (403, "AccessDenied", DeepStoreAccessError),
        (403, "SignatureDoesNotMatch", DeepStoreAccessError),
        (403, "RequestTimeTooSkewed", DeepStoreAccessError),
        (400, "ExpiredToken", DeepStoreAccessError),
        (401, "Unauthorized", DeepStoreAccessError),
        (403, "InvalidObjectState", DeepStoreError),
        (500, "InternalError", DeepStoreUnavailableError),
        (503, "SlowDown", DeepStoreUnavailableError),
        (429, "TooManyRequests", DeepStoreUnavailableError),
        (400, "RequestTimeout", DeepStoreUnavailableError),
        (501, "NotImplemented", StoreCapabilityError),
        (400, "MetadataTooLarge", DeepStoreError),
        (301, "PermanentRedirect", DeepStoreError),
    ],
)
def test_refusals_by_kind(status: int, code: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught, translated("PutObject", URL, conditional_write=True):
        raise refusal(status, code)
    assert type(caught.value) is error
    said = str(caught.value)
    assert said.startswith(f"PutObject {URL}: ")
    assert f"{status} {code}: Pinot's bucket says no" in said
    assert "SECRET" not in said
    assert str(pickle.loads(pickle.dumps(caught.value))) == said


@pytest.mark.parametrize(("status", "code"), [(412, "PreconditionFailed"), (404, "NoSuchUpload"), (409, "Conflict")])
def test_a_refusal_of_a_repeated_write_is_an_unknown_outcome(status: int, code: str) -> None:
    with (
        pytest.raises(DeepStoreUnavailableError, match="unknown"),
        translated("PutObject", URL, conditional_write=True),
    ):
        raise refusal(status, code, retries=1)
    with pytest.raises((ObjectChangedError, ObjectNotFoundError, WriteConflictError)), translated("GetObject", URL):
        raise refusal(status, code, retries=1)


def test_what_never_left() -> None:
    with pytest.raises(DeepStoreAccessError, match="Check the AWS connection"), translated("PutObject", URL):
        raise NoCredentialsError
    with pytest.raises(DeepStoreError, match="attributes"), translated("PutObject", URL):
        raise ParamValidationError(report="Non ascii characters found in S3 metadata")


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = Config(retries={"total_max_attempts": 1}, proxies={})
    s3 = boto3.Session("key", "secret", region_name="us-east-1").client(
        "s3", endpoint_url=f"http://127.0.0.1:{port}", config=config
    )
    with pytest.raises(DeepStoreUnavailableError, match=r"GetObject s3://bucket-x/k: no usable answer.*endpoint URL"):
        DeepStore(s3).read("s3://bucket-x/k")


def test_errors_of_ours_pass_unchanged() -> None:
    error = ObjectChangedError("x")
    with pytest.raises(ObjectChangedError) as caught, translated("PutObject", URL):
        raise error
    assert caught.value is error
