from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from deep_store_sync.errors import (
    DeepStoreAccessError,
    DeepStoreUnavailableError,
    ObjectChangedError,
    ObjectNotFoundError,
)
from deep_store_sync.store.deep_store import DeepStore, object_url, parse_url
from pinot_sandbox.gateway import S3Gateway

ODD_NAMES = ["a b", "a+b", "100%", "a:b", "é", "a%20b", "x=1&y=2", "'q\"", "..", "@home"]


def file_of(folder: Path, body: bytes) -> Path:
    path = folder / "body"
    path.write_bytes(body)
    return path


def put(s3: Any, url: str, body: bytes = b"old", **attributes: Any) -> None:
    bucket, key = parse_url(url)
    s3.put_object(Bucket=bucket, Key=key, Body=body, **attributes)


# --- reading and the workspace ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_object_comes_back_whatever_it_is_called(store: DeepStore, prefix: str, name: str, tmp_path: Path) -> None:
    bucket, folder = parse_url(prefix)
    url = object_url(bucket, f"{folder}/x{name}")
    etag = store.write_workspace(url, b"body")
    assert store.read(url) == b"body"
    assert store.download(url, tmp_path / "file").etag == etag
    assert [info.url for info in store.list(prefix)] == [url]
    store.delete(url)
    assert not store.exists(url)


def test_head_tells_the_attributes(store: DeepStore, s3: Any, prefix: str) -> None:
    url = prefix + "/s"
    put(
        s3, url, b"12345", ContentType="application/gzip", ContentEncoding="x", Metadata={"run-id": "r 1", "UPPER": "U"}
    )
    info = store.head(url)
    assert (info.url, info.size, info.content_type, info.content_encoding) == (url, 5, "application/gzip", "x")
    assert info.metadata == {"run-id": "r 1", "upper": "U"}
    assert info.etag
    assert '"' not in info.etag
    assert (info.storage_class, info.archived) == (None, False)
    assert store.exists(url)


def test_what_is_not_there(store: DeepStore, prefix: str, tmp_path: Path) -> None:
    url = prefix + "/none"
    assert not store.exists(url)
    for call in (store.head, store.read, lambda u: store.download(u, tmp_path / "f")):
        with pytest.raises(ObjectNotFoundError, match=f"{url}.*no such object"):
            call(url)
    with pytest.raises(ObjectNotFoundError):
        store.read("s3://no-such-bucket-anywhere/x")
    assert not (tmp_path / "f").exists()
    store.delete(url)
    assert list(store.list(prefix)) == []


def test_download_takes_only_the_object_that_was_seen(store: DeepStore, prefix: str, tmp_path: Path) -> None:
    url, path = prefix + "/s", tmp_path / "file"
    old = store.write_workspace(url, b"old")
    new = store.write_workspace(url, b"newer")
    with pytest.raises(ObjectChangedError):
        store.download(url, path, if_match=old)
    assert not path.exists()
    assert store.download(url, path, if_match=f'"{new}"').size == 5
    assert path.read_bytes() == b"newer"


def test_create_writes_once(store: DeepStore, prefix: str) -> None:
    assert store.create(prefix + "/lease", b"mine")
    assert not store.create(prefix + "/lease", b"theirs")
    assert store.read(prefix + "/lease") == b"mine"


def test_a_listing_of_several_pages(store: DeepStore, s3: Any, prefix: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: put(s3, f"{prefix}/{n:04}", b"x" * (n % 7)), range(1005)))
    found = list(store.list(prefix + "/"))
    assert [info.url for info in found] == [f"{prefix}/{n:04}" for n in range(1005)]
    assert [info.size for info in found[:8]] == [0, 1, 2, 3, 4, 5, 6, 0]


# --- compare-and-set -------------------------------------------------------------------------------------------------


def test_replace_keeps_what_the_object_carries(store: DeepStore, s3: Any, prefix: str, tmp_path: Path) -> None:
    url = prefix + "/s"
    put(
        s3,
        url,
        ContentType="application/x-tar",
        CacheControl="no-store",
        ContentDisposition="attachment",
        ContentLanguage="en",
        Metadata={"theirs": "1", "run": "old"},
        Tagging="team=a%20b&x=%2B",
    )
    before = store.head(url)
    etag = store.replace(url, file_of(tmp_path, b"new"), if_match=before.etag, like=before, metadata={"run": "r-1"})
    after = store.head(url)
    assert (after.etag, store.read(url)) == (etag, b"new")
    assert after.metadata == {"theirs": "1", "run": "r-1"}
    assert (after.content_type, after.cache_control) == ("application/x-tar", "no-store")
    assert (after.content_disposition, after.content_language) == ("attachment", "en")
    bucket, key = parse_url(url)
    tags = s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "a b", "x": "+"}


