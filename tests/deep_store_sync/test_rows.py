"""Rows survive Parquet."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from deep_store_sync.errors import DeepStoreSyncError
from deep_store_sync.model import (
    Action,
    Outcome,
    Pending,
    PlannedSegment,
    Published,
    PublishMode,
    RebuildResult,
    Rebuilt,
    Servers,
    StampState,
)
from deep_store_sync.rows import from_parquet, to_parquet

PLANNED = PlannedSegment(
    "flüge 2013", Action.REBUILD, "stale", "v1:0", Servers.STALE, StampState.NONE, crc=2**32 - 1, url="s3://b/k",
    replicas=("s1", "s2"), batch="b0001",
)  # fmt: skip
REBUILT = RebuildResult("s", Rebuilt.CHANGED, changes=("a: x added",), metadata_properties=b"\x00\xff", data_crc=None)
PUBLISHED = Published("s", Outcome.SYNCED, mode=PublishMode.QUIET, pending=Pending.STAMP)


@pytest.mark.parametrize("row", [PLANNED, REBUILT, PUBLISHED])
def test_a_row_comes_back_as_it_was(row: PlannedSegment | RebuildResult | Published) -> None:
    rows, metadata = from_parquet(to_parquet([row], type(row), {"table": "t"}), type(row))
    assert rows == [row]
    assert metadata == {"table": "t"}
    assert type(rows[0]) is type(row)


def test_no_rows_are_no_rows() -> None:
    assert from_parquet(to_parquet([], PlannedSegment), PlannedSegment) == ([], {})


def test_files_of_older_and_newer_versions_can_be_read() -> None:
    @dataclass(frozen=True)
    class Old:
        name: str
        dropped: int = 0

    @dataclass(frozen=True)
    class New:
        name: str
        added: str | None = None

    assert from_parquet(to_parquet([Old("a", 3)], Old), New)[0] == [New("a")]


def test_something_else_is_no_parquet() -> None:
    with pytest.raises(DeepStoreSyncError, match="Parquet"):
        from_parquet(b"<html>", PlannedSegment)


def test_reading_leaves_no_threads_that_abort_a_process_at_its_end() -> None:
    script = (
        "import psutil\n"
        "from deep_store_sync.model import SegmentOutcome, Outcome\n"
        "from deep_store_sync.rows import from_parquet, to_parquet\n"
        "data = to_parquet([SegmentOutcome('s', Outcome.SYNCED)] * 1000, SegmentOutcome)\n"
        "before = psutil.Process().num_threads()\n"
        "from_parquet(data, SegmentOutcome)\n"
        "print(psutil.Process().num_threads() - before)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    answer = subprocess.run([sys.executable, "-c", script], check=True, env=environment, capture_output=True, text=True)
    assert answer.stdout.strip() == "0"
