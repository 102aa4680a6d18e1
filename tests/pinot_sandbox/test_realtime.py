"""REALTIME tables on the sandbox: Pinot's own consumption, commit, upsert and dedup over a stream in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.realtime_tables import orders, orders_config, orders_schema

from pinot_sandbox import Sandbox, SandboxError

TOTALS = "select count(*), sum(amount) from {}"
UPSERT: dict[str, Any] = {"mode": "FULL", "comparisonColumns": ["at"]}


@pytest.fixture
def table(sandbox: Sandbox, request: pytest.FixtureRequest) -> Iterator[Callable[..., str]]:
    """Makes a REALTIME table over a stream of its own; gives the raw name, which is the stream's too."""
    made: list[str] = []

    def make(*, partitions: int = 1, **sections: Any) -> str:
        name = f"{request.node.originalname}_{len(made)}"
        stream = sandbox.create_stream(name, partitions)
        sandbox.create_table(orders_config(name, stream, **sections), orders_schema(name, key=bool(sections)))
        made.append(name)
        return name

    yield make
    for server in sandbox.servers:
        if not sandbox.is_running(server):
            sandbox.start_server(server)
    for name in made:
        sandbox.drop_table(f"{name}_REALTIME")


def get(url: str) -> Any:
    answer = httpx.get(url, timeout=30)
    assert answer.is_success, answer.text
    return answer.json()


def from_both(sandbox: Sandbox, sql: str) -> list[list[Any]]:
    """A query's one row, which the servers, asked in turn, agree on."""
    answers = [sandbox.query(sql) for _ in sandbox.servers]
    assert answers[0] == answers[1]
    return answers[0][0]


def test_consumed_and_committed(sandbox: Sandbox, table: Callable[..., str]) -> None:
    name = table(partitions=2)
    with_type = f"{name}_REALTIME"
    sandbox.produce(name, orders(range(50), amount=1))
    sandbox.produce(name, orders(range(50, 80), amount=2), partition=1)
    sandbox.wait_until_consumed(with_type)
    assert from_both(sandbox, TOTALS.format(name)) == [80, 110]

    committed = sandbox.commit(with_type)
    assert len(committed) == 2
    assert from_both(sandbox, TOTALS.format(name)) == [80, 110]
    metadata = get(f"{sandbox.controller_url}/segments/{with_type}/zkmetadata")
    for segment, rows in zip(committed, ("50", "30"), strict=True):
        entry = metadata.pop(segment)
        assert (entry["segment.realtime.status"], entry["segment.total.docs"]) == ("DONE", rows)
        assert entry["segment.realtime.endOffset"] == rows
        url = entry["segment.download.url"]
        assert url == f"{sandbox.deep_store_url}/{name}/{segment}"
        place = urlsplit(url)
        assert sandbox.s3.client().head_object(Bucket=place.netloc, Key=place.path[1:])["ContentLength"] > 0
    # What comes after them consumes, from where they end.
    assert [entry["segment.realtime.status"] for entry in metadata.values()] == ["IN_PROGRESS"] * 2
    assert sorted(entry["segment.realtime.startOffset"] for entry in metadata.values()) == ["30", "50"]
    sandbox.produce(name, orders(range(80, 85), amount=10))
    sandbox.wait_until_consumed(with_type)
    assert from_both(sandbox, TOTALS.format(name)) == [85, 160]
    assert len(sandbox.commit(with_type)) == 2


def test_a_wiped_server_downloads_what_is_committed_and_catches_up(sandbox: Sandbox, table: Callable[..., str]) -> None:
    name = table()
    sandbox.produce(name, orders(range(50), amount=1))
    (segment,) = sandbox.commit(f"{name}_REALTIME")
    sandbox.produce(name, orders(range(50, 60), amount=1))
    sandbox.reset_downloads()
    start = sandbox.restart_server(sandbox.servers[0], wipe=True)
    assert segment in start.load_ms
    downloads = sandbox.downloads(f"{name}_REALTIME")
    assert downloads[sandbox.servers[0]].keys() == {segment}
    assert downloads[sandbox.servers[0]][segment].count == 1
    assert downloads[sandbox.servers[1]] == {}
    sandbox.wait_until_consumed(f"{name}_REALTIME")
    assert from_both(sandbox, TOTALS.format(name)) == [60, 60]


