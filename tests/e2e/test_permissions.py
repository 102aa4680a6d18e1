"""The permissions of docs/permissions.md: a whole sync works with them, and has use for all of them and no others."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.e2e.kit import LOG, NEW_INDEXES, TABLE, Sync, add_indexes, outcomes

from deep_store_sync.model import CopyBy, Outcome
from deep_store_sync.services import Services
from deep_store_sync.store.deep_store import DeepStore, parse_url
from deep_store_sync.upkeep.retention import collect
from deep_store_sync.upkeep.rollback import roll_back

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/permissions.md").read_text()
SEGMENT = "flights_2013-01"

# What S3 asks for, by the call of boto3: https://docs.aws.amazon.com/AmazonS3/latest/API
ACTIONS = {
    "head_object": {"s3:GetObject", "s3:GetObjectVersion"},
    "get_object": {"s3:GetObject", "s3:GetObjectVersion"},
    "put_object": {"s3:PutObject", "s3:PutObjectTagging"},
    "copy_object": {"s3:GetObject", "s3:GetObjectTagging", "s3:PutObject", "s3:PutObjectTagging"},
    "create_multipart_upload": {"s3:PutObject", "s3:PutObjectTagging"},
    "upload_part": {"s3:PutObject"},
    "upload_part_copy": {"s3:GetObject", "s3:PutObject"},
    "complete_multipart_upload": {"s3:PutObject"},
    "abort_multipart_upload": {"s3:AbortMultipartUpload"},
    "get_paginator": {"s3:ListBucket", "s3:ListBucketMultipartUploads"},
    "delete_object": {"s3:DeleteObject"},
    "delete_objects": {"s3:DeleteObject"},
    "get_object_tagging": {"s3:GetObjectTagging"},
    "get_object_acl": {"s3:GetObjectAcl"},
    "get_bucket_versioning": {"s3:GetBucketVersioning"},
}


def policy() -> dict[str, Any]:
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    found: dict[str, Any] = json.loads(block)
    return found


def test_the_policy_has_the_actions_of_the_calls_that_are_made_and_no_others() -> None:
    calls = set()
    for path in (ROOT / "include/deep_store_sync").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
                owner = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id
                if owner in ("client", "_client", "s3") and not node.attr.startswith(("meta", "stream", "close")):
                    calls.add(node.attr)
    assert calls <= ACTIONS.keys(), "say which actions S3 asks for, here and on the page"
    permitted = {action for statement in policy()["Statement"] for action in statement["Action"]}
    assert permitted == {action for call in calls for action in ACTIONS[call]}


def test_every_call_to_pinot_is_on_the_page() -> None:
    called = set()
    for module in (ROOT / "include/deep_store_sync/pinot").glob("*.py"):
        tree = ast.parse(module.read_text())
        formatted = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
        parts = {id(part) for node in formatted for part in node.values}
        texts = [
            "".join(str(getattr(part, "value", "")) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            for node in formatted
        ]
        texts += [
            str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in parts
        ]
        paths = [text.removeprefix("{}").partition("?")[0] for text in texts]
        called |= {
            path for path in paths if re.fullmatch(r"/[a-zA-Z][a-zA-Z0-9/{}]{2,}", path) and "CONFIGS" not in path
        }
    # One of two views, by a variable.
    called = called - {"/tables/{}/{}"} | {"/tables/{}/idealstate", "/tables/{}/externalview"}
    assert called == set(re.findall(r"`(?:GET|POST) (/[^`]*)`", PAGE))


@pytest.fixture
def permitted(sync: Sync) -> Iterator[Sync]:
    """A sync of a stale month of flights, with an account that may do what the policy permits, and nothing else."""
    sandbox = sync.sandbox
    if sandbox.s3.kind != "versitygw":
        pytest.skip("needs versitygw: moto permits everything to everybody")
    account = sandbox.add_s3_account()
    root = sandbox.s3.client()
    places = {"my-bucket": sandbox.s3.bucket, "controller-data": "deepstore"}
    statements = policy()["Statement"]
    for statement in statements:
        statement["Principal"] = {"AWS": [account.access_key]}
        for name, place in places.items():
            statement["Resource"] = statement["Resource"].replace(name, place)
    body = {"Version": policy()["Version"], "Statement": statements}
    root.put_bucket_policy(Bucket=sandbox.s3.bucket, Policy=json.dumps(body))
    client = account.client()
    try:
        sandbox.load_flights(months=[1])
        url = str(sync.services.controller.segment(TABLE, SEGMENT).url)
        bucket, key = parse_url(url)
        root.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": [{"Key": "team", "Value": "air"}]})
        add_indexes(sandbox)
        services = Services(sync.services.controller, sync.services.servers, DeepStore(client), sync.settings)
        yield Sync(sandbox, sync.workspace, sync.settings, services)
    finally:
        root.delete_bucket_policy(Bucket=sandbox.s3.bucket)
        root.close()
        client.close()


def test_a_sync_its_rollback_and_the_clean_up_need_no_more(permitted: Sync) -> None:
    store = permitted.services.store
    before = permitted.look()
    rows = permitted.run(run_id="permitted")
    assert outcomes(rows) == {Outcome.SYNCED}
    assert permitted.last is not None
    assert permitted.last.plan.copies == (CopyBy.PARTS,)
    assert permitted.look()[SEGMENT].indexes >= NEW_INDEXES
    url = str(permitted.services.controller.segment(TABLE, SEGMENT).url)
    bucket, key = parse_url(url)
    s3 = permitted.sandbox.s3.client()
    assert s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"] == [{"Key": "team", "Value": "air"}]
    s3.close()

    undone = roll_back(permitted.services, "permitted", log=LOG)
    assert undone is not None
    assert undone.complete
    assert permitted.look()[SEGMENT].content == before[SEGMENT].content
    assert outcomes(permitted.with_settings(publish_by="stream").run()) == {Outcome.SYNCED}
    bucket, _ = parse_url(permitted.workspace)
    for prefix in (*permitted.settings.deep_store_prefixes, permitted.workspace):
        for upload in store.open_uploads(prefix + "/"):
            store.drop_upload(upload)
    assert collect(permitted.services, permitted.last.plan_url, log=LOG).objects == 0
    store.delete_all([f"{permitted.workspace}/a", f"{permitted.workspace}/b"])
    # In parts, too, and one upload that is given up.
    parts = DeepStore(store._client, multipart_threshold=1024, part_bytes=1)
    parts.write_workspace(f"{permitted.workspace}/large", _file(permitted, bytes(6 << 20)))
    parts.copy(url, f"{permitted.workspace}/copied", source_etag=store.head(url).etag)


def test_nothing_else_is_permitted(permitted: Sync) -> None:
    s3, bucket = permitted.services.store._client, permitted.sandbox.s3.bucket
    _, key = parse_url(str(permitted.services.controller.segment(TABLE, SEGMENT).url))
    for call, arguments in (
        ("put_object", {"Key": "elsewhere/x", "Body": b"x"}),
        ("put_object", {"Key": "deepstore-2/x", "Body": b"x"}),
        ("get_object", {"Key": "elsewhere/x"}),
        ("delete_object", {"Key": key}),
        ("delete_objects", {"Delete": {"Objects": [{"Key": key}]}}),
        ("put_bucket_policy", {"Policy": "{}"}),
        ("get_bucket_policy", {}),
        ("put_bucket_versioning", {"VersioningConfiguration": {"Status": "Suspended"}}),
        ("delete_bucket", {}),
    ):
        try:
            answer = getattr(s3, call)(Bucket=bucket, **arguments)
        except ClientError as error:
            assert error.response["Error"]["Code"] in ("AccessDenied", "403"), (call, arguments, error)  # noqa: PT017
        else:
            assert {error["Code"] for error in answer.get("Errors", [])} == {"AccessDenied"}, (call, arguments)
    assert permitted.services.store.exists(f"s3://{bucket}/{key}")


def _file(permitted: Sync, content: bytes) -> Path:
    path = permitted.sandbox.root / "large"
    path.write_bytes(content)
    return path