def test_a_lost_race_changes_nothing(store: DeepStore, prefix: str, tmp_path: Path) -> None:
    url = prefix + "/s"
    store.write_workspace(url, b"old")
    before = store.head(url)
    store.write_workspace(url, b"theirs")
    with pytest.raises(ObjectChangedError, match=url):
        store.replace(url, file_of(tmp_path, b"ours"), if_match=before.etag, like=before, metadata={})
    assert store.read(url) == b"theirs"


def test_a_deleted_object_is_not_brought_back(store: DeepStore, prefix: str, tmp_path: Path) -> None:
    url = prefix + "/s"
    store.write_workspace(url, b"old")
    before = store.head(url)
    store.delete(url)
    with pytest.raises(ObjectNotFoundError):
        store.replace(url, file_of(tmp_path, b"ours"), if_match=before.etag, like=before, metadata={})
    assert not store.exists(url)


def test_of_many_writers_one_wins(store: DeepStore, prefix: str, tmp_path: Path) -> None:
    url = prefix + "/s"
    store.write_workspace(url, b"old")
    before = store.head(url)
    paths = [tmp_path / str(n) for n in range(8)]
    for path in paths:
        path.write_bytes(path.name.encode() * 1000)

    def write(path: Path) -> str | None:
        try:
            return store.replace(url, path, if_match=before.etag, like=before, metadata={})
        except ObjectChangedError:
            return None

    with ThreadPoolExecutor(8) as pool:
        etags = [etag for etag in pool.map(write, paths) if etag]
    assert etags == [store.head(url).etag]


def test_storage_class_encryption_and_grants_are_kept(moto: S3Gateway, tmp_path: Path) -> None:
    s3 = moto.client()
    store, url = DeepStore(s3), f"s3://{moto.bucket}/kept"
    key_id = "arn:aws:kms:us-east-1:123456789012:key/1"
    everyone = 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'
    put(s3, url, StorageClass="STANDARD_IA", ServerSideEncryption="aws:kms", SSEKMSKeyId=key_id, GrantRead=everyone)
    before = store.head(url)
    store.replace(url, file_of(tmp_path, b"new"), if_match=before.etag, like=before, metadata={})
    store.copy(url, f"s3://{moto.bucket}/backup", source_etag=store.head(url).etag)
    for place in (url, f"s3://{moto.bucket}/backup"):
        after = store.head(place)
        assert (after.storage_class, after.encryption, after.kms_key_id) == ("STANDARD_IA", "aws:kms", key_id)
    grants = s3.get_object_acl(Bucket=moto.bucket, Key="kept")["Grants"]
    assert [(grant["Permission"], grant["Grantee"].get("URI", "")[-8:]) for grant in grants] == [("READ", "AllUsers")]


@pytest.mark.parametrize(
    ("storage_class", "archived"), [("GLACIER", True), ("DEEP_ARCHIVE", True), ("GLACIER_IR", False)]
)
def test_archived_objects_are_known(moto: S3Gateway, storage_class: str, archived: bool) -> None:
    url = f"s3://{moto.bucket}/{storage_class}"
    put(moto.client(), url, StorageClass=storage_class)
    assert DeepStore(moto.client()).head(url).archived is archived


def test_tags_that_may_not_be_read_are_not_lost(moto: S3Gateway, tmp_path: Path) -> None:
    s3, url = moto.client(), f"s3://{moto.bucket}/tagged"
    put(s3, url, Tagging="a=1")
    before = DeepStore(s3).head(url)
    assert before.tag_count == 1
    s3.meta.events.register("before-send.s3.GetObjectTagging", lambda **_: FakeRefusal(403, "AccessDenied"))
    with pytest.raises(DeepStoreAccessError, match="s3:GetObjectTagging"):
        DeepStore(s3).replace(url, file_of(tmp_path, b"new"), if_match=before.etag, like=before, metadata={})
    assert DeepStore(s3).read(url) == b"old"


# --- multipart -------------------------------------------------------------------------------------------------------