def test_one_server_commits_while_the_other_is_down(sandbox: Sandbox, table: Callable[..., str]) -> None:
    name = table()
    down = sandbox.servers[0]
    sandbox.stop_server(down)
    sandbox.produce(name, orders(range(20), amount=1))
    (segment,) = sandbox.commit(f"{name}_REALTIME")
    sandbox.start_server(down)
    assert sandbox.downloads(f"{name}_REALTIME")[down][segment].count == 1
    assert from_both(sandbox, TOTALS.format(name)) == [20, 20]


def test_of_a_key_the_latest_row_counts(sandbox: Sandbox, table: Callable[..., str]) -> None:
    name = table(upsertConfig=UPSERT)
    with_type = f"{name}_REALTIME"
    sandbox.produce(name, orders(range(10), amount=1))
    sandbox.commit(with_type)
    sandbox.produce(name, orders(range(4), amount=100, at=1000))
    sandbox.wait_until_consumed(with_type)
    assert from_both(sandbox, TOTALS.format(name)) == [10, 406]
    sandbox.commit(with_type)
    assert from_both(sandbox, TOTALS.format(name)) == [10, 406]
    assert from_both(sandbox, TOTALS.format(name) + " option(skipUpsert=true)") == [14, 410]
    sandbox.restart_server(sandbox.servers[1], wipe=True)
    assert from_both(sandbox, TOTALS.format(name)) == [10, 406]


def test_expired_keys_live_in_snapshots_that_a_replaced_segment_loses(
    sandbox: Sandbox, table: Callable[..., str]
) -> None:
    name = table(upsertConfig=UPSERT | {"metadataTTL": 10_000, "snapshot": "ENABLE"})
    with_type = f"{name}_REALTIME"
    sandbox.produce(name, orders(range(10), amount=1))
    (first,) = sandbox.commit(with_type)
    sandbox.produce(name, orders(range(4), amount=100, at=1000))
    sandbox.commit(with_type)
    sandbox.produce(name, orders(range(100, 101), amount=1000, at=1_000_000))
    sandbox.commit(with_type)
    answer = [11, 1406]
    assert from_both(sandbox, TOTALS.format(name)) == answer
    for server in sandbox.servers:
        assert list(sandbox.server_segment_dir(server, with_type, first).rglob("validdocids.bitmap.snapshot"))
    sandbox.restart_server(sandbox.servers[0], wipe=False)
    assert from_both(sandbox, TOTALS.format(name)) == answer
    # What Pinot does, and the reason why a segment of such a table must not be replaced on servers.
    sandbox.reload(with_type, first, force_download=True)
    assert from_both(sandbox, TOTALS.format(name)) == [15, 1410]


def test_deleted_keys(sandbox: Sandbox, table: Callable[..., str]) -> None:
    config = UPSERT | {"deleteRecordColumn": "city", "deletedKeysTTL": 10_000}
    name = table(upsertConfig=config)
    sandbox.produce(name, orders(range(10), amount=1, city=""))
    sandbox.commit(f"{name}_REALTIME")
    sandbox.produce(name, orders(range(3), amount=1, at=1000, city="true"))
    sandbox.commit(f"{name}_REALTIME")
    assert from_both(sandbox, TOTALS.format(name)) == [7, 7]


def test_dedup(sandbox: Sandbox, table: Callable[..., str]) -> None:
    name = table(dedupConfig={"dedupEnabled": True})
    sandbox.produce(name, orders(range(10), amount=1))
    sandbox.commit(f"{name}_REALTIME")
    sandbox.produce(name, orders(range(5, 15), amount=100))
    sandbox.commit(f"{name}_REALTIME")
    assert from_both(sandbox, TOTALS.format(name)) == [15, 510]
    sandbox.restart_server(sandbox.servers[0], wipe=True)
    assert from_both(sandbox, TOTALS.format(name)) == [15, 510]


