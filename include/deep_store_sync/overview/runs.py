"""The runs of a table, from the files that they leave in the workspace."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import BinaryIO, cast

import pyarrow as pa

from deep_store_sync.errors import DeepStoreSyncError, ObjectChangedError, ObjectNotFoundError
from deep_store_sync.model import Plan, SegmentOutcome
from deep_store_sync.overview.kept import Kept
from deep_store_sync.rows import file_metadata, parquet_file
from deep_store_sync.store.deep_store import DeepStore, ObjectInfo
from deep_store_sync.store.object_file import ObjectFile
from deep_store_sync.totals import RunTotals
from deep_store_sync.workspace import Workspace

MOST_RUNS = 30
"""So many runs are looked at, the newest ones."""

_AT_ONCE = 8

# What reading a file can come to that is no file of ours, was cut short, or is of another version.
UNREADABLE = (pa.ArrowException, ValueError, TypeError, KeyError, AttributeError, OSError)


@dataclass(frozen=True, slots=True)
class Run:
    """One plan of a run (a plan that is made again is one more), and what came of it.

    `whole`: it looked at all segments, not only at those of some names or of a data interval. Times are by the store's
    clock: `began` is when the plan was written, `ended` when the report was, None while there is none; a dry run ends
    with its plan. `duration_s` is between the two: what a run does before it has a plan is not in it. `totals` is None
    where there is no report, or one of an older version. `problem` says what is wrong with its files, and then nothing
    else is known of it.
    """

    run_id: str
    began: datetime | None
    ended: datetime | None = None
    duration_s: float | None = None
    force: bool = False
    dry_run: bool = False
    whole: bool = False
    work: int = 0
    totals: RunTotals | None = None
    report_url: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run, and its files: `report` is None where there is none."""

    run: Run
    place: Workspace
    plan: ObjectInfo
    report: ObjectInfo | None


def find_runs(store: DeepStore, root_url: str, table: str, kept: Kept[Run], *, most: int = MOST_RUNS) -> list[FoundRun]:
    """The newest runs of a table, newest first.

    Raises:
        DeepStoreError: the workspace cannot be read.
    """
    runs_url = Workspace.runs_url(root_url, table)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        folders = list(store.folders(runs_url))
        tries = chain.from_iterable(pool.map(lambda url: list(store.folders(url)), folders))
        newest = sorted(
            (url.rstrip("/") for url in tries if _number(url) is not None),
            key=lambda url: _number(url) or 0,
            reverse=True,
        )
        found = pool.map(lambda url: _found(store, Workspace(store, url), kept), newest[:most])
        return [run for run in found if run is not None]


def _number(url: str) -> int | None:
    """The number of a try, which orders them: the moment that its plan was begun at, in ms."""
    name = url.rstrip("/").rpartition("/")[2]
    return int(name) if name.isascii() and name.isdecimal() else None


def _found(store: DeepStore, place: Workspace, kept: Kept[Run]) -> FoundRun | None:
    try:
        plan = store.head(place.plan_url)
    except ObjectNotFoundError:
        return None  # it is being written, or removed
    try:
        report = store.head(place.report_url)
    except ObjectNotFoundError:
        report = None
    key = ("run", plan.url, plan.etag, report.etag if report else None)
    return FoundRun(kept.get(key, lambda: _read(store, place, plan, report)), place, plan, report)


def _read(store: DeepStore, place: Workspace, plan: ObjectInfo, report: ObjectInfo | None) -> Run:
    folder = place.run_url.split("/")[-2]
    try:
        made = place.open_plan().plan
        totals = _totals(store, place) if report else None
    except (ObjectNotFoundError, ObjectChangedError) as error:
        return Run(folder, plan.last_modified, problem=f"its files were changed or removed just now: {error}")
    except UNREADABLE as error:
        return Run(folder, plan.last_modified, problem=f"its files cannot be read ({type(error).__name__}: {error})")
    except DeepStoreSyncError as error:
        if error.transient:
            raise
        return Run(folder, plan.last_modified, problem=f"its files cannot be read: {error}")
    last = report or (plan if made.request.dry_run else None)
    began, ended = plan.last_modified, last.last_modified if last else None
    return Run(
        run_id=made.request.run_id,
        began=began,
        ended=ended,
        duration_s=(ended - began).total_seconds() if began and ended else None,
        force=made.request.force,
        dry_run=made.request.dry_run,
        whole=_whole(made),
        work=made.work or 0,
        totals=totals,
        report_url=report.url if report else None,
    )


def _whole(plan: Plan) -> bool:
    return not plan.request.segments and plan.request.interval is None


def _totals(store: DeepStore, place: Workspace) -> RunTotals | None:
    file = parquet_file(cast(BinaryIO, ObjectFile(store, place.report_url)), SegmentOutcome)
    return RunTotals.of_file(file_metadata(file))
