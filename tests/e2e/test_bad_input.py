"""What can be wrong around a table: each ends in one clear error that names the remedy, and nothing has changed."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.kit import TABLE, Sync, add_indexes, outcomes

from deep_store_sync.errors import (
    DeepStoreAccessError,
    DeepStoreSyncError,
    EngineError,
    ObjectNotFoundError,
    PinotAccessError,
    PinotAnswerError,
    PinotNotFoundError,
    PinotUnavailableError,
)
from deep_store_sync.model import DeferredBy, Outcome
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.services import Services
from deep_store_sync.settings import EngineSettings
from deep_store_sync.store.deep_store import DeepStore
from pinot_sandbox import Sandbox

SEGMENT = "flights_2013-01"


def boto3_client(sandbox: Sandbox, secret: str) -> Any:
    import boto3

    s3 = sandbox.s3
    return boto3.client(
        "s3",
        endpoint_url=s3.endpoint_url,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=secret,
        region_name=s3.region,
    )


@pytest.fixture
def stale(sync: Sync) -> Sync:
    """A month of flights whose servers are stale: a run without trouble would rebuild and refresh it."""
    sync.sandbox.load_flights(months=[1])
    add_indexes(sync.sandbox)
    sync.sandbox.reset_downloads()
    return sync


def with_controller(sync: Sync, controller: ControllerClient) -> Sync:
    services = Services(controller, sync.services.servers, sync.services.store, sync.settings)
    return Sync(sync.sandbox, sync.workspace, sync.settings, services)


def with_store(sync: Sync, client: Any) -> Sync:
    services = Services(sync.services.controller, sync.services.servers, DeepStore(client), sync.settings)
    return Sync(sync.sandbox, sync.workspace, sync.settings, services)


def fails(run: Sync, error: type[DeepStoreSyncError], *words: str) -> str:
    """The run's one error, which has these words; whatever is wrong, no segment has changed."""
    honest = Sync(run.sandbox, run.workspace, run.settings, run.services)
    with pytest.raises(error) as caught:
        honest.run()
    message = str(caught.value)
    for word in words:
        assert word in message
    return message


def test_the_table_is_not_there(stale: Sync) -> None:
    before = stale.look()
    fails(stale.with_settings(table="fights_OFFLINE"), PinotNotFoundError, "fights_OFFLINE")
    assert stale.look() == before


def test_the_controller_is_down(stale: Sync) -> None:
    before = stale.look()
    with ControllerClient("http://127.0.0.1:9", retries=1) as controller:
        message = fails(with_controller(stale, controller), PinotUnavailableError, "127.0.0.1:9")
    assert "controller" in message
    assert stale.look() == before