def test_a_server_tells_of_its_committed_segments_and_a_reload_commits_the_others(
    sandbox: Sandbox, table: Callable[..., str]
) -> None:
    name = table()
    with_type = f"{name}_REALTIME"
    sandbox.produce(name, orders(range(10), amount=1))
    (first,) = sandbox.commit(with_type)
    sandbox.produce(name, orders(range(10, 15), amount=1))
    sandbox.wait_until_consumed(with_type)
    crc = get(f"{sandbox.controller_url}/segments/{with_type}/zkmetadata")[first]["segment.crc"]

    def on_servers(what: str) -> list[Any]:
        return [get(f"{sandbox.server_admin_url(server)}/tables/{with_type}/{what}") for server in sandbox.servers]

    def stale() -> list[dict[str, str]]:
        answers = get(f"{sandbox.controller_url}/segments/{with_type}/isStale").values()
        assert all(answer["validResponse"] for answer in answers)
        return [
            {segment["segmentName"]: segment["reason"] for segment in answer["staleSegmentList"]} for answer in answers
        ]

    assert crc in [crcs[first] for crcs in on_servers("segments/crc")]  # the other replica may have built its own
    assert [[entry["segmentName"] for entry in size["segments"]] for size in on_servers("size")] == [[first]] * 2
    assert [found["numRows"] for found in on_servers("metadata?columns=*")] == [10, 10]
    assert [first in found for found in stale()] == [False, False]

    config = sandbox.table_config(with_type)
    config["tableIndexConfig"]["invertedIndexColumns"] = ["city"]
    sandbox.update_table_config(config)
    assert [found[first] for found in stale()] == ["inverted index changed on unsorted column: city"] * 2
    assert [answer["needReload"] for answer in on_servers("segments/needReload")] == [True, True]
    sandbox.reload(with_type)
    assert [first in found for found in stale()] == [False, False]
    assert [answer["needReload"] for answer in on_servers("segments/needReload")] == [False, False]
    assert [found["numRows"] for found in on_servers("metadata?columns=*")] == [15, 15]
    sandbox.reset_downloads()
    sandbox.reload(with_type, first, force_download=True)
    assert [list(found) for found in sandbox.downloads(with_type).values()] == [[first]] * 2
    assert from_both(sandbox, TOTALS.format(name)) == [15, 15]


def test_uploaded_segments_live_beside_consumed_ones_or_alone(sandbox: Sandbox, table: Callable[..., str]) -> None:
    for partitions, consumed in ((1, 5), (0, 0)):
        name = table(partitions=partitions)
        with_type = f"{name}_REALTIME"
        if consumed:
            sandbox.produce(name, orders(range(consumed), amount=1))
        (archive,) = sandbox.build_segments(
            {"uploaded": orders(range(100, 110), amount=2)},
            table_config=sandbox.table_config(with_type),
            schema=sandbox.schema(with_type),
        )
        sandbox.push_segment(with_type, archive)
        sandbox.wait_until_loaded(with_type)
        sandbox.wait_until_consumed(with_type)
        metadata = get(f"{sandbox.controller_url}/segments/{with_type}/zkmetadata")
        assert metadata["uploaded"]["segment.realtime.status"] == "UPLOADED"
        assert from_both(sandbox, TOTALS.format(name)) == [10 + consumed, 20 + consumed]


def test_streams_are_named_once_and_have_to_be_there(sandbox: Sandbox) -> None:
    sandbox.create_stream("once")
    with pytest.raises(SandboxError, match="stream once is there already"):
        sandbox.create_stream("once")
    with pytest.raises(SandboxError, match="no stream nowhere"):
        sandbox.produce("nowhere", [])
