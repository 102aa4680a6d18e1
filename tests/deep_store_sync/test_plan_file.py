"""A plan's file: whoever works on a batch reads that and little more."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import cast

import pytest
from tests.deep_store_sync.test_plan import HASH, Limits, plan, record

from deep_store_sync.errors import DeepStoreSyncError
from deep_store_sync.model import Plan, RunRequest
from deep_store_sync.plan import batches
from deep_store_sync.plan_file import PlanReader, write_plan
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.workspace import Workspace


class Watched(io.BytesIO):
    """A file that notes what is fetched of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.fetched: list[tuple[int, int]] = []

    def fetch(self, start: int, length: int) -> None:
        self.fetched.append((start, length))


def large_plan() -> Plan:
    records = [record(f"s{number:05d}", size=10, end_ms=number) for number in range(30_000)]
    records += [record(f"t{number:05d}", stamped=HASH) for number in range(100)]
    limits = Limits(audit_bytes=250_000, batch_bytes=10**12, batch_segments=100)
    return plan(records, RunRequest("r", segments=("*",), interval=None), limits=limits)


@pytest.fixture(scope="module")
def whole() -> Plan:
    return large_plan()


def written(plan: Plan) -> bytes:
    file = io.BytesIO()
    write_plan(file, plan)
    return file.getvalue()


def test_a_plan_comes_back_as_it_was(whole: Plan) -> None:
    found = PlanReader(io.BytesIO(written(whole))).whole(None)
    assert found == replace(whole, segments=tuple(whole.segments))
    assert found.work == 25_000
    assert len(found.segments) == 30_100


def test_a_batch_is_read_with_few_others(whole: Plan) -> None:
    data = Watched(written(whole))
    reader = PlanReader(data)
    rows = tuple(whole.segments)
    for batch in batches(whole)[::50]:
        data.fetched.clear()
        found = reader.whole(batch.id)
        assert found.segments == tuple(row for row in rows if row.batch == batch.id)
        assert len(found.segments) == batch.segments
        assert found.work == 25_000
        ((_, length),) = data.fetched
        assert length < len(data.getvalue()) / 2
    data.fetched.clear()
    assert reader.whole("b9999").segments == ()
    assert data.fetched == []


def test_a_small_plan_of_plain_rows_is_read_in_the_same_way(whole: Plan) -> None:
    rows = [row for row in whole.segments if row.batch is not None][:150]
    plain = replace(whole, segments=tuple(rows), work=None)
    reader = PlanReader(io.BytesIO(written(plain)))
    assert reader.plan.work == 150
    assert reader.whole(rows[-1].batch).segments == tuple(row for row in rows if row.batch == rows[-1].batch)
    assert PlanReader(io.BytesIO(written(replace(plain, segments=())))).whole("b0000").segments == ()


def test_something_else_is_no_plan() -> None:
    with pytest.raises(DeepStoreSyncError, match="PlannedSegment"):
        PlanReader(io.BytesIO(b"<html>"))


def test_of_a_plan_in_the_workspace_only_parts_are_fetched(whole: Plan, store: DeepStore, prefix: str) -> None:
    workspace = Workspace(store, prefix)
    workspace.write_plan(whole)
    batch = batches(whole)[3].id
    assert workspace.read_plan(batch) == PlanReader(io.BytesIO(written(whole))).whole(batch)
    assert workspace.read_plan() == replace(whole, segments=tuple(whole.segments))
    assert cast(int, workspace.read_plan(batch).work) == 25_000
