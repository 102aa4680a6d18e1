"""REALTIME tables: committed segments are synced, consuming and committing ones left alone, and consumption goes on.

Upsert and dedup tables among them: what a query says of superseded keys is what it said before.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from tests.e2e.kit import Sync, outcomes, syncing
from tests.polling import first_that, until
from tests.realtime_tables import orders, orders_config, orders_schema

from deep_store_sync.model import Outcome, PublishMode, SegmentOutcome
from deep_store_sync.table_hash import table_hash
from pinot_sandbox import Sandbox

UPSERT: dict[str, Any] = {"upsertConfig": {"mode": "FULL", "comparisonColumns": ["at"]}}
EXPIRING: dict[str, Any] = {
    "upsertConfig": UPSERT["upsertConfig"] | {"metadataTTL": 10_000, "snapshot": "ENABLE"},
}
DEDUP: dict[str, Any] = {"dedupConfig": {"dedupEnabled": True}}
INDEXES = frozenset({"city.inverted_index", "at.range_index", "id.bloom_filter"})


@dataclass
class Orders:
    """A REALTIME table `orders…` over a stream of the same name, and its sync."""

    sandbox: Sandbox
    sync: Sync
    name: str

    @property
    def table(self) -> str:
        return self.sync.table

    def commit(self, rows: list[dict[str, Any]], *, partition: int = 0) -> list[str]:
        """Produces rows and commits everything there is; returns the segments with rows."""
        self.sandbox.produce(self.name, rows, partition=partition)
        committed = self.sandbox.commit(self.table)
        return [name for name in committed if self.zk(name)["segment.total.docs"] != "0"]

    def consume(self, rows: list[dict[str, Any]], *, partition: int = 0) -> None:
        """Produces rows and waits until they can be queried."""
        self.sandbox.produce(self.name, rows, partition=partition)
        self.sandbox.wait_until_consumed(self.table)

    def consuming(self) -> list[str]:
        """The segments that servers are to consume."""
        states = self.sync.services.controller.ideal_state(self.table)
        return [name for name, of_servers in states.items() if "CONSUMING" in of_servers.values()]

    def settle_at(self, expected: list[list[list[Any]]]) -> None:
        """Waits until both servers say this: rows of upsert segments come and go while servers load them."""
        first_that(self._both, lambda both: both == [expected, expected])

    def answers(self) -> list[list[list[Any]]]:
        """What either server, asked for all segments, says."""
        answers = self._both()
        assert answers[0] == answers[1]
        return answers[0]

    def _both(self) -> list[list[list[list[Any]]]]:
        queries = (
            f"select count(*), sum(amount), min(at), max(at) from {self.name}",
            f"select city, id, amount from {self.name} order by city, id, amount limit 10000",
        )
        # The servers are asked in turn, so each query goes to both before the next one.
        by_query = [[self.sandbox.query(sql) for _ in self.sandbox.servers] for sql in queries]
        return [list(of_server) for of_server in zip(*by_query, strict=True)]

    def zk(self, segment: str) -> dict[str, str]:
        answer = httpx.get(f"{self.sandbox.controller_url}/segments/{self.name}/{segment}/metadata")
        assert answer.is_success, answer.text
        found: dict[str, str] = answer.json()
        return found

    def add_indexes(self, *, reload: bool) -> None:
        """The change. Servers that reload commit what they consume, as Pinot's do."""
        config = self.sandbox.table_config(self.table)
        config["tableIndexConfig"].update(
            invertedIndexColumns=["city"], rangeIndexColumns=["at"], bloomFilterColumns=["id"]
        )
        self.sandbox.update_table_config(config)
        if reload:
            self.sandbox.reload(self.table)
            self.sandbox.wait_until_loaded(self.table)

    def make_amounts_doubles(self) -> None:
        """A change that servers cannot make to their copies: values have to be written anew."""
        schema = self.sandbox.schema(self.table)
        schema["metricFieldSpecs"][0]["dataType"] = "DOUBLE"
        self.sandbox.update_schema(schema, force=True)
        self.sandbox.commit(self.table)  # what consumes now, does so with the schema as it is now

    def hash(self) -> str:
        return table_hash(self.sandbox.table_config(self.table), self.sandbox.schema(self.table))

    def check_wiped_server(self) -> None:
        """A server that comes back with an empty disk has nothing to build: its copies are what the deep store has."""
        segments = self.sync.look()
        server = self.sandbox.servers[0]
        self.sandbox.restart_server(server, wipe=True)
        for name, segment in segments.items():
            local = self.sandbox.server_segment_dir(server, self.table, name)
            for path, digest in segment.content.items():
                assert hashlib.sha256((local / path).read_bytes()).hexdigest() == digest, (name, path)