LARGE = bytes(range(256)) * 4 * 1024 * 6  # 6 MiB: a part of 5 MiB, the smallest there is, and one of 1 MiB


@pytest.fixture
def parts(s3: Any) -> DeepStore:
    return DeepStore(s3, multipart_threshold=1024, part_bytes=1)


def uploads(s3: Any, url: str) -> list[Any]:
    bucket, key = parse_url(url)
    return list(s3.list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads", []))


def test_large_objects_go_in_parts(parts: DeepStore, s3: Any, prefix: str, tmp_path: Path) -> None:
    url = prefix + "/s"
    put(s3, url, ContentType="application/x-tar", Metadata={"theirs": "1"}, Tagging="a=1")
    before = parts.head(url)
    etag = parts.replace(url, file_of(tmp_path, LARGE), if_match=before.etag, like=before, metadata={"run": "r"})
    assert etag.endswith("-2")
    after = parts.head(url)
    assert (after.etag, after.content_type, after.metadata) == (etag, "application/x-tar", {"theirs": "1", "run": "r"})
    parts.copy(url, url + "-backup", source_etag=etag)
    backup = parts.head(url + "-backup")
    assert (backup.size, backup.content_type, backup.metadata) == (len(LARGE), "application/x-tar", after.metadata)
    assert parts.read(url) == parts.read(url + "-backup") == LARGE
    bucket, key = parse_url(url + "-backup")
    assert s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"] == [{"Key": "a", "Value": "1"}]
    assert uploads(s3, prefix) == []


def test_a_race_that_is_lost_while_parts_are_sent(
    parts: DeepStore, s3: Any, versitygw: S3Gateway, prefix: str, tmp_path: Path
) -> None:
    url = prefix + "/s"
    put(s3, url)
    before = parts.head(url)
    put(s3, url, b"theirs")
    with pytest.raises(ObjectChangedError, match=f"CompleteMultipartUpload {url}"):
        parts.replace(url, file_of(tmp_path, LARGE), if_match=before.etag, like=before, metadata={})
    assert parts.read(url) == b"theirs"
    assert uploads(s3, url) == []


def test_parts_are_dropped_when_one_fails(gateway: S3Gateway, prefix: str, tmp_path: Path) -> None:
    s3, url = gateway.client(), prefix + "/s"
    put(s3, url)
    parts = DeepStore(s3, multipart_threshold=1024, part_bytes=1)
    before = parts.head(url)

    def second_part_fails(params: dict[str, Any], **_: Any) -> None:
        if params["PartNumber"] == 2:
            raise KeyboardInterrupt

    s3.meta.events.register("before-parameter-build.s3.UploadPart", second_part_fails)
    with pytest.raises(KeyboardInterrupt):
        parts.replace(url, file_of(tmp_path, LARGE), if_match=before.etag, like=before, metadata={})
    assert uploads(s3, url) == []
    assert parts.read(url) == b"old"


def test_a_large_workspace_object(parts: DeepStore, prefix: str, tmp_path: Path) -> None:
    etag = parts.write_workspace(prefix + "/staged", file_of(tmp_path, LARGE))
    assert parts.head(prefix + "/staged").etag == etag
    assert parts.read(prefix + "/staged") == LARGE


# --- copies ----------------------------------------------------------------------------------------------------------


def test_copy_keeps_metadata(store: DeepStore, s3: Any, prefix: str) -> None:
    put(s3, prefix + "/a b", ContentType="application/x-tar", Metadata={"run": "r"})
    before = store.head(prefix + "/a b")
    store.copy(prefix + "/a b", prefix + "/c+d", source_etag=before.etag)
    after = store.head(prefix + "/c+d")
    assert (store.read(prefix + "/c+d"), after.metadata, after.content_type) == (
        b"old",
        {"run": "r"},
        "application/x-tar",
    )


def test_copy_of_another_object_than_was_seen(store: DeepStore, s3: Any, prefix: str) -> None:
    put(s3, prefix + "/s")
    with pytest.raises(ObjectChangedError):
        store.copy(prefix + "/s", prefix + "/t", source_etag="0" * 32)
    assert not store.exists(prefix + "/t")


def test_a_source_that_changes_while_it_is_copied(moto: S3Gateway) -> None:
    # moto does not look at the condition on the source.
    s3, other = moto.client(), moto.client()
    store, url = DeepStore(s3), f"s3://{moto.bucket}/changing"
    put(other, url)
    etag = store.head(url).etag
    s3.meta.events.register("before-call.s3.CopyObject", lambda **_: put(other, url, b"theirs"))
    with pytest.raises(ObjectChangedError):
        store.copy(url, url + "-copy", source_etag=etag)
    assert not store.exists(url + "-copy")


# --- faults ----------------------------------------------------------------------------------------------------------


class FakeRefusal:
    """A store's refusal, for botocore's before-send event."""

    def __init__(self, status: int, code: str) -> None:
        self.status_code = status
        self.headers: dict[str, str] = {}
        self.content = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        self.text = self.content.decode()


class FakeBadNetwork:
    """Forwards to the real gateway, and breaks answers on demand.

    `plan` gets each request's method and gives how many bytes of the answer's body are let through: None for all,
    -1 for no answer at all.
    """

    def __init__(self, endpoint: str) -> None:
        self.plan: Callable[[str], int | None] = lambda _: None
        network, target = self, urlsplit(endpoint).netloc

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                connection = HTTPConnection(target)
                headers = {
                    key: value for key, value in self.headers.items() if key.lower() not in ("expect", "connection")
                }
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                data = answer.read()
                connection.close()
                let_through = network.plan(self.command)
                self.close_connection = True
                if let_through == -1:
                    return
                self.send_response(answer.status)
                for key, value in answer.getheaders():
                    if key.lower() not in ("connection", "transfer-encoding", "content-length"):
                        self.send_header(key, value)
                self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(data)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(data if let_through is None else data[:let_through])

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def break_first(self, method: str, bytes_let_through: int, times: int = 1) -> None:
        left = [times]

        def plan(got: str) -> int | None:
            if got != method or not left[0]:
                return None
            left[0] -= 1
            return bytes_let_through

        self.plan = plan


@pytest.fixture
def network(gateway: S3Gateway) -> Iterator[FakeBadNetwork]:
    network = FakeBadNetwork(gateway.endpoint_url)
    thread = threading.Thread(target=network.server.serve_forever, args=(0.05,))
    thread.start()
    yield network
    network.server.shutdown()
    network.server.server_close()
    thread.join()


def through(network: FakeBadNetwork, gateway: S3Gateway, threshold: int = 2**30, **config: Any) -> DeepStore:
    session = boto3.Session(gateway.access_key, gateway.secret_key, region_name=gateway.region)
    style = Config(s3={"addressing_style": "path"}, proxies={}, **config)
    return DeepStore(session.client("s3", endpoint_url=network.url, config=style), multipart_threshold=threshold)


def test_a_body_that_is_cut_short_is_fetched_again(
    store: DeepStore, gateway: S3Gateway, network: FakeBadNetwork, prefix: str, tmp_path: Path
) -> None:
    body = b"0123456789" * 100_000
    etag = store.write_workspace(prefix + "/s", body)
    network.break_first("GET", 500_000)
    far = through(network, gateway)
    assert far.download(prefix + "/s", tmp_path / "file", if_match=etag).size == len(body)
    assert (tmp_path / "file").read_bytes() == body
    network.break_first("GET", 10)
    assert far.read(prefix + "/s") == body


def test_an_object_that_shrinks_before_it_is_fetched_again(
    store: DeepStore, gateway: S3Gateway, network: FakeBadNetwork, prefix: str, tmp_path: Path
) -> None:
    store.write_workspace(prefix + "/s", b"0123456789" * 1000)
    gets: list[str] = []

    def plan(method: str) -> int | None:
        gets.append(method)
        if len(gets) > 1:
            return None
        store.write_workspace(prefix + "/s", b"short")
        return 5000

    network.plan = plan
    assert through(network, gateway).download(prefix + "/s", tmp_path / "file").size == 5
    assert (tmp_path / "file").read_bytes() == b"short"


def test_a_body_that_is_always_cut_short(
    store: DeepStore, gateway: S3Gateway, network: FakeBadNetwork, prefix: str, tmp_path: Path
) -> None:
    store.write_workspace(prefix + "/s", b"0123456789")
    network.break_first("GET", 5, times=1000)
    with pytest.raises(DeepStoreUnavailableError, match=prefix):
        through(network, gateway).download(prefix + "/s", tmp_path / "file")
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("retries", [{"total_max_attempts": 1}, {"total_max_attempts": 3}])
def test_a_write_whose_answer_is_lost_has_an_unknown_outcome(
    store: DeepStore, gateway: S3Gateway, network: FakeBadNetwork, prefix: str, tmp_path: Path, retries: dict[str, int]
) -> None:
    # With retries on, botocore sends it again and gets a 412 for what the first try did.
    url = prefix + "/s"
    store.write_workspace(url, b"old")
    before = store.head(url)
    network.break_first("PUT", -1)
    with pytest.raises(DeepStoreUnavailableError, match="unknown"):
        through(network, gateway, retries=retries).replace(
            url, file_of(tmp_path, b"new"), if_match=before.etag, like=before, metadata={"run": "r-1"}
        )
    assert store.head(url).metadata == {"run": "r-1"}
    assert store.read(url) == b"new"


def test_a_completion_whose_answer_is_lost_has_an_unknown_outcome(
    store: DeepStore, gateway: S3Gateway, network: FakeBadNetwork, prefix: str, tmp_path: Path
) -> None:
    url = prefix + "/s"
    store.write_workspace(url, b"old")
    before = store.head(url)
    posts: list[str] = []

    def plan(method: str) -> int | None:
        posts.append(method) if method == "POST" else None
        return -1 if posts == ["POST", "POST"] else None  # the first creates the upload, the second completes it

    network.plan = plan
    far = through(network, gateway, threshold=1024, retries={"total_max_attempts": 1})
    with pytest.raises(DeepStoreUnavailableError, match="unknown"):
        far.replace(url, file_of(tmp_path, LARGE), if_match=before.etag, like=before, metadata={"run": "r-1"})
    assert store.head(url).metadata == {"run": "r-1"}
    assert store.read(url) == LARGE


def test_a_creation_whose_answer_is_lost_is_read_back(
    store: DeepStore, gateway: S3Gateway, network: FakeBadNetwork, prefix: str
) -> None:
    network.break_first("PUT", -1)
    assert through(network, gateway).create(prefix + "/lease", b"mine")
    network.break_first("PUT", -1)
    assert not through(network, gateway).create(prefix + "/lease", b"theirs")
    assert store.read(prefix + "/lease") == b"mine"


def test_wrong_credentials(versitygw: S3Gateway, prefix: str) -> None:
    session = boto3.Session(versitygw.access_key, "not-the-secret", region_name=versitygw.region)
    style = Config(s3={"addressing_style": "path"}, proxies={})
    s3 = session.client("s3", endpoint_url=versitygw.endpoint_url, config=style)
    with pytest.raises(DeepStoreAccessError, match="Check the AWS connection") as caught:
        DeepStore(s3).read(prefix + "/s")
    assert "not-the-secret" not in str(caught.value)
    assert versitygw.access_key not in str(caught.value)


# --- what clears up --------------------------------------------------------------------------------------------------


def test_folders_and_removing_many(store: DeepStore, s3: Any, prefix: str) -> None:
    bucket, folder = parse_url(prefix)
    names = ["a b/x", "a b/y", "c%d/x+y", "z"]
    for name in names:
        store.write_workspace(object_url(bucket, f"{folder}/runs/{name}"), b"1")
    below = object_url(bucket, f"{folder}/runs")
    assert list(store.folders(below)) == [object_url(bucket, f"{folder}/runs/{name}") for name in ("a b/", "c%d/")]
    some = [object_url(bucket, f"{folder}/runs/{name}") for name in (*names[1:], *(f"none{n}" for n in range(1500)))]
    store.delete_all(some)
    assert [parse_url(item.url)[1] for item in store.list(below)] == [f"{folder}/runs/a b/x"]
    store.delete_all([])


def test_only_the_beginning_is_downloaded(store: DeepStore, prefix: str, tmp_path: Path) -> None:
    url = prefix + "/s"
    etag = store.write_workspace(url, b"0123456789")
    info = store.download(url, tmp_path / "f", if_match=etag, first_bytes=4)
    assert ((tmp_path / "f").read_bytes(), info.size) == (b"0123", 4)
    with pytest.raises(ObjectChangedError):
        store.download(url, tmp_path / "f", if_match="0" * 32, first_bytes=4)


def test_the_store_tells_when_an_object_was_written(store: DeepStore, prefix: str) -> None:
    store.write_workspace(prefix + "/s", b"1")
    (listed,) = store.list(prefix)
    head = store.head(prefix + "/s")
    assert listed.last_modified is not None
    assert head.last_modified is not None
    assert abs(listed.last_modified - head.last_modified).total_seconds() < 1
