"""The file of a plan: Parquet, batch by batch, so that whoever works on a batch reads that and little more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO, Protocol, cast

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.model import CopyBy, Plan, PlannedSegment, RunRequest
from deep_store_sync.rows import (
    ArrowRows,
    file_metadata,
    group_range,
    groups_with,
    parquet_file,
    record_batch,
    rows_of,
    write_parquet,
)


class Fetching(Protocol):
    """A file that can be told what will be read of it next."""

    def fetch(self, start: int, length: int) -> None:
        """Hold this part."""


def write_plan(target: BinaryIO, plan: Plan) -> None:
    """Write a plan into a file."""
    request, rows = plan.request, plan.segments
    groups = rows.record_batches() if isinstance(rows, ArrowRows) else [record_batch(rows, PlannedSegment)]
    metadata = {
        "table": plan.table,
        "created_ms": str(plan.created_ms),
        "table_config": json.dumps(plan.table_config),
        "schema": json.dumps(plan.schema),
        "work": str(sum(row.batch is not None for row in rows) if plan.work is None else plan.work),
        "copies": " ".join(plan.copies),
        "request": json.dumps(
            {
                "run_id": request.run_id,
                "force": request.force,
                "dry_run": request.dry_run,
                "segments": list(request.segments),
                "max_segments": request.max_segments,
                "interval": list(request.interval) if request.interval else None,
            }
        ),
    }
    write_parquet(target, groups, PlannedSegment, metadata)


class PlanReader:
    """Reads a plan's file in parts."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises: DeepStoreSyncError: it is no plan."""
        self._source = file
        self._file = parquet_file(file, PlannedSegment)
        metadata = file_metadata(self._file)
        request = json.loads(metadata["request"])
        self.plan = Plan(
            table=metadata["table"],
            request=RunRequest(
                run_id=request["run_id"],
                force=request["force"],
                dry_run=request["dry_run"],
                segments=tuple(request["segments"]),
                max_segments=request["max_segments"],
                interval=tuple(request["interval"]) if request["interval"] else None,
            ),
            created_ms=int(metadata["created_ms"]),
            table_config=json.loads(metadata["table_config"]),
            schema=json.loads(metadata["schema"]),
            segments=(),
            work=int(metadata["work"]) if "work" in metadata else None,
            copies=tuple(CopyBy(way) for way in metadata.get("copies", "").split()),
        )
        """The plan without its segments."""

    def whole(self, batch: str | None) -> Plan:
        """The plan with the segments of one batch, or with all of them."""
        groups = self.groups() if batch is None else self._groups_with(batch)
        return replace(self.plan, segments=tuple(row for group in groups for row in rows_of(group, PlannedSegment)))

    def groups(self) -> Iterator[pa.Table]:
        """The segments in columns, a row group after the other, in the plan's order."""
        for group in range(self._file.num_row_groups):
            yield self._read(group)

    def _groups_with(self, batch: str) -> Iterator[pa.Table]:
        for group in groups_with(self._file, "batch", batch):
            found = self._read(group)
            yield found.filter(pc.equal(found.column("batch"), batch))

    def _read(self, group: int) -> pa.Table:
        if hasattr(self._source, "fetch"):
            cast(Fetching, self._source).fetch(*group_range(self._file, group))
        return self._file.read_row_group(group, use_threads=False)