@pytest.fixture
def orders_table(sandbox: Sandbox) -> Iterator[Callable[..., Orders]]:
    """Makes the table, with further sections of its config if given."""
    with ExitStack() as stack:

        def make(*, partitions: int = 1, stream: dict[str, str] | None = None, **sections: Any) -> Orders:
            name = f"orders{uuid.uuid4().hex[:8]}"
            configs = sandbox.create_stream(name, partitions) | (stream or {})
            sandbox.create_table(orders_config(name, configs, **sections), orders_schema(name, key=bool(sections)))
            return Orders(sandbox, stack.enter_context(syncing(sandbox, f"{name}_REALTIME")), name)

        yield make


def worked_on(rows: dict[str, SegmentOutcome]) -> dict[str, SegmentOutcome]:
    return {name: row for name, row in rows.items() if row.outcome is not Outcome.NOT_ELIGIBLE}


@pytest.mark.parametrize("reload", [False, True], ids=["refresh", "quiet"])
@pytest.mark.parametrize("sections", [{}, UPSERT, DEDUP], ids=["plain", "upsert", "dedup"])
def test_committed_segments_are_synced(
    orders_table: Callable[..., Orders], sections: dict[str, Any], reload: bool
) -> None:
    table = orders_table(partitions=2, **sections)
    sandbox, sync = table.sandbox, table.sync
    synced = table.commit(orders(range(60), amount=1))
    synced += table.commit(orders(range(100, 130), amount=1), partition=1)
    # Later rows of some keys in the next segment, and in what is still consumed.
    synced += table.commit(orders(range(40, 80), amount=100, at=1000))
    table.consume(orders(range(50, 90), amount=10_000, at=2000))
    assert len(synced) == 3
    table.add_indexes(reload=reload)
    synced += [name for name in sync.look() if name not in synced and table.zk(name)["segment.total.docs"] != "0"]
    answers = table.answers()
    before = sync.look()
    sandbox.reset_downloads()

    rows = sync.run()

    after = sync.look()
    for name, row in rows.items():
        if name in synced:
            assert (row.outcome, row.mode) == (
                Outcome.SYNCED,
                PublishMode.QUIET if reload else PublishMode.REFRESH,
            ), row
            assert after[name].stamp == table.hash()
            assert after[name].indexes >= INDEXES
            assert (after[name].crc == before[name].crc) is reload
            assert reload or set(row.proven) == set(sandbox.servers)
            assert table.zk(name)["segment.realtime.status"] == ("DONE" if reload else "UPLOADED")
        else:
            assert row.outcome is Outcome.NOT_ELIGIBLE
            assert row.message.startswith("consuming" if name not in before else "no rows")
            assert after.get(name) == before.get(name)
    assert sync.downloads() == dict.fromkeys(sandbox.servers, 0 if reload else len(synced))
    table.settle_at(answers)
    assert sync.reports[-1].undone == ()

    # A second run changes nothing.
    assert outcomes(worked_on(sync.run())) == {Outcome.SKIPPED}
    assert sync.look() == after

    # Consumption goes on, also into keys of segments that were published, and so do commits.
    table.consume(orders(range(95), amount=1_000_000, at=3000))
    assert table.answers() != answers
    answers = table.answers()
    (new,) = table.commit([])
    table.settle_at(answers)
    rows = worked_on(sync.run(force=True))
    assert rows[new].outcome in (Outcome.SYNCED, Outcome.STAMPED)
    assert {row.outcome for name, row in rows.items() if name != new} == {Outcome.SKIPPED}
    table.settle_at(answers)

    table.check_wiped_server()
    table.settle_at(answers)
    stale = [set(answer.stale) & {*synced, new} for answer in sync.services.controller.stale(table.table).values()]
    assert stale == [set()] * len(sandbox.servers)


