from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.exceptions import ClientError

from pinot_sandbox import SandboxError, gateway_process
from pinot_sandbox.gateway import GatewayKind, GatewayProcess, S3Gateway, choose_gateway

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture(scope="module", params=["versitygw", "moto"])
def s3(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Gateway]:
    kind: GatewayKind = request.param
    try:
        kind, binary = choose_gateway(kind, lambda line: None)
    except SandboxError as error:
        pytest.skip(str(error))
    root = tmp_path_factory.mktemp(kind)
    (root / "logs").mkdir()
    gateway = GatewayProcess(kind, binary, root)
    gateway.s3.client().create_bucket(Bucket=gateway.s3.bucket)
    yield gateway.s3
    gateway.close()


@pytest.fixture
def client(s3: S3Gateway) -> S3Client:
    return s3.client()


def code(error: pytest.ExceptionInfo[ClientError]) -> int:
    return int(error.value.response["ResponseMetadata"]["HTTPStatusCode"])


def test_an_object_keeps_what_it_is_given(client: S3Client) -> None:
    client.put_object(
        Bucket="pinot",
        Key="kept/a b+c%41",
        Body=b"data",
        Metadata={"old-crc": "1"},
        ContentType="application/x-tar",
        Tagging="team=flights",
    )
    head = client.head_object(Bucket="pinot", Key="kept/a b+c%41")
    assert (head["Metadata"], head["ContentType"], head["ContentLength"]) == ({"old-crc": "1"}, "application/x-tar", 4)
    tags = client.get_object_tagging(Bucket="pinot", Key="kept/a b+c%41")["TagSet"]
    assert tags == [{"Key": "team", "Value": "flights"}]
    assert client.get_object(Bucket="pinot", Key="kept/a b+c%41", IfMatch=head["ETag"])["Body"].read() == b"data"


def test_an_overwrite_is_conditional(client: S3Client) -> None:
    old = client.put_object(Bucket="pinot", Key="conditional", Body=b"old")["ETag"]
    new = client.put_object(Bucket="pinot", Key="conditional", Body=b"new", IfMatch=old)["ETag"]
    with pytest.raises(ClientError) as error:
        client.put_object(Bucket="pinot", Key="conditional", Body=b"late", IfMatch=old)
    assert code(error) == 412
    head = client.head_object(Bucket="pinot", Key="conditional")
    assert (head["ETag"], head["ContentLength"]) == (new, 3)


def test_a_bucket_can_be_versioned(client: S3Client) -> None:
    client.create_bucket(Bucket="versioned")
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    first = client.put_object(Bucket="versioned", Key="k", Body=b"first")["VersionId"]
    client.put_object(Bucket="versioned", Key="k", Body=b"second")
    assert client.get_object(Bucket="versioned", Key="k", VersionId=first)["Body"].read() == b"first"


def test_versitygw_refuses_other_credentials(s3: S3Gateway) -> None:
    if s3.kind == "moto":
        pytest.skip("moto lets everybody in")
    stranger = boto3.client(
        "s3", endpoint_url=s3.endpoint_url, aws_access_key_id=s3.access_key, aws_secret_access_key="guess"
    )
    with pytest.raises(ClientError) as error:
        stranger.list_buckets()
    assert code(error) == 403


def test_the_secret_is_not_shown(s3: S3Gateway) -> None:
    assert s3.secret_key not in repr(s3)


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="Python can ask on Linux alone")
def test_a_file_system_without_attributes_gets_a_sidecar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        _, binary = choose_gateway("versitygw", lambda line: None)
    except SandboxError as error:
        pytest.skip(str(error))

    def refuse(*args: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.setxattr", refuse)
    keys = {"accessKey": "key", "secretKey": "secret", "region": "us-east-1"}
    paths = {name: str(tmp_path / name) for name in ("log", "accounts")}
    config = {"binary": str(binary), "dir": str(tmp_path / "s3"), **paths, **keys}
    port, stop = gateway_process._start_versitygw(config)
    try:
        client = S3Gateway("versitygw", f"http://127.0.0.1:{port}", "key", "secret").client()
        client.create_bucket(Bucket="pinot")
        client.put_object(Bucket="pinot", Key="a/b", Body=b"data", Metadata={"old-crc": "1"})
        assert client.head_object(Bucket="pinot", Key="a/b")["Metadata"] == {"old-crc": "1"}
        assert any((tmp_path / "attributes").rglob("*"))
    finally:
        stop()


def test_another_account_may_do_nothing_until_a_policy_says_so(tmp_path: Path) -> None:
    try:
        kind, binary = choose_gateway("versitygw", lambda line: None)
    except SandboxError as error:
        pytest.skip(str(error))
    (tmp_path / "logs").mkdir()
    process = GatewayProcess(kind, binary, tmp_path)
    try:
        root, account = process.s3.client(), process.add_account()
        other = account.client()
        root.create_bucket(Bucket="pinot")
        with pytest.raises(ClientError, match="AccessDenied"):
            other.put_object(Bucket="pinot", Key="a", Body=b"x")
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": [account.access_key]},
            "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::pinot/a",
        }
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        root.put_bucket_policy(Bucket="pinot", Policy=json.dumps(policy))
        other.put_object(Bucket="pinot", Key="a", Body=b"x")
        assert account.secret_key not in repr(account)
        assert (tmp_path / "accounts" / "users.json").stat().st_mode & 0o077 == 0
    finally:
        process.close()


def test_a_gateway_that_cannot_start_says_so(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    with pytest.raises(SandboxError, match=r"S3 gateway \(versitygw\) did not start: .*No such file.*nothing"):
        GatewayProcess("versitygw", tmp_path / "nothing", tmp_path)