class FakeSlowController(httpx.BaseTransport):
    """Never answers in time, which the real one cannot be made to do."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("timed out", request=request)


class FakeAnswers(httpx.BaseTransport):
    """Answers every call with the same status and body, as a proxy before the controller does."""

    def __init__(self, status: int, body: str) -> None:
        self.status, self.body = status, body

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(self.status, text=self.body, request=request)


def test_the_controller_is_slow(stale: Sync) -> None:
    before = stale.look()
    with ControllerClient("http://pinot.test", retries=1, transport=FakeSlowController()) as controller:
        fails(with_controller(stale, controller), PinotUnavailableError, "pinot.test", "longer time-out")
    assert stale.look() == before


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (401, '{"code":401,"error":"Unauthorized"}', PinotAccessError, ("401",)),
        (403, '{"code":403,"error":"no READ on flights"}', PinotAccessError, ("403", "no READ on flights")),
        (500, '{"code":500,"error":"ZooKeeper is away"}', PinotUnavailableError, ("500", "ZooKeeper is away")),
        (200, "<html>Sign in</html>", PinotAnswerError, ("Sign in",)),
    ],
)
def test_what_answers_is_no_willing_controller(
    stale: Sync, status: int, body: str, error: type[DeepStoreSyncError], words: tuple[str, ...]
) -> None:
    before = stale.look()
    with ControllerClient("http://pinot.test", retries=1, transport=FakeAnswers(status, body)) as controller:
        fails(with_controller(stale, controller), error, *words)
    assert stale.look() == before


def test_the_address_is_of_another_service(stale: Sync) -> None:
    """The S3 gateway instead of the controller: it answers, in XML."""
    before = stale.look()
    with ControllerClient(stale.sandbox.s3.endpoint_url, retries=1) as controller:
        fails(with_controller(stale, controller), DeepStoreSyncError, stale.sandbox.s3.endpoint_url)
    assert stale.look() == before


def test_a_quota_refuses_the_push_and_the_old_object_is_put_back(stale: Sync) -> None:
    config = stale.sandbox.table_config(TABLE)
    config["quota"] = {"storage": "1K"}
    stale.sandbox.update_table_config(config)
    before = stale.look()
    rows = stale.run()
    after = stale.look()
    assert outcomes(rows) == {Outcome.FAILED}
    message = rows[SEGMENT].message
    assert "quota" in message.lower()
    assert "put back" in message
    assert "failed" in stale.reports[-1].undone[0]
    # It is another object now, with the content of the old one.
    assert (after[SEGMENT].content, after[SEGMENT].crc, after[SEGMENT].stamp) == (
        before[SEGMENT].content, before[SEGMENT].crc, None,
    )  # fmt: skip
    assert stale.downloads() == dict.fromkeys(stale.sandbox.servers, 0)
    # Without the quota, the next run does it.
    config["quota"] = None
    stale.sandbox.update_table_config(config)
    assert outcomes(stale.run()) == {Outcome.SYNCED}


def test_wrong_s3_credentials(stale: Sync) -> None:
    before = stale.look()
    client = boto3_client(stale.sandbox, "not-the-secret")
    message = fails(with_store(stale, client), DeepStoreAccessError, "AWS connection")
    assert "not-the-secret" not in message
    client.close()
    assert stale.look() == before


def test_the_bucket_of_the_workspace_is_not_there(stale: Sync) -> None:
    before = stale.look()
    fails(stale.with_settings(workspace="s3://no-such-bucket/work"), ObjectNotFoundError, "no-such-bucket")
    assert stale.look() == before


def truncated(archive: bytes) -> bytes:
    return archive[: len(archive) // 2]


def no_tar(archive: bytes) -> bytes:
    return b"this is no tar" * 100


def no_segment(archive: bytes) -> bytes:
    return tar({f"{SEGMENT}/readme.txt": b"no segment"})


def path_outside(archive: bytes) -> bytes:
    return tar({f"{SEGMENT}/../../outside": b"x"})


def tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("damage", [truncated, no_tar, no_segment, path_outside])
def test_the_object_is_no_whole_segment(stale: Sync, damage: Callable[[bytes], bytes]) -> None:
    store = stale.services.store
    (record,) = stale.services.controller.segments(TABLE)
    damaged = damage(store.read(str(record.url)))
    store.write_workspace(str(record.url), damaged)
    etag = store.head(str(record.url)).etag

    rows = stale.run()

    assert outcomes(rows) == {Outcome.FAILED}
    assert str(record.url) in rows[SEGMENT].message
    assert SEGMENT in stale.reports[-1].undone[0]
    assert store.head(str(record.url)).etag == etag
    assert stale.services.controller.segments(TABLE) == [record]
    assert stale.downloads() == dict.fromkeys(stale.sandbox.servers, 0)


@pytest.mark.parametrize("what", ["no folder", "no jars", "another version"])
def test_the_jars_are_missing_or_of_another_version(stale: Sync, tmp_path: Path, what: str) -> None:
    before = stale.look()
    if what == "another version":
        for name in ("spi", "segment-spi", "segment-local", "common", "core"):
            (tmp_path / f"pinot-{name}-1.3.0.jar").touch()
    jars = tmp_path / "gone" if what == "no folder" else tmp_path
    run = stale.with_settings(engine=EngineSettings(jars=jars))
    words = ("1.3.0", "1.5.1") if what == "another version" else (str(jars),)
    fails(run, EngineError, *words)
    assert stale.look() == before


def test_a_server_does_not_answer_isstale(sync: Sync) -> None:
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1])
    before = sync.look()
    sandbox.stop_server(sandbox.servers[1])
    rows = sync.run()
    assert outcomes(rows) == {Outcome.DEFERRED}
    assert rows[SEGMENT].deferred_by is DeferredBy.SERVERS
    (undone,) = sync.reports[-1].undone
    assert sandbox.servers[1] in undone
    assert sync.look() == before
    # Whoever knows better may say so.
    tolerant = sync.with_settings(max_deferred_share=1.0)
    assert outcomes(tolerant.run()) == {Outcome.DEFERRED}
    assert tolerant.reports[-1].undone == ()


def test_a_server_that_is_down_while_publishing_is_named(stale: Sync) -> None:
    sandbox = stale.sandbox
    run = stale.with_settings(proof_timeout=timedelta(seconds=20))
    rows = run.run(between=lambda: sandbox.stop_server(sandbox.servers[1]))
    row = rows[SEGMENT]
    assert row.outcome is Outcome.SYNCED
    assert (row.proven, row.unproven) == (sandbox.servers[:1], sandbox.servers[1:])
    assert f"unproven on {sandbox.servers[1]}" in row.message
    assert "it downloads the segment when it is back" in row.message
    # While it is down, nothing is done again.
    before = stale.look()
    assert outcomes(run.run(force=True)) == {Outcome.SKIPPED}
    assert stale.look() == before
    # When it is back, it takes the new segment by itself, and there is nothing left to do.
    sandbox.start_server(sandbox.servers[1])
    assert outcomes(run.run()) == {Outcome.SKIPPED}
    crcs = stale.services.servers.segment_crcs(sandbox.server_admin_url(sandbox.servers[1]), TABLE)
    assert crcs[SEGMENT] == row.new_crc