def test_where_keys_expire_servers_are_never_made_to_replace_a_segment(orders_table: Callable[..., Orders]) -> None:
    table = orders_table(**EXPIRING)
    sandbox, sync = table.sandbox, table.sync
    (first,) = table.commit(orders(range(20), amount=1))
    table.commit(orders(range(4), amount=100, at=1000))
    table.commit(orders(range(50, 55), amount=7, at=1_000_000))  # every key above has expired now
    answers = table.answers()
    assert answers[0][0][0] == 25
    before = sync.look()

    table.add_indexes(reload=False)
    for force in (False, True):
        rows = sync.run(force=force)
        assert outcomes(rows) == {Outcome.NOT_ELIGIBLE}
        assert "metadataTTL or deletedKeysTTL" in rows[first].message
        assert "reload the table on the servers" in rows[first].message
    assert sync.look() == before
    table.settle_at(answers)

    sandbox.reload(table.table)
    sandbox.wait_until_loaded(table.table)
    table.settle_at(answers)
    sandbox.reset_downloads()
    rows = sync.run()
    assert {(row.outcome, row.mode) for row in worked_on(rows).values()} == {(Outcome.SYNCED, PublishMode.QUIET)}
    assert set(worked_on(rows)) >= before.keys()
    assert sync.look()[first].indexes >= INDEXES
    assert sync.look()[first].stamp == table.hash()
    assert sync.downloads() == dict.fromkeys(sandbox.servers, 0)
    table.settle_at(answers)
    assert outcomes(worked_on(sync.run())) == {Outcome.SKIPPED}
    sandbox.restart_server(sandbox.servers[0], wipe=False)
    table.settle_at(answers)

    # What a refresh would have done: rows that were superseded before their keys expired are there again.
    sandbox.reload(table.table, first, force_download=True)
    assert table.answers()[0][0][0] > answers[0][0][0]


def test_of_rows_that_tie_the_same_ones_stay_valid(orders_table: Callable[..., Orders]) -> None:
    table = orders_table(**UPSERT)
    for amount in (1, 100, 10_000):
        table.commit(orders(range(20), amount=amount))
    table.consume(orders(range(5), amount=1_000_000, at=15))
    answers = table.answers()
    assert answers[0][0][:2] == [20, 15 * 10_000 + 5 * 1_000_000]
    table.add_indexes(reload=False)
    assert {row.mode for row in worked_on(table.sync.run()).values()} == {PublishMode.REFRESH}
    table.settle_at(answers)
    table.check_wiped_server()
    table.settle_at(answers)


@pytest.mark.parametrize("reload", [False, True], ids=["refresh", "quiet"])
@pytest.mark.parametrize("sections", [{}, UPSERT], ids=["plain", "upsert"])
def test_uploaded_segments_are_synced(
    orders_table: Callable[..., Orders], sections: dict[str, Any], reload: bool
) -> None:
    table = orders_table(partitions=1 if sections else 0, **sections)
    sandbox, sync = table.sandbox, table.sync
    # Named so that Pinot finds the partition in it.
    names = [f"uploaded__{table.name}__0__20231114T000{number}Z__{number}" for number in range(2)]
    archives = sandbox.build_segments(
        {names[0]: orders(range(20), amount=1), names[1]: orders(range(10, 30), amount=100, at=1000)},
        table_config=sandbox.table_config(table.table),
        schema=sandbox.schema(table.table),
    )
    for archive in archives:
        sandbox.push_segment(table.table, archive)
    sandbox.wait_until_loaded(table.table)
    if sections:
        table.consume(orders(range(5), amount=10_000, at=2000))
    answers = table.answers()
    assert answers[0][0][0] == (30 if sections else 40)
    table.add_indexes(reload=reload)
    rows = worked_on(sync.run())
    assert {rows[name].outcome for name in names} == {Outcome.SYNCED}
    assert {rows[name].mode for name in names} == {PublishMode.QUIET if reload else PublishMode.REFRESH}
    assert {table.zk(name)["segment.realtime.status"] for name in names} == {"UPLOADED"}
    table.settle_at(answers)
    assert outcomes(worked_on(sync.run())) == {Outcome.SKIPPED}
    table.check_wiped_server()
    table.settle_at(answers)


@pytest.mark.parametrize("sections", [UPSERT, DEDUP], ids=["upsert", "dedup"])
def test_values_are_written_anew_in_the_order_of_their_rows(
    orders_table: Callable[..., Orders], sections: dict[str, Any]
) -> None:
    table = orders_table(**sections)
    synced = table.commit(orders(range(60), amount=1))
    synced += table.commit(orders(range(40, 80), amount=2**24 + 1, at=1000))
    answers = table.answers()
    table.make_amounts_doubles()

    rows = worked_on(table.sync.run())

    assert rows.keys() == set(synced)
    assert {(row.outcome, row.mode) for row in rows.values()} == {(Outcome.SYNCED, PublishMode.REFRESH)}
    assert all("amount: data type LONG → DOUBLE" in row.changes for row in rows.values())
    table.settle_at(answers)
    table.consume(orders(range(95), amount=3, at=3000))
    table.check_wiped_server()
    assert table.answers()[0][0][0] == 95
    assert outcomes(worked_on(table.sync.run())) == {Outcome.SKIPPED}


