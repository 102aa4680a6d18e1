"""What Airflow shows of a run: a line, an event, the state of an asset."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk import Asset, AssetAlias
from tests.deep_store_sync_airflow.run_reports import DRY_RUN, REPORT, report

from deep_store_sync.model import Outcome, RunRequest
from deep_store_sync.settings import TableSync
from deep_store_sync_airflow.assets import changed_alias, deep_store_asset, tell_asset
from deep_store_sync_airflow.run_facts import changes, last_run, looked_at_all, summary, table_status


def test_a_run_in_a_line() -> None:
    assert summary(REPORT) == (
        "12 synced (10 quiet, 2 by refresh), 3 skipped, 1 lost race; 7.6 MB uploaded, 4 server downloads; "
        "15 of 16 segments in sync"
    )
    assert summary(report(counts={}, uploaded_bytes=0, server_downloads=0)).startswith("no segments; 0 B uploaded")


def test_a_dry_run_in_a_line() -> None:
    assert summary(DRY_RUN) == "dry run: nothing to do"
    assert DRY_RUN.estimate is not None
    planned = replace(DRY_RUN.estimate, work=2, segments=5, download_bytes=800_000, server_downloads=4)
    assert summary(replace(DRY_RUN, estimate=planned)) == (
        "dry run: 2 of 5 segments would be worked on, of 800.0 kB, with 4 server downloads"
    )


def test_facts_are_json() -> None:
    event = json.loads(json.dumps(changes(REPORT)))
    assert event["segments"] == {"lost race": 1, "skipped": 3, "synced": 12}
    assert (event["uploadedBytes"], event["tableHash"], event["report"]) == (7_600_000, "v1:abc", REPORT.url)
    state = json.loads(json.dumps(last_run(report(undone=("a", "b")), "run 1")))
    assert (state["run"], state["undone"]) == ("run 1", 2)
    assert event.items() <= state.items()
    assert table_status(REPORT, "run 1")["inSync"] is False
    assert table_status(report(progress=replace(REPORT.progress, left=0)), "run 1")["inSync"] is True


@pytest.mark.parametrize(
    ("request_", "all_of_it"),
    [
        (RunRequest("r"), True),
        (RunRequest("r", force=True, max_segments=1), True),
        (RunRequest("r", segments=("a*",)), False),
        (RunRequest("r", interval=(0, 1)), False),
    ],
    ids=["scheduled", "bounded", "narrowed", "backfill"],
)
def test_only_a_run_of_the_whole_table_says_how_the_table_is(request_: RunRequest, all_of_it: bool) -> None:
    assert looked_at_all(request_) is all_of_it


# --- the asset -------------------------------------------------------------------------------------------------------


class FakeState(dict[str, Any]):
    """The state store of an asset."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


class FakeEvents:
    """The events of an alias."""

    def __init__(self) -> None:
        self.events: list[tuple[Asset, dict[str, Any]]] = []

    def add(self, asset: Asset, *, extra: dict[str, Any]) -> None:
        self.events.append((asset, extra))


@pytest.fixture
def told(settings: TableSync) -> Any:
    return {
        "asset_state_store": {deep_store_asset(settings): FakeState()},
        "outlet_events": {changed_alias(settings): FakeEvents()},
    }


def test_an_asset_of_its_own_for_each_table(settings: TableSync) -> None:
    other = settings.model_copy(update={"table": "sales.flights_OFFLINE"})
    assert deep_store_asset(settings).uri == "deep-store-sync://table/flights_OFFLINE"
    assert deep_store_asset(other).uri == "deep-store-sync://table/sales.flights_OFFLINE"
    assert isinstance(changed_alias(settings), AssetAlias)
    assert changed_alias(settings) != changed_alias(other)


def test_a_run_that_changed_something(settings: TableSync, told: Any) -> None:
    tell_asset(told, settings, RunRequest("run 1"), REPORT)
    ((asset, extra),) = told["outlet_events"][changed_alias(settings)].events
    assert asset == deep_store_asset(settings)
    assert extra == changes(REPORT)
    state = told["asset_state_store"][asset]
    assert set(state) == {"table", "last_run"}
    assert (state["table"]["left"], state["last_run"]["run"]) == (1, "run 1")


def test_a_run_that_changed_nothing_makes_no_event(settings: TableSync, told: Any) -> None:
    tell_asset(told, settings, RunRequest("run 1"), report(counts={Outcome.SKIPPED: 3, Outcome.STAMPED: 1}))
    assert told["outlet_events"][changed_alias(settings)].events == []
    assert set(told["asset_state_store"][deep_store_asset(settings)]) == {"table", "last_run"}


def test_a_run_of_a_part_leaves_the_state_of_the_table(settings: TableSync, told: Any) -> None:
    tell_asset(told, settings, RunRequest("run 1", segments=("a*",)), REPORT)
    assert set(told["asset_state_store"][deep_store_asset(settings)]) == {"last_run"}


def test_an_airflow_that_keeps_no_state(settings: TableSync, told: Any) -> None:
    del told["asset_state_store"]
    tell_asset(told, settings, RunRequest("run 1"), REPORT)
    assert len(told["outlet_events"][changed_alias(settings)].events) == 1
