"""Every call against a real cluster."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Iterator

import httpx
import pytest
from tests.polling import first_that

from deep_store_sync.errors import (
    PinotAnswerError,
    PinotNotFoundError,
    PinotUnavailableError,
    PushRefusedError,
    SegmentChangedError,
    SegmentGoneError,
)
from deep_store_sync.model import Lineage, SegmentRecord
from deep_store_sync.pinot.activity import Looks, find_activity
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.servers import ServerClient
from deep_store_sync.store.deep_store import DeepStore
from pinot_sandbox import Sandbox

TABLE = "flights_OFFLINE"
ODD = "odd_OFFLINE"
# Pinot builds none with a colon or a slash, and keeps "a b" and "a+b" in one and the same object.
ODD_NAMES = ["a b", "c+d", "100%25", "é", "x&y=z"]


@pytest.fixture(scope="module")
def segments(sandbox: Sandbox) -> Iterator[list[str]]:
    yield sandbox.load_flights(months=[1, 2])
    sandbox.drop_table(TABLE)


@pytest.fixture(scope="module")
def odd_table(sandbox: Sandbox) -> Iterator[None]:
    """A table whose segments have names that need care in paths, keys and headers."""
    config = {
        "tableName": ODD,
        "tableType": "OFFLINE",
        "segmentsConfig": {"replication": "2"},
        "tenants": {},
        "tableIndexConfig": {},
        "metadata": {},
    }
    schema = {"schemaName": "odd", "dimensionFieldSpecs": [{"name": "a", "dataType": "STRING"}]}
    sandbox.create_table(config, schema)
    # Only servers that hold a segment of a table are told that it is dropped: one stays.
    rows = {name: [{"a": "1"}] for name in [*ODD_NAMES, "stays"]}
    for archive in sandbox.build_segments(rows, table_config=config, schema=schema):
        sandbox.push_segment(ODD, archive)
    sandbox.wait_until_loaded(ODD)
    yield
    sandbox.drop_table(ODD)


@pytest.fixture
def controller(sandbox: Sandbox, segments: list[str]) -> Iterator[ControllerClient]:
    with ControllerClient(sandbox.controller_url) as controller:
        yield controller


@pytest.fixture
def servers() -> Iterator[ServerClient]:
    with ServerClient() as servers:
        yield servers


def metadata_of(sandbox: Sandbox, record: SegmentRecord, crc: int) -> bytes:
    """The archive of a metadata push of what lies in the deep store, under this CRC."""
    assert record.url is not None
    whole = io.BytesIO(DeepStore(sandbox.s3.client()).read(record.url))
    archive = io.BytesIO()
    with tarfile.open(fileobj=whole) as source, tarfile.open(fileobj=archive, mode="w:gz") as target:
        for member in source.getmembers():
            name = member.name.rpartition("/")[2]
            file = source.extractfile(member)
            if file is None or name not in ("creation.meta", "metadata.properties"):
                continue
            body = file.read()
            if name == "creation.meta":
                body = struct.pack(">q", crc) + body[8:]
            entry = tarfile.TarInfo(f"{record.name}/{name}")
            entry.size = len(body)
            target.addfile(entry, io.BytesIO(body))
    return archive.getvalue()


def push(
    sandbox: Sandbox, controller: ControllerClient, segment: str, *, crc: int, expected_crc: int, **custom: str
) -> None:
    record = controller.segment(TABLE, segment)
    controller.push_metadata(
        TABLE,
        segment,
        archive=metadata_of(sandbox, record, crc),
        url=record.url or "",
        expected_crc=expected_crc,
        custom=custom,
    )


def test_the_cluster(sandbox: Sandbox, controller: ControllerClient) -> None:
    assert controller.version() == "1.5.1"
    for server in sandbox.servers:
        assert controller.instance_admin_url(server) == sandbox.server_admin_url(server)
    with pytest.raises(PinotNotFoundError, match="not found"):
        controller.instance_admin_url("Server_nobody_1")


def test_the_table(sandbox: Sandbox, controller: ControllerClient, segments: list[str]) -> None:
    assert controller.table_config(TABLE) == sandbox.table_config(TABLE)
    assert controller.schema(TABLE) == sandbox.schema(TABLE)
    assert controller.ideal_state(TABLE) == {name: dict.fromkeys(sandbox.servers, "ONLINE") for name in segments}
    seen = controller.long.seen_replicas(TABLE)
    assert seen is not None
    assert seen.of(segments) == controller.ideal_state(TABLE)
    assert controller.lineage(TABLE) == Lineage()
    created, pushed = controller.table_created_ms(TABLE), controller.segment(TABLE, segments[0]).push_ms
    assert created is not None
    assert pushed is not None
    assert created <= pushed


def test_segments_and_what_servers_loaded(
    sandbox: Sandbox, controller: ControllerClient, servers: ServerClient, segments: list[str]
) -> None:
    records = controller.segments(TABLE)
    assert [record.name for record in records] == segments
    assert records == [controller.segment(TABLE, name) for name in segments]
    january = records[0]
    assert january.url == f"{sandbox.deep_store_url}/flights/{january.name}"
    assert january.rows == 27004
    assert january.size_bytes == DeepStore(sandbox.s3.client()).head(january.url).size
    assert january.start_ms is not None
    assert january.end_ms is not None
    assert 1357000000000 < january.start_ms < january.end_ms < 1359800000000
    for server in sandbox.servers:
        crcs = servers.segment_crcs(sandbox.server_admin_url(server), TABLE)
        assert crcs == {record.name: record.crc for record in records}
        assert servers.segment_crcs(sandbox.server_admin_url(server), "none_OFFLINE") == {}


def test_stale_and_reload(sandbox: Sandbox, controller: ControllerClient, segments: list[str]) -> None:
    assert controller.stale(TABLE).keys() == set(sandbox.servers)
    assert controller.need_reload(TABLE) == dict.fromkeys(sandbox.servers, False)
    config = sandbox.table_config(TABLE)
    sandbox.update_table_config(
        config | {"tableIndexConfig": config["tableIndexConfig"] | {"invertedIndexColumns": ["origin"]}}
    )
    try:
        answers = controller.stale(TABLE)
        assert answers.keys() == set(sandbox.servers)
        for answer in answers.values():
            assert answer.valid
            assert answer.stale == dict.fromkeys(segments, "inverted index changed on unsorted column: origin")
        assert controller.need_reload(TABLE) == dict.fromkeys(sandbox.servers, True)

        job = controller.reload(TABLE, segments[0], force_download=True)
        assert job in {known.id for known in controller.reload_jobs(TABLE)}
        (known,) = [known for known in controller.reload_jobs(TABLE) if known.id == job]
        assert (known.segments, known.messages, known.table) == ((segments[0],), 2, TABLE)
        first_that(lambda: controller.reload_status(job), lambda status: status.ended)
        report = find_activity(controller, TABLE, give_up_after_ms=3_600_000)
        assert report.active == ()
        assert all(answer.stale.keys() == {segments[1]} for answer in controller.stale(TABLE).values())
    finally:
        sandbox.update_table_config(config)


def test_a_server_that_is_down_is_left_out(
    sandbox: Sandbox, controller: ControllerClient, servers: ServerClient
) -> None:
    down, up = sandbox.servers
    url = sandbox.server_admin_url(down)
    sandbox.stop_server(down)
    try:
        assert controller.stale(TABLE).keys() == {up}
        assert down not in controller.need_reload(TABLE)
        with pytest.raises(PinotUnavailableError):
            servers.segment_crcs(url, TABLE)
    finally:
        sandbox.start_server(down)


def test_an_equal_crc_push_only_stamps(sandbox: Sandbox, controller: ControllerClient, segments: list[str]) -> None:
    before = controller.segment(TABLE, segments[0])
    assert before.crc is not None
    sandbox.reset_downloads()
    push(sandbox, controller, before.name, crc=before.crc, expected_crc=before.crc, stamp="é", other="")
    push(sandbox, controller, before.name, crc=before.crc, expected_crc=before.crc, stamp="2")
    after = controller.segment(TABLE, before.name)
    assert after.custom == {"stamp": "2", "other": ""}
    assert (after.crc, after.url, after.creation_ms) == (before.crc, before.url, before.creation_ms)
    assert after.refresh_ms is not None
    assert not any(sandbox.downloads(TABLE).values())


def test_a_push_of_another_crc_refreshes(
    sandbox: Sandbox, controller: ControllerClient, servers: ServerClient, segments: list[str]
) -> None:
    # The object stays as it is, so the servers download it and find the CRC that they had: only the message matters.
    before = controller.segment(TABLE, segments[1])
    assert before.crc is not None
    push(sandbox, controller, before.name, crc=before.crc, expected_crc=before.crc, kept="yes", stamp="1")
    sandbox.reset_downloads()
    new_crc = before.crc ^ 1
    push(sandbox, controller, before.name, crc=new_crc, expected_crc=before.crc, stamp="2")
    after = controller.segment(TABLE, before.name)
    assert (after.crc, after.url) == (new_crc, before.url)
    assert after.custom == {"kept": "yes", "stamp": "2"}
    for server in sandbox.servers:
        first_that(lambda server=server: sandbox.downloads(TABLE)[server], lambda loaded: before.name in loaded)  # type: ignore[misc]
    push(sandbox, controller, before.name, crc=before.crc, expected_crc=new_crc)


def test_a_push_with_the_wrong_crc_changes_nothing(
    sandbox: Sandbox, controller: ControllerClient, segments: list[str]
) -> None:
    before = controller.segment(TABLE, segments[0])
    assert before.crc is not None
    with pytest.raises(SegmentChangedError, match=f"expected CRC: 7 does not match existing CRC: {before.crc}"):
        push(sandbox, controller, before.name, crc=before.crc, expected_crc=7, stamp="lost")
    assert controller.segment(TABLE, before.name) == before


def test_segments_whatever_they_are_called(sandbox: Sandbox, odd_table: None) -> None:
    store = DeepStore(sandbox.s3.client())
    with ControllerClient(sandbox.controller_url) as controller:
        records = {record.name: record for record in controller.segments(ODD)}
        archives: dict[str, bytes] = {}
        jobs: dict[str, str] = {}

        def push(name: str, stamp: str) -> None:
            url, crc = records[name].url or "", records[name].crc or 0
            controller.push_metadata(
                ODD, name, archive=archives[name], url=url, expected_crc=crc, custom={"stamp": stamp}
            )

        for name in ODD_NAMES:
            record = controller.segment(ODD, name)
            assert record == records[name]
            assert store.head(record.url or "").size == record.size_bytes
            archives[name] = metadata_of(sandbox, record, record.crc or 0)
            jobs[name] = controller.reload(ODD, name, force_download=True)
            push(name, "é")
            assert controller.segment(ODD, name).custom == {"stamp": "é"}
        named = {job.id: job.segments for job in controller.reload_jobs(ODD)}
        assert {name: named[job] for name, job in jobs.items()} == {name: (name,) for name in ODD_NAMES}

        deleted = httpx.post(
            f"{sandbox.controller_url}/segments/{ODD}/delete?retention=0d", json=ODD_NAMES, trust_env=False
        )
        assert deleted.is_success, deleted.text
        first_that(lambda: [record.name for record in controller.segments(ODD)], lambda left: left == ["stays"])
        for name in ODD_NAMES:
            with pytest.raises(SegmentGoneError):
                controller.segment(ODD, name)
            with pytest.raises(SegmentGoneError, match="410"):
                push(name, "2")
            with pytest.raises(PinotNotFoundError):
                controller.reload(ODD, name, force_download=False)
        # Their reloads can no longer be asked for, and hold up nobody.
        looks = Looks()
        report = find_activity(controller, ODD, give_up_after_ms=3_600_000, looks=looks)
        assert (report.active, report.given_up) == ((), ())
        assert looks.ended == set(jobs.values())


def test_pushes_that_are_refused_or_fail(sandbox: Sandbox, controller: ControllerClient, segments: list[str]) -> None:
    record = controller.segment(TABLE, segments[0])
    archive = metadata_of(sandbox, record, record.crc or 0)

    def push(table: str, archive: bytes) -> None:
        controller.push_metadata(
            table, record.name, archive=archive, url=record.url or "", expected_crc=record.crc or 0, custom={}
        )

    with pytest.raises(PushRefusedError, match="400: Failed to find table: none_OFFLINE"):
        push("none_OFFLINE", archive)
    with pytest.raises(PinotUnavailableError, match="500: Exception while uploading segment"):
        push(TABLE, b"no archive")
    assert controller.segment(TABLE, record.name) == record


def test_a_table_that_is_not_there(controller: ControllerClient) -> None:
    for call in (
        controller.table_config,
        controller.schema,
        controller.ideal_state,
        controller.segments,
        controller.lineage,
        controller.reload_jobs,
    ):
        with pytest.raises(PinotNotFoundError, match="no table none_OFFLINE"):
            call("none_OFFLINE")
    with pytest.raises(SegmentGoneError):
        controller.segment("none_OFFLINE", "s")
    with pytest.raises(PinotNotFoundError):
        controller.reload_status("no-such-job")


def test_the_port_of_a_server_is_no_controller(sandbox: Sandbox) -> None:
    with ControllerClient(sandbox.server_admin_url(sandbox.servers[0])) as wrong:
        with pytest.raises((PinotAnswerError, PinotNotFoundError)):
            wrong.version()
        with pytest.raises((PinotAnswerError, PinotNotFoundError)):
            wrong.table_config(TABLE)