def test_what_would_put_rows_into_another_order_is_refused(orders_table: Callable[..., Orders]) -> None:
    for sections in (UPSERT, DEDUP):
        table = orders_table(**sections)
        (name,) = table.commit(orders(range(20), amount=1))
        config = table.sandbox.table_config(table.table)
        config["tableIndexConfig"]["sortedColumn"] = ["city"]
        table.sandbox.update_table_config(config)
        before = table.sync.look()
        row = table.sync.run()[name]
        assert row.outcome is Outcome.NOT_ELIGIBLE
        assert "not sorted by 'city'" in row.message
        assert "order" in row.message
        assert table.sync.look() == before


def test_where_keys_expire_no_values_are_written_anew(orders_table: Callable[..., Orders]) -> None:
    table = orders_table(**EXPIRING)
    (name,) = table.commit(orders(range(20), amount=1))
    table.make_amounts_doubles()
    before = table.sync.look()
    row = table.sync.run()[name]
    assert row.outcome is Outcome.NOT_ELIGIBLE
    assert "metadataTTL" in row.message
    assert table.sync.look() == before


def test_servers_are_made_to_take_what_the_deep_store_has(orders_table: Callable[..., Orders]) -> None:
    table = orders_table(**UPSERT)
    sandbox, sync = table.sandbox, table.sync
    synced = table.commit(orders(range(20), amount=1)) + table.commit(orders(range(10, 30), amount=100, at=1000))
    config = sandbox.table_config(table.table)
    assert {(row.outcome, row.changes) for row in worked_on(sync.run(force=True)).values()} == {(Outcome.STAMPED, ())}
    answers, before = table.answers(), sync.look()
    table.add_indexes(reload=True)
    sandbox.update_table_config(config)
    sandbox.reset_downloads()
    rows = sync.run(segments=tuple(synced))
    assert outcomes(rows) == {Outcome.SYNCED}
    assert {set(row.proven) == set(sandbox.servers) for row in rows.values()} == {True}
    assert sync.downloads() == dict.fromkeys(sandbox.servers, len(synced))
    after = sync.look()
    assert [after[name] for name in synced] == [before[name] for name in synced]
    table.settle_at(answers)


def test_consumption_that_is_paused_resumes_where_it_was(orders_table: Callable[..., Orders]) -> None:
    table = orders_table()
    controller = f"{table.sandbox.controller_url}/tables/{table.table}"
    table.commit(orders(range(10), amount=1))
    table.consume(orders(range(10, 20), amount=1))
    consuming = table.consuming()
    assert httpx.post(f"{controller}/pauseConsumption", timeout=60).is_success
    table.sandbox.wait_until_committed(table.table, consuming)
    table.add_indexes(reload=False)
    rows = table.sync.run()
    assert {row.mode for row in rows.values()} == {PublishMode.REFRESH}
    assert {table.zk(name)["segment.realtime.status"] for name in rows} == {"UPLOADED"}
    table.sandbox.produce(table.name, orders(range(20, 25), amount=1))
    assert httpx.post(f"{controller}/resumeConsumption", timeout=60).is_success
    until(lambda: bool(table.consuming()))  # the controller makes a consuming segment when it gets to it
    assert table.commit(orders(range(25, 30), amount=1))
    assert table.answers()[0][0][:2] == [30, 30]


def test_pauseless_consumption_and_segments_that_are_committing(orders_table: Callable[..., Orders]) -> None:
    """The status is set by hand: without a fault, a segment is committing for a moment only."""
    table = orders_table()
    config = table.sandbox.table_config(table.table)
    stream = config["tableIndexConfig"].pop("streamConfigs")
    config["segmentsConfig"]["peerSegmentDownloadScheme"] = "http"
    config["ingestionConfig"] = {
        "streamIngestionConfig": {"streamConfigMaps": [stream], "pauselessConsumptionEnabled": True}
    }
    table.sandbox.update_table_config(config)
    synced = table.commit(orders(range(10), amount=1))
    synced += table.commit(orders(range(10, 20), amount=1))
    (committing,) = table.commit(orders(range(20, 30), amount=1))
    path = f"/sandbox/PROPERTYSTORE/SEGMENTS/{table.table}/{committing}"
    zookeeper = f"{table.sandbox.controller_url}/zk"
    record = httpx.get(f"{zookeeper}/get", params={"path": path}).json()
    record["simpleFields"]["segment.realtime.status"] = "COMMITTING"
    assert httpx.put(f"{zookeeper}/put", params={"path": path}, content=json.dumps(record)).is_success
    table.add_indexes(reload=False)
    before = table.sync.look()
    rows = table.sync.run()
    assert {(rows[name].outcome, rows[name].mode) for name in synced} == {(Outcome.SYNCED, PublishMode.REFRESH)}
    assert rows[committing].outcome is Outcome.NOT_ELIGIBLE
    assert rows[committing].message.startswith("committing")
    assert table.sync.look()[committing] == before[committing]
    assert table.answers()[0][0][:2] == [30, 30]
