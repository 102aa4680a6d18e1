"""Metrics, as they arrive at a StatsD server that Airflow is set to send to."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.observability.metrics import statsd_logger
from airflow.sdk._shared.observability.metrics import stats
from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
from airflow.sdk.observability.stats import Stats
from tests.deep_store_sync_airflow.run_reports import DRY_RUN, REPORT, report
from tests.markdown import REPOSITORY, Document, code, rows

from deep_store_sync.model import Outcome
from deep_store_sync_airflow.metrics import count_run, show_table, timed

Received = Callable[[], dict[str, str]]


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    """What has arrived until now: name to value and kind (`c` counter, `g` gauge, `ms` timer)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_HOST", "127.0.0.1")
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_PORT", str(server.getsockname()[1]))
        send_there()

        def read() -> dict[str, str]:
            Stats.incr("the_end")
            found: dict[str, str] = {}
            while True:
                name, _, value = server.recv(65536).decode().partition(":")
                if name == "airflow.the_end":
                    return found
                assert name not in found
                found[name] = value

        yield read
        close()
        Stats.initialize(factory=NoStatsLogger, export_legacy_names=False)


def send_there() -> None:
    """Has metrics sent to where the environment says, as Airflow does when a task begins."""
    close()
    Stats.initialize(factory=statsd_logger.get_statsd_logger, export_legacy_names=False)


def close() -> None:
    client: Any = getattr(stats._get_backend(), "statsd", None)
    if client is not None:
        client.close()


def test_what_a_run_came_to(received: Received) -> None:
    count_run(REPORT)
    assert received() == {
        "airflow.deep_store_sync.segments.synced": "12|c",
        "airflow.deep_store_sync.segments.skipped": "3|c",
        "airflow.deep_store_sync.segments.lost_race": "1|c",
        "airflow.deep_store_sync.downloaded_bytes": "5300000|c",
        "airflow.deep_store_sync.uploaded_bytes": "7600000|c",
        "airflow.deep_store_sync.server_downloads": "4|c",
    }


def test_how_far_a_table_is(received: Received) -> None:
    show_table(report(table="sales.flights_OFFLINE"))
    assert received() == {
        "airflow.deep_store_sync.table.sales__flights_OFFLINE.segments_in_sync": "15|g",
        "airflow.deep_store_sync.table.sales__flights_OFFLINE.segments_left": "1|g",
        "airflow.deep_store_sync.table.sales__flights_OFFLINE.bytes_left": "400000|g",
    }


def test_a_dry_run_counts_for_nothing(received: Received) -> None:
    count_run(DRY_RUN)
    assert received() == {}


def test_steps_are_timed_also_when_they_fail(received: Received) -> None:
    with timed("find", "flights_OFFLINE"):
        pass
    with pytest.raises(ValueError, match="broken"), timed("stamp", "flights_OFFLINE"):
        raise ValueError("broken")
    found = received()
    assert set(found) == {"airflow.deep_store_sync.find", "airflow.deep_store_sync.stamp"}
    assert all(re.fullmatch(r"[\d.]+\|ms", value) for value in found.values())


def test_tables_are_told_apart_where_there_are_tags(received: Received, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED", "True")
    send_there()
    count_run(report(counts={Outcome.SYNCED: 2}, downloaded_bytes=0, uploaded_bytes=0, server_downloads=0))
    assert received() == {"airflow.deep_store_sync.segments.synced,table=flights_OFFLINE": "2|c"}


def test_every_metric_is_in_the_guide(received: Received) -> None:
    count_run(report(counts=dict.fromkeys(Outcome, 1)))
    show_table(REPORT)
    for step in ("find", "rebuild", "publish", "stamp"):
        with timed(step, "flights_OFFLINE"):
            pass
    kinds = {"c": "counter", "g": "gauge", "ms": "timer"}
    sent = {
        (name.removeprefix("airflow.").replace("flights_OFFLINE", "<table>"), kinds[value.rpartition("|")[2]])
        for name, value in received().items()
    }
    sent = {(re.sub(r"segments\.\w+$", "segments.<outcome>", name), kind) for name, kind in sent}
    told = {
        (name, cells[1])
        for cells in rows(Document(REPOSITORY / "docs" / "operating.md").section("Metrics"))
        for name in code(cells[0])
    }
    assert sent == told
