from __future__ import annotations

import csv
import io
import tarfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from pinot_sandbox import Downloads, Sandbox, SandboxError
from pinot_sandbox.flights import csv_path

FLIGHTS = "flights_OFFLINE"


def get(sandbox: Sandbox, path: str, **parameters: str) -> Any:
    answer = httpx.get(sandbox.controller_url + path, params=parameters, timeout=30)
    assert answer.is_success, answer.text
    return answer.json()


def server_crcs(sandbox: Sandbox, server: str) -> dict[str, str]:
    crcs: dict[str, str] = httpx.get(f"{sandbox.server_admin_url(server)}/tables/{FLIGHTS}/segments/crc").json()
    return crcs


def stale(sandbox: Sandbox) -> dict[str, dict[str, str]]:
    """By server: segment to reason."""
    answers = get(sandbox, f"/segments/{FLIGHTS}/isStale")
    assert all(answer["validResponse"] for answer in answers.values())
    return {
        server: {entry["segmentName"]: entry["reason"] for entry in answer["staleSegmentList"]}
        for server, answer in answers.items()
    }


def zk(sandbox: Sandbox, segment: str) -> dict[str, str]:
    metadata: dict[str, str] = get(sandbox, f"/segments/flights/{segment}/metadata")
    return metadata


def stored(sandbox: Sandbox, segment: str) -> dict[str, Any]:
    """The object that ZooKeeper's download URL names."""
    url = urlsplit(zk(sandbox, segment)["segment.download.url"])
    return dict(sandbox.s3.client().get_object(Bucket=url.netloc, Key=url.path[1:]))


