"""A backfill up to today covers every segment once, whatever its time range looks like.

The intervals are those that `airflow backfill create` makes, the segments are as a controller prints them.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.models.backfill import _get_info_list
from airflow.sdk import ParamsDict
from airflow.serialization.serialized_objects import DagSerialization
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_store_sync.model import RunRequest
from deep_store_sync.pinot.segment_columns import segment_columns
from deep_store_sync.plan import in_scope
from deep_store_sync.planning.table_state import column, one_chunk
from deep_store_sync.settings import TableSync
from deep_store_sync.time_units import UNIT_NS
from deep_store_sync_airflow.dag_factory import build_dag
from deep_store_sync_airflow.run_request import run_params, run_request

NOW = datetime.now(UTC)
SCHEDULES = {
    "yearly": ("0 0 1 1 *", "UTC", timedelta(days=3000)),
    "monthly": ("0 0 1 * *", "Asia/Kolkata", timedelta(days=900)),
    # Over the days on which Berlin's clocks are put forward and back.
    "daily": ("30 2 * * *", "Europe/Berlin", timedelta(days=370)),
}
DAY_MS = 86_400_000


@cache
def backfill(name: str) -> list[RunRequest]:
    """What the runs of a backfill up to now are asked to do, the oldest first."""
    schedule, timezone, back = SCHEDULES[name]
    table = TableSync(
        table="t_OFFLINE",
        deep_store_prefixes=("s3://b/d",),
        workspace="s3://b/w",
        schedule=schedule,
        timezone=timezone,
    )
    dag = DagSerialization.from_dict(DagSerialization.to_dict(build_dag(table)))
    infos = _get_info_list(from_date=NOW - back, to_date=NOW, reverse=False, dag=dag)
    return [run_request(context(info.data_interval.start, info.data_interval.end), table) for info in infos]


def context(start: datetime, end: datetime) -> Any:
    run = SimpleNamespace(run_type="backfill", conf=None, start_date=NOW)
    params = ParamsDict(run_params()).validate()
    return {"run_id": "r", "params": params, "dag_run": run, "data_interval_start": start, "data_interval_end": end}


def fields(
    unit: str | None, start: int | None, end: int | None, pushed: int | None, created: int | None
) -> dict[str, str]:
    """A segment as the controller prints it. `start` and `end` are in the unit, the others in ms."""
    given = {
        "segment.time.unit": unit,
        "segment.start.time": start,
        "segment.end.time": end,
        "segment.push.time": pushed,
        "segment.creation.time": created,
    }
    return {key: str(value) for key, value in given.items() if value is not None}


def moment(of: dict[str, str]) -> int | None:
    """When the segment starts, or was pushed or made, in ms."""
    unit, start = UNIT_NS.get(of.get("segment.time.unit", "")), int(of.get("segment.start.time", -1))
    if unit and start > 0 and start * unit // 1_000_000 < 2**63:
        return start * unit // 1_000_000
    return next((int(of[key]) for key in ("segment.push.time", "segment.creation.time") if key in of), None)


now_ms = round(NOW.timestamp() * 1000)
instants = st.one_of(
    st.integers(now_ms - 4000 * DAY_MS, now_ms + 4000 * DAY_MS),
    st.integers(now_ms - 40 * DAY_MS, now_ms),
    st.sampled_from([edge + by for name in SCHEDULES for request in backfill(name) for edge in request.interval or ()
                     if edge is not None for by in (-1, 0, 1)]),
)  # fmt: skip


@st.composite
def segments(draw: st.DrawFn) -> dict[str, str]:
    unit = draw(st.sampled_from([*UNIT_NS, None, "FORTNIGHTS"]))
    in_unit = UNIT_NS.get(unit or "", 1_000_000)
    start = draw(st.none() | st.sampled_from([-1, 0, 2**62]) | instants.map(lambda ms: ms * 1_000_000 // in_unit))
    length = draw(st.sampled_from([0, 1, 40 * DAY_MS, 800 * DAY_MS]))
    end = None if start is None else start + length * 1_000_000 // in_unit
    return fields(unit, start, end, draw(st.none() | instants), draw(st.none() | instants))


@pytest.mark.parametrize("name", SCHEDULES)
@settings(max_examples=40, deadline=None)
@given(found=st.lists(segments(), min_size=1, max_size=20))
def test_every_segment_is_in_one_run(name: str, found: list[dict[str, str]]) -> None:
    requests = backfill(name)
    body = {f"s{number}": of for number, of in enumerate(found)}
    table = one_chunk(segment_columns(iter([json.dumps(body).encode()])))
    covered = Counter[str]()
    for request in requests:
        covered.update(column(table, "name").take(in_scope(table, request)).to_pylist())
    first = requests[0].interval
    assert first is not None
    before = {name for name, of in body.items() if (at := moment(of)) is not None and at < first[0]}
    assert covered == dict.fromkeys(body.keys() - before, 1)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_runs_of_a_backfill_leave_no_gap_and_the_last_has_no_end(name: str) -> None:
    intervals = [request.interval for request in backfill(name)]
    assert len(intervals) > 5
    assert all(request.force for request in backfill(name))
    for earlier, later in pairwise(intervals):
        assert earlier is not None
        assert later is not None
        assert earlier[1] == later[0]
    assert intervals[-1] is not None
    assert intervals[-1][1] is None
