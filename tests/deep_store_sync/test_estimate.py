"""What a plan would cost, from its columns."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep_store_sync.estimate import Estimate, OfAction, OfReason, Pace, estimate, estimate_lines
from deep_store_sync.model import Action, PlannedSegment, Servers, StampState
from deep_store_sync.rows import record_batch

EXPIRING = {"upsertConfig": {"mode": "FULL", "metadataTTL": 5}}


def planned(action: Action, servers: Servers = Servers.CLEAN, size: int = 100, **more: Any) -> PlannedSegment:
    given = {"segment": "s", "reason": "why", "table_hash": "v1:0", "stamp": StampState.NONE, "replicas": ("a", "b")}
    return PlannedSegment(action=action, servers=servers, size_bytes=size, **(given | more))


def estimated(*rows: PlannedSegment, at_once: int = 100, config: Any = None, pace: Pace | None = None) -> Estimate:
    groups = [record_batch(rows[start : start + at_once], PlannedSegment) for start in range(0, len(rows), at_once)]
    return estimate(groups, config or {}, pace)


def test_segments_are_counted_by_action_and_by_reason() -> None:
    found = estimated(
        planned(Action.SKIP, reason="stamped"),
        planned(Action.REBUILD, reason="stale: a", batch="b0000"),
        planned(Action.REBUILD, reason="stale: b", batch="b0000", size=7),
        planned(Action.REBUILD, reason="stale: b", batch="b0001", size=8),
        planned(Action.DEFER, reason="auditBudget is 0"),
    )
    assert (found.segments, found.work, found.batches) == (5, 3, 2)
    assert found.actions == (
        OfAction(Action.SKIP, 1, 100),
        OfAction(Action.REBUILD, 3, 115),
        OfAction(Action.DEFER, 1, 100),
    )
    assert found.reasons[0] == OfReason(Action.REBUILD, "stale: b", 2, 15)
    assert sum(of.segments for of in found.reasons) == 5


def test_bytes_by_what_is_done_with_them() -> None:
    found = estimated(
        planned(Action.REBUILD, size=1),
        planned(Action.AUDIT, size=10),
        planned(Action.RELOAD, size=100),
        planned(Action.SKIP),
    )
    assert (found.download_bytes, found.rebuild_bytes, found.upload_bytes) == (111, 11, 11)


@pytest.mark.parametrize(
    ("action", "servers", "expected", "most"),
    [
        (Action.REBUILD, Servers.CLEAN, 0, 2),
        (Action.AUDIT, Servers.CLEAN, 0, 2),
        (Action.REBUILD, Servers.STALE, 2, 2),
        (Action.REBUILD, Servers.UNKNOWN, 2, 2),
        (Action.AUDIT, Servers.UNKNOWN, 2, 2),
        (Action.RELOAD, Servers.STALE, 2, 2),
        (Action.SKIP, Servers.CLEAN, 0, 0),
        (Action.DEFER, Servers.STALE, 0, 0),
        (Action.NOT_ELIGIBLE, Servers.STALE, 0, 0),
    ],
)
def test_servers_download_what_cannot_be_published_quietly(
    action: Action, servers: Servers, expected: int, most: int
) -> None:
    found = estimated(planned(action, servers))
    assert (found.server_downloads, found.server_downloads_most) == (expected, most)
    assert (found.server_download_bytes, found.server_download_bytes_most) == (100 * expected, 100 * most)
    expiring = estimated(planned(action, servers), config=EXPIRING)
    assert (expiring.server_downloads, expiring.server_downloads_most) == (0, 0)


def test_urls_are_no_reasons_of_their_own() -> None:
    found = estimated(
        *(
            planned(Action.NOT_ELIGIBLE, reason=f"its download URL 's3://b/{n}' lies outside deepStorePrefixes")
            for n in range(3)
        ),
        planned(Action.REBUILD, reason="stale on servers: see s3://b/x"),
    )
    assert {(of.reason, of.segments) for of in found.reasons} == {
        ("its download URL '… lies outside deepStorePrefixes", 3),
        ("stale on servers: see s3://b/x", 1),
    }


def test_time_is_that_of_past_runs_or_not_known() -> None:
    row = planned(Action.REBUILD, size=3_000_000, batch="b0000")
    found = estimated(row, pace=Pace(2, 1_000_000, 10.0))
    assert found.seconds == 30.0
    assert "time: about 30 s, at the 100.0 kB a second of 2 finished runs, their waiting included" in estimate_lines(
        found
    )
    assert estimated(row).seconds is None
    assert any("time: not known" in line for line in estimate_lines(estimated(row)))


def test_what_has_no_size_is_told() -> None:
    found = estimated(planned(Action.REBUILD, size=0), planned(Action.SKIP, size=0), planned(Action.REBUILD))
    assert found.unsized == 1
    assert any(line.startswith("1 of these segments have no size") for line in estimate_lines(found))


def test_an_empty_plan_and_one_without_work_cost_nothing() -> None:
    assert estimated() == Estimate(0, 0, 0, (), (), 0, 0, 0, 0, 0, 0, 0, 0, None, None)
    assert estimate_lines(estimated()) == ["nothing to do: none of 0 segments would be worked on"]
    found = estimated(planned(Action.SKIP), pace=Pace(1, 1, 1.0))
    assert estimate_lines(found) == ["nothing to do: none of 1 segments would be worked on"]
    assert found.seconds == 0


ROWS = st.builds(
    planned,
    st.sampled_from(Action),
    st.sampled_from(Servers),
    st.integers(0, 10**12),
    replicas=st.lists(st.sampled_from("abc"), unique=True).map(tuple),
    reason=st.sampled_from(["why", "s3://b/x", ""]),
)


@given(st.lists(ROWS, max_size=30), st.integers(1, 7))
def test_however_the_plan_is_cut_into_groups(rows: list[PlannedSegment], at_once: int) -> None:
    found = estimated(*rows, at_once=at_once)
    assert found == estimated(*rows)
    assert sum(of.segments for of in found.reasons) == sum(of.segments for of in found.actions) == len(rows)
    assert sum(of.bytes for of in found.reasons) == sum(row.size_bytes for row in rows)
    assert 0 <= found.server_downloads <= found.server_downloads_most
    assert found.upload_bytes <= found.download_bytes


def test_columns_of_a_file_are_as_good() -> None:
    rows = [planned(Action.REBUILD, Servers.STALE, batch="b0000")]
    table = pa.Table.from_batches([record_batch(rows, PlannedSegment)])
    assert estimate([table], {}) == estimated(*rows)