def files_of(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {
            member.name.split("/", 1)[1]: file.read()
            for member in tar.getmembers()
            if (file := tar.extractfile(member)) is not None
        }


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def indexed(sandbox: Sandbox, server: str, segment: str) -> set[str]:
    """The columns whose local copy has an inverted index."""
    index_map = sandbox.server_segment_dir(server, FLIGHTS, segment) / "v3" / "index_map"
    return {line.split(".")[0] for line in index_map.read_text().splitlines() if ".inverted_index." in line}


def add_inverted_index(sandbox: Sandbox, *columns: str) -> None:
    config = sandbox.table_config(FLIGHTS)
    config["tableIndexConfig"]["invertedIndexColumns"] = list(columns)
    sandbox.update_table_config(config)


def test_flights_are_the_real_ones(sandbox: Sandbox) -> None:
    with zipfile.ZipFile(csv_path()) as archive, archive.open("flights.csv") as file:
        rows = list(csv.DictReader(io.TextIOWrapper(file)))
    segments = sandbox.load_flights()
    try:
        assert segments == [f"flights_2013-{month:02d}" for month in range(1, 13)]
        assert sandbox.query("select count(*) from flights") == [[336_776]]
        assert sandbox.query("select count(*) from flights where dep_delay is null") == [
            [sum(row["dep_delay"] == "NA" for row in rows)]
        ]
        assert sandbox.query("select sum(distance) from flights") == [[sum(int(row["distance"]) for row in rows)]]
        expected = Counter((row["carrier"], int(row["month"])) for row in rows)
        answer = sandbox.query(
            "select carrier, month, count(*) from flights group by carrier, month order by carrier, month limit 1000"
        )
        assert {(carrier, month): count for carrier, month, count in answer} == expected
    finally:
        sandbox.drop_table(FLIGHTS)


def test_every_segment_is_in_the_deep_store_and_on_both_servers(sandbox: Sandbox, two_months: list[str]) -> None:
    ideal = get(sandbox, f"/tables/{FLIGHTS}/idealstate")["OFFLINE"]
    assert ideal == {segment: dict.fromkeys(sandbox.servers, "ONLINE") for segment in two_months}
    assert get(sandbox, f"/tables/{FLIGHTS}/externalview")["OFFLINE"] == ideal
    for segment in two_months:
        metadata = zk(sandbox, segment)
        assert metadata["segment.download.url"] == f"{sandbox.deep_store_url}/flights/{segment}"
        assert files_of(stored(sandbox, segment)["Body"].read()).keys() >= {"v3/columns.psf", "v3/creation.meta"}
        for server in sandbox.servers:
            assert server_crcs(sandbox, server)[segment] == metadata["segment.crc"]
    january = zk(sandbox, "flights_2013-01")
    assert january["segment.start.time"] == "1357034400000"  # 2013-01-01T10:00Z
    assert january["segment.end.time"] == "1359691200000"  # 2013-02-01T04:00Z, the last hour of January in New York


def test_a_server_with_a_wiped_disk_downloads_each_segment_once(sandbox: Sandbox, two_months: list[str]) -> None:
    wiped, other = sandbox.servers
    start = sandbox.restart_server(wiped, wipe=True)
    assert start.load_ms.keys() == set(two_months)
    objects = {segment: stored(sandbox, segment)["Body"].read() for segment in two_months}
    assert sandbox.downloads() == {
        wiped: {segment: Downloads(1, len(body)) for segment, body in objects.items()},
        other: {},
    }
    for segment, body in objects.items():
        assert files_in(sandbox.server_segment_dir(wiped, FLIGHTS, segment)) == files_of(body)


def test_a_server_with_its_disk_downloads_nothing(sandbox: Sandbox, two_months: list[str]) -> None:
    start = sandbox.restart_server(sandbox.servers[0], wipe=False)
    assert start.load_ms.keys() == set(two_months)
    assert sandbox.downloads() == {server: {} for server in sandbox.servers}


def test_a_reload_changes_the_local_copies_alone(sandbox: Sandbox, two_months: list[str]) -> None:
    before = {segment: (zk(sandbox, segment), stored(sandbox, segment)["ETag"]) for segment in two_months}
    crcs = [server_crcs(sandbox, server) for server in sandbox.servers]
    assert stale(sandbox) == {server: {} for server in sandbox.servers}

    add_inverted_index(sandbox, "carrier", "dest")
    assert {server: set(segments) for server, segments in stale(sandbox).items()} == {
        server: set(two_months) for server in sandbox.servers
    }
    check = get(sandbox, f"/segments/{FLIGHTS}/needReload", verbose="true")
    assert check["needReload"] is True
    assert check["serverToSegmentsCheckReloadList"].keys() == set(sandbox.servers)

    sandbox.reload(FLIGHTS)
    assert stale(sandbox) == {server: {} for server in sandbox.servers}
    assert get(sandbox, f"/segments/{FLIGHTS}/needReload", verbose="true")["needReload"] is False
    for server in sandbox.servers:
        for segment in two_months:
            assert indexed(sandbox, server, segment) == {"carrier", "dest"}
    assert [server_crcs(sandbox, server) for server in sandbox.servers] == crcs
    assert {segment: (zk(sandbox, segment), stored(sandbox, segment)["ETag"]) for segment in two_months} == before
    assert sandbox.downloads() == {server: {} for server in sandbox.servers}

    # The deep store is still old: a fresh server downloads that, and builds the indexes again.
    sandbox.restart_server(sandbox.servers[1], wipe=True)
    local = files_in(sandbox.server_segment_dir(sandbox.servers[1], FLIGHTS, two_months[0]))
    assert local["v3/columns.psf"] != files_of(stored(sandbox, two_months[0])["Body"].read())["v3/columns.psf"]
    assert indexed(sandbox, sandbox.servers[1], two_months[0]) == {"carrier", "dest"}


def test_one_segment_is_reloaded_with_a_download(sandbox: Sandbox, two_months: list[str]) -> None:
    sandbox.reload(FLIGHTS, two_months[0], force_download=True)
    size = stored(sandbox, two_months[0])["ContentLength"]
    assert sandbox.downloads() == {server: {two_months[0]: Downloads(1, size)} for server in sandbox.servers}


def test_a_segment_pushed_again_is_refreshed_on_both_servers(sandbox: Sandbox, two_months: list[str]) -> None:
    schema, config = sandbox.schema(FLIGHTS), sandbox.table_config(FLIGHTS)
    row = {"carrier": "ZZ", "origin": "JFK", "dest": "LAX", "ts": 1357034400000, "distance": 7}
    [archive] = sandbox.build_segments({two_months[0]: [row]}, table_config=config, schema=schema)
    old = zk(sandbox, two_months[0])["segment.crc"]
    sandbox.push_segment(FLIGHTS, archive)
    new = zk(sandbox, two_months[0])["segment.crc"]
    assert new != old
    wait_for(lambda: all(server_crcs(sandbox, server)[two_months[0]] == new for server in sandbox.servers))
    assert sandbox.query("select count(*), sum(distance) from flights where carrier = 'ZZ'") == [[1, 7]]
    assert sandbox.downloads() == {
        server: {two_months[0]: Downloads(1, archive.stat().st_size)} for server in sandbox.servers
    }


def wait_for(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def test_a_stopped_server_is_gone_for_the_controller(sandbox: Sandbox, two_months: list[str]) -> None:
    stopped, other = sandbox.servers
    rows = sandbox.query("select count(*) from flights")
    url = sandbox.server_admin_url(stopped)
    assert httpx.get(f"{url}/health").text == "OK"
    sandbox.stop_server(stopped)
    assert not sandbox.is_running(stopped)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")
    assert stopped not in get(sandbox, "/liveinstances")["instances"]
    assert stale(sandbox) == {other: {}}
    assert sandbox.query("select count(*) from flights") == rows
    sandbox.stop_server(other)
    with pytest.raises(SandboxError, match="is on no running server"):
        sandbox.query("select count(*) from flights")
    assert get(sandbox, f"/segments/{FLIGHTS}/isStale") == {}
    sandbox.start_server(other)
    assert sandbox.query("select count(*) from flights") == rows
    sandbox.start_server(stopped)
    assert stopped in get(sandbox, "/liveinstances")["instances"]
    assert stale(sandbox) == {stopped: {}, other: {}}
    with pytest.raises(SandboxError, match="is running already"):
        sandbox.start_server(stopped)


def test_each_query_takes_every_segment_once(sandbox: Sandbox, two_months: list[str]) -> None:
    [[expected]] = sandbox.query("select count(*) from flights")
    assert [sandbox.query("select count(*) from flights") for _ in range(4)] == [[[expected]]] * 4
    for segment in two_months:
        [[count]] = sandbox.query(f"select count(*) from flights where $segmentName = '{segment}'")
        assert count == int(zk(sandbox, segment)["segment.total.docs"])


def test_the_controller_is_answered_by_the_servers(sandbox: Sandbox, two_months: list[str]) -> None:
    for server in sandbox.servers:
        instance = get(sandbox, f"/instances/{server}")
        assert f"http://{instance['hostName']}:{instance['adminPort']}" == sandbox.server_admin_url(server)

    metadata = get(sandbox, f"/segments/{FLIGHTS}/metadata", columns="carrier")
    assert metadata.keys() == set(two_months)
    assert metadata[two_months[0]]["indexes"]["carrier"]["dictionary"] == "YES"
    one = get(sandbox, f"/segments/{FLIGHTS}/{two_months[0]}/metadata", columns="carrier")
    assert one["segment.crc"] == zk(sandbox, two_months[0])["segment.crc"]
    assert one["columns"][0]["columnName"] == "carrier"

    size = get(sandbox, f"/tables/{FLIGHTS}/size", verbose="true")
    assert size["offlineSegments"]["segments"].keys() == set(two_months)
    assert size["offlineSegments"]["missingSegments"] == 0
    assert size["reportedSizeInBytes"] == 2 * sum(
        sum(len(data) for data in files_in(sandbox.server_segment_dir(sandbox.servers[0], FLIGHTS, segment)).values())
        for segment in two_months
    )

    table = get(sandbox, "/tables/flights/metadata", type="OFFLINE", columns="carrier")
    assert table["numRows"] == sandbox.query("select count(*) from flights")[0][0]
    indexes = get(sandbox, "/tables/flights/indexes", type="OFFLINE")
    assert indexes["totalOnlineSegments"] == 2 * len(two_months)
    assert indexes["columnToIndexesCount"]["carrier"]["dictionary"] == 2 * len(two_months)

    admin = sandbox.server_admin_url(sandbox.servers[0])
    assert httpx.get(f"{admin}/tables/nothing_OFFLINE/segments/crc").status_code == 404
    assert httpx.get(f"{admin}/tables/{FLIGHTS}/segments").json() == {"segments": sorted(two_months)}


def test_a_table_of_ones_own(sandbox: Sandbox) -> None:
    schema = {
        "schemaName": "own",
        "dimensionFieldSpecs": [
            {"name": "k", "dataType": "STRING"},
            {"name": "tags", "dataType": "STRING", "singleValueField": False},
        ],
        "metricFieldSpecs": [{"name": "n", "dataType": "LONG"}],
    }
    config = {
        "tableName": "own_OFFLINE",
        "tableType": "OFFLINE",
        "segmentsConfig": {"replication": "2", "schemaName": "own"},
        "tenants": {},
        "tableIndexConfig": {"nullHandlingEnabled": True},
        "metadata": {},
    }
    sandbox.create_table(config, schema)
    try:
        rows = [{"k": "ä", "tags": ["x", "y"], "n": 1}, {"k": "b", "n": 2}]
        archives = sandbox.build_segments({"own %1": rows, "own+2": rows[:1]}, table_config=config, schema=schema)
        for archive in archives:
            sandbox.push_segment("own_OFFLINE", archive)
        sandbox.wait_until_loaded("own_OFFLINE")
        assert sandbox.query("select k, sum(n), sum(arraylength(tags)) from own group by k order by k") == [
            ["b", 2.0, 1.0],
            ["ä", 2.0, 4.0],
        ]
        assert sandbox.downloads("own_OFFLINE") == {
            server: {
                "own %1": Downloads(1, archives[0].stat().st_size),
                "own+2": Downloads(1, archives[1].stat().st_size),
            }
            for server in sandbox.servers
        }
        sandbox.restart_server(sandbox.servers[0], wipe=True)

        schema["metricFieldSpecs"].append({"name": "m", "dataType": "INT", "defaultNullValue": 3})  # type: ignore[attr-defined]
        sandbox.update_schema(schema)
        sandbox.reload("own_OFFLINE", "own %1")
        sandbox.reload("own_OFFLINE")
        assert sandbox.query("select sum(m) from own") == [[9]]
    finally:
        sandbox.drop_table("own_OFFLINE")
    for server in sandbox.servers:
        assert not (sandbox.server_segment_dir(server, "own_OFFLINE", "own %1")).exists()


def test_a_segment_that_no_server_can_load_is_reported(sandbox: Sandbox, two_months: list[str]) -> None:
    sandbox.stop_server(sandbox.servers[0])
    sandbox.s3.client().delete_object(Bucket="pinot", Key=f"deepstore/flights/{two_months[0]}")
    with pytest.raises(SandboxError, match=f"could not load .*{two_months[0]}"):
        sandbox.start_server(sandbox.servers[0], wipe=True)
    with pytest.raises(SandboxError, match=f"could not load {two_months[0]} of {FLIGHTS}"):
        sandbox.wait_until_loaded(FLIGHTS)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select count(*) from nothing", "no table nothing "),
        ("select count( from flights", "Caught exception while parsing query"),
        ("select nonsense(carrier) from flights", "nonsense"),
    ],
)
def test_queries_that_fail_say_why(sandbox: Sandbox, two_months: list[str], sql: str, words: str) -> None:
    with pytest.raises(SandboxError, match=words):
        sandbox.query(sql)


def test_the_controllers_refusal_is_told(sandbox: Sandbox, two_months: list[str]) -> None:
    with pytest.raises(SandboxError, match=r"POST /tables .*HTTP 409"):
        sandbox.load_flights(months=[])
    with pytest.raises(SandboxError, match="No server nobody in the sandbox"):
        sandbox.server_admin_url("nobody")
