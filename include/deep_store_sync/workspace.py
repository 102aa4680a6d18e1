"""The workspace: the S3 prefix outside the deep store where a run keeps plan, results, staged archives and backups.

    <workspace>/<table>/runs/<run>/<try>/plan.parquet
                                        /staged/<segment>
                                        /rebuilt|published|stamped/<batch>.parquet
                                        /report.parquet
                                        /backup/<segment>.tar|.json

A plan that is made again (a retried or cleared task) gets a place of its own, so that results of an earlier try are
never taken for results of this one. Everything is derived from the plan's URL, which is all that has to travel between
tasks.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import TypeVar
from urllib.parse import quote

from deep_store_sync.errors import ObjectNotFoundError
from deep_store_sync.model import Plan, PlannedSegment, RunRequest, SegmentOutcome
from deep_store_sync.rows import from_parquet, to_parquet
from deep_store_sync.store.deep_store import DeepStore, parse_url

Row = TypeVar("Row")

BACKUP, STAGED = "backup", "staged"
"""Folders of a run: the copies and notes of what it overwrote, and the rebuilt archives that wait to be published."""

_PLAN, _REPORT = "plan.parquet", "report.parquet"
_RECORD = ".json"


class Workspace:
    """The objects of one run."""

    def __init__(self, store: DeepStore, run_url: str) -> None:
        self._store = store
        self.run_url = run_url.rstrip("/")

    @staticmethod
    def runs_url(root_url: str, table: str) -> str:
        """Below which URL the runs of a table lie, a folder each."""
        return f"{root_url.rstrip('/')}/{quote(table, safe='')}/runs"

    @classmethod
    def for_run(cls, store: DeepStore, root_url: str, table: str, run_id: str, created_ms: int) -> Workspace:
        """The place of a run that is about to start, with the moment its plan is made."""
        return cls(store, f"{cls.runs_url(root_url, table)}/{_run_key(run_id)}/{created_ms}")

    @classmethod
    def of_plan(cls, store: DeepStore, plan_url: str) -> Workspace:
        """The place of the run that wrote this plan."""
        return cls(store, plan_url.removesuffix("/" + _PLAN))

    @property
    def plan_url(self) -> str:
        """Where the plan lies."""
        return f"{self.run_url}/{_PLAN}"

    @property
    def report_url(self) -> str:
        """Where the report lies."""
        return f"{self.run_url}/{_REPORT}"

    def staged_url(self, segment: str) -> str:
        """Where a rebuilt archive waits to be published."""
        return f"{self.run_url}/{STAGED}/{_object_name(segment)}"

    def backup_url(self, segment: str) -> str:
        """Where the copy of the object lies that this run overwrote."""
        return f"{self.run_url}/{BACKUP}/{_object_name(segment)}"

    def backup_record_url(self, segment: str) -> str:
        """Where it is noted what of the object was kept, and how, before this run overwrote it."""
        return f"{self.run_url}/{BACKUP}/{quote(segment, safe='')}{_RECORD}"

    def backup_records(self) -> Iterator[tuple[str, str]]:
        """Segment and URL of every such note."""
        folder = f"{self.run_url}/{BACKUP}/"
        for item in self._store.list(folder):
            name = parse_url(item.url)[1].removeprefix(parse_url(folder)[1])
            if name.endswith(_RECORD):
                yield name.removesuffix(_RECORD), item.url

    def tries_of(self, run_id: str) -> list[Workspace]:
        """The places of a run of the same table, one for each time its plan was made, oldest first."""
        return self.tries(self._store, self.run_url.rsplit("/", 2)[0], run_id)

    @classmethod
    def tries(cls, store: DeepStore, runs_url: str, run_id: str) -> list[Workspace]:
        """The same for a run below this URL of all runs."""
        found = [url.rstrip("/") for url in store.folders(f"{runs_url}/{_run_key(run_id)}")]
        return [cls(store, url) for url in sorted(found, key=lambda url: (len(url), url))]

    def result_url(self, stage: str, batch: str) -> str:
        """Where a stage (`rebuilt`, `published`, `stamped`) leaves the results of a batch."""
        return f"{self.run_url}/{stage}/{quote(batch, safe='')}.parquet"

    def write_plan(self, plan: Plan) -> str:
        """Store a plan; returns its URL."""
        request = plan.request
        metadata = {
            "table": plan.table,
            "created_ms": str(plan.created_ms),
            "table_config": json.dumps(plan.table_config),
            "schema": json.dumps(plan.schema),
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
        self._store.write_workspace(self.plan_url, to_parquet(plan.segments, PlannedSegment, metadata))
        return self.plan_url

    def read_plan(self) -> Plan:
        """The plan of the run.

        Raises:
            ObjectNotFoundError: there is none.
        """
        rows, metadata = from_parquet(self._store.read(self.plan_url), PlannedSegment)
        request = json.loads(metadata["request"])
        return Plan(
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
            segments=tuple(rows),
        )

    def write_results(self, stage: str, batch: str, rows: Iterable[Row], row_type: type[Row]) -> str:
        """Store what a stage made of a batch; returns the URL."""
        url = self.result_url(stage, batch)
        self._store.write_workspace(url, to_parquet(rows, row_type))
        return url

    def read_results(self, stage: str, batch: str, row_type: type[Row]) -> list[Row] | None:
        """What a stage made of a batch, or None when it left nothing."""
        try:
            data = self._store.read(self.result_url(stage, batch))
        except ObjectNotFoundError:
            return None
        return from_parquet(data, row_type)[0]

    def forget_results(self, batch: str, *stages: str) -> None:
        """Remove what an earlier pass of a retried or cleared batch left, so that it is not taken for this one's."""
        for stage in stages:
            self._store.delete(self.result_url(stage, batch))

    def write_report(self, outcomes: Iterable[SegmentOutcome]) -> str:
        """Store the outcomes of the run; returns the URL."""
        self._store.write_workspace(self.report_url, to_parquet(outcomes, SegmentOutcome))
        return self.report_url

    def read_report(self) -> list[SegmentOutcome]:
        """The outcomes of the run.

        Raises:
            ObjectNotFoundError: it has not been reported.
        """
        return from_parquet(self._store.read(self.report_url), SegmentOutcome)[0]


def _run_key(run_id: str) -> str:
    """A run id as part of a key: readable, safe in URLs, and different for different ids."""
    # The mark on an object has it in ASCII, and has to lead here as well.
    run_id = run_id.encode("ascii", "backslashreplace").decode("ascii")
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", run_id).strip("_")[:80]
    return f"{readable}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


def _object_name(segment: str) -> str:
    # Percent-decoding a URL once has to give the key back, whatever the segment is called.
    return quote(segment, safe="") + ".tar"
