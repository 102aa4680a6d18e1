"""The store beyond a bad network, a real one through toxiproxy: large objects, parts, answers cut at every place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.config import Config
from tests.network.faults import (
    LATENCY,
    RESET_ANSWER,
    RESET_REQUEST,
    SILENT_ANSWER,
    Fault,
    cut_answer,
    cut_request,
    stalled_answer,
)
from tests.network.routes import Network, s3_client
from tests.network.toxiproxy import Toxic, Toxiproxy

from deep_store_sync.errors import DeepStoreUnavailableError
from deep_store_sync.model import CopyBy
from deep_store_sync.publishing.segment_writes import SegmentWrites
from deep_store_sync.services import Services
from deep_store_sync.store.client_config import client_config
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.store.object_mark import ObjectMark, read_mark
from deep_store_sync.store.object_url import parse_url
from deep_store_sync.store.tags_and_grants import tagging
from pinot_sandbox.gateway import S3Gateway

LARGE = bytes(range(256)) * 4 * 1024 * 6  # 6 MiB: a part of 5 MiB, the smallest there is, and one of 1 MiB
IN_HEADERS, IN_BODY = 60, 700_000
MARK = ObjectMark("run-1", 1, 2, "v1:x")
TIMEOUT_S = 2.0


@pytest.fixture
def network(gateway: S3Gateway, toxiproxy: Toxiproxy) -> Iterator[Network]:
    network = Network(toxiproxy, gateway.endpoint_url)
    yield network
    network.close()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    return path


def far_client(
    gateway: S3Gateway, network: Network, *, tries: int = 2, choose: Callable[[str, str], Fault | None]
) -> Any:
    retries = Config(retries={"mode": "standard", "total_max_attempts": tries})
    return s3_client(gateway, network, client_config(TIMEOUT_S).merge(retries), choose)


def befalling(operation: str, fault: Fault, *, once: bool) -> Callable[[str, str], Fault | None]:
    left = [1] if once else [10**9]

    def choose(asked: str, key: str) -> Fault | None:
        if asked != operation or not left[0]:
            return None
        left[0] -= 1
        return fault

    return choose


# --- large bodies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [cut_answer(IN_BODY), stalled_answer(IN_BODY), RESET_ANSWER, LATENCY], ids=str)
def test_a_download_that_is_disturbed_once_comes_whole(
    store: DeepStore, gateway: S3Gateway, network: Network, prefix: str, large: Path, tmp_path: Path, fault: Fault
) -> None:
    etag = store.write_workspace(prefix + "/s", large)
    client = far_client(gateway, network, choose=befalling("GetObject", fault, once=True))
    DeepStore(client).download(prefix + "/s", tmp_path / "file", if_match=etag)
    assert (tmp_path / "file").read_bytes() == LARGE


def test_a_download_that_is_always_cut_leaves_nothing(
    store: DeepStore, gateway: S3Gateway, network: Network, prefix: str, large: Path, tmp_path: Path
) -> None:
    store.write_workspace(prefix + "/s", large)
    client = far_client(gateway, network, choose=befalling("GetObject", cut_answer(IN_BODY), once=False))
    with pytest.raises(DeepStoreUnavailableError, match=f"GetObject {prefix}/s: .*Check"):
        DeepStore(client).download(prefix + "/s", tmp_path / "file")
    assert not (tmp_path / "file").exists()


WRITES = ["PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]
BODIES = {"PutObject": IN_BODY, "UploadPart": IN_BODY}


def overwrite(client: Any, url: str, body: Path, *, in_parts: bool) -> str:
    store = DeepStore(client, multipart_threshold=1024 if in_parts else 2**30, part_bytes=1)
    services = Services(cast("Any", None), cast("Any", None), store, cast("Any", None))
    writes = SegmentWrites(services, logging.getLogger("tests.network"))
    before = store.head(url)
    return writes.overwrite("s", url, body, before=before, metadata=MARK.to_metadata())


@pytest.mark.parametrize("once", [True, False], ids=["once", "always"])
@pytest.mark.parametrize("fault", ["reset request", "reset answer", "cut request", "cut answer"])
@pytest.mark.parametrize("operation", WRITES)
def test_an_overwrite_is_done_once_or_not_at_all(
    store: DeepStore,
    s3: Any,
    versitygw: S3Gateway,
    network: Network,
    prefix: str,
    large: Path,
    operation: str,
    fault: str,
    once: bool,
) -> None:
    faults = {
        "reset request": RESET_REQUEST,
        "reset answer": RESET_ANSWER,
        "cut request": cut_request(BODIES.get(operation, IN_HEADERS)),
        "cut answer": cut_answer(IN_HEADERS),
    }
    url = prefix + "/s"
    old = store.write_workspace(url, b"old")
    client = far_client(versitygw, network, choose=befalling(operation, faults[fault], once=once))
    in_parts = operation != "PutObject"
    decides = operation in ("PutObject", "CompleteMultipartUpload")
    if once or (decides and faults[fault].arrives):
        etag = overwrite(client, url, large, in_parts=in_parts)
        assert etag == store.head(url).etag
        assert read_mark(store.head(url).metadata) == MARK
        assert store.read(url) == LARGE
    else:
        with pytest.raises(DeepStoreUnavailableError, match=f"{operation} {url}"):
            overwrite(client, url, large, in_parts=in_parts)
        assert (store.head(url).etag, store.read(url)) == (old, b"old")
    bucket, key = parse_url(url)
    left = s3.list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads", [])
    for upload in left:
        s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload["UploadId"])
    # An upload whose id nobody was told cannot be dropped; nothing is in it.
    assert not left or (operation == "CreateMultipartUpload" and faults[fault].arrives)


COPIES = ["CreateMultipartUpload", "UploadPartCopy", "CompleteMultipartUpload"]


def copy_over(client: Any, url: str, staged_url: str) -> str:
    store = DeepStore(client, multipart_threshold=1024, part_bytes=1)
    services = Services(cast("Any", None), cast("Any", None), store, cast("Any", None))
    writes = SegmentWrites(services, logging.getLogger("tests.network"))
    before, staged = store.head(url), store.head(staged_url)
    return writes.overwrite_by_copy("s", url, staged, CopyBy.PARTS, before=before, metadata=MARK.to_metadata())


@pytest.mark.parametrize("once", [True, False], ids=["once", "always"])
@pytest.mark.parametrize("fault", [RESET_REQUEST, RESET_ANSWER, SILENT_ANSWER, cut_answer(IN_HEADERS)], ids=str)
@pytest.mark.parametrize("operation", COPIES)
def test_a_copy_over_an_object_is_done_once_or_not_at_all(
    store: DeepStore,
    s3: Any,
    versitygw: S3Gateway,
    network: Network,
    prefix: str,
    operation: str,
    fault: Fault,
    once: bool,
) -> None:
    url, staged_url = prefix + "/s", prefix + "/staged"
    old = store.write_workspace(url, b"old")
    store.write_workspace(staged_url, LARGE)
    client = far_client(versitygw, network, choose=befalling(operation, fault, once=once))
    decides = operation == "CompleteMultipartUpload"
    if once or (decides and fault.arrives):
        etag = copy_over(client, url, staged_url)
        assert etag == store.head(url).etag
        assert read_mark(store.head(url).metadata) == MARK
        assert store.read(url) == LARGE
    else:
        with pytest.raises(DeepStoreUnavailableError, match=f"{operation} .*{url}"):
            copy_over(client, url, staged_url)
        assert (store.head(url).etag, store.read(url)) == (old, b"old")
    bucket, key = parse_url(url)
    left = s3.list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads", [])
    for upload in left:
        s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload["UploadId"])
    assert not left or (operation == "CreateMultipartUpload" and fault.arrives)


@pytest.mark.parametrize("operation", ["PutObject", "CompleteMultipartUpload"])
def test_an_overwrite_without_any_answer_is_read_back(
    store: DeepStore, versitygw: S3Gateway, network: Network, prefix: str, large: Path, operation: str
) -> None:
    url = prefix + "/s"
    store.write_workspace(url, b"old")
    client = far_client(versitygw, network, choose=befalling(operation, SILENT_ANSWER, once=False))
    etag = overwrite(client, url, large, in_parts=operation != "PutObject")
    assert etag == store.head(url).etag
    assert store.read(url) == LARGE


def test_an_overwrite_that_cannot_be_read_back_is_no_guess(
    store: DeepStore, versitygw: S3Gateway, network: Network, prefix: str, large: Path
) -> None:
    url = prefix + "/s"
    store.write_workspace(url, b"old")
    written: list[str] = []

    def choose(operation: str, key: str) -> Fault | None:
        written.append(operation)
        unread = operation == "HeadObject" and "PutObject" in written
        return RESET_ANSWER if operation == "PutObject" or unread else None

    client = far_client(versitygw, network, choose=choose)
    with pytest.raises(DeepStoreUnavailableError, match=r"PutObject .*unknown.*Nor could it be read back.*HeadObject"):
        overwrite(client, url, large, in_parts=False)
    assert store.read(url) == LARGE


# --- answers, cut at every place -------------------------------------------------------------------------------------

STEP = 7


def sizes_and_etags(info: Any) -> Any:
    """What is always there of an answer to HeadObject; what may be missing in it cannot be missed."""
    return info.etag, info.size


@pytest.mark.parametrize("call", ["head", "read", "list", "folders", "keeps_versions", "tags", "open_uploads"])
def test_an_answer_is_taken_whole_or_not_at_all(
    store: DeepStore, s3: Any, gateway: S3Gateway, network: Network, prefix: str, call: str
) -> None:
    bucket, key = parse_url(prefix + "/a/s")
    # Of tags one alone: the gateway tells several in any order.
    s3.put_object(Bucket=bucket, Key=key, Body=b"0123456789" * 20, Metadata={"run": "r-1"}, Tagging="team=a")
    url = prefix + "/a/s"
    like = store.head(url)
    s3.create_multipart_upload(Bucket=bucket, Key=key)
    far = DeepStore(far_client(gateway, network, tries=1, choose=lambda operation, key: None))
    asks: dict[str, Callable[[DeepStore], Any]] = {
        "head": lambda store: store.head(url),
        "read": lambda store: store.read(url),
        "list": lambda store: list(store.list(prefix)),
        "folders": lambda store: list(store.folders(prefix)),
        "keeps_versions": lambda store: store.keeps_versions(url),
        "tags": lambda store: tagging(store._client, like),
        "open_uploads": lambda store: list(store.open_uploads(prefix)),
    }
    whole = asks[call](store)
    refused = 0
    for place in range(0, 10_000, STEP):
        with network.clean.toxic(Toxic("limit_data", "downstream", place)):
            try:
                got = asks[call](far)
            except DeepStoreUnavailableError as error:
                refused += 1
                assert url.rpartition("/a")[0] in str(error) or bucket in str(error)  # noqa: PT017
                continue
        if got == whole:
            break
        assert call == "head"
        assert sizes_and_etags(got) == sizes_and_etags(whole)
    assert got == whole
    assert refused > 100 / STEP
    for upload in store.open_uploads(prefix):
        store.drop_upload(upload)


@pytest.mark.parametrize("call", ["create", "write_workspace"])
def test_the_answer_to_a_write_is_taken_whole_or_not_at_all(
    store: DeepStore, gateway: S3Gateway, network: Network, prefix: str, call: str
) -> None:
    far = DeepStore(far_client(gateway, network, tries=1, choose=lambda operation, key: None))
    # "100 Continue" comes whole: botocore 1.44 waits for ever for the end of one that is cut (_consume_headers).
    for place in range(len(b"HTTP/1.1 100 Continue\r\n\r\n"), 10_000, STEP):
        url, body = f"{prefix}/{place}", f"{place}".encode()
        with network.clean.toxic(Toxic("limit_data", "downstream", place)):
            try:
                got = far.create(url, body) if call == "create" else far.write_workspace(url, body)
            except DeepStoreUnavailableError:
                continue  # after "100 Continue" and nothing else, the body may not have been sent
        assert store.read(url) == body
        assert got in (True, store.head(url).etag)
        break
    assert 100 < place < 5000
