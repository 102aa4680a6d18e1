"""How a table stands, what its runs did, and what is at work now: from the workspace, without Pinot or Airflow.

Nothing here is newer than the last plan. What was pushed, rolled back or configured since, the next run sees.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from typing import Any

import pyarrow as pa

from deep_store_sync.errors import DeepStoreSyncError
from deep_store_sync.model import PlannedSegment, SegmentOutcome
from deep_store_sync.overview.kept import Kept
from deep_store_sync.overview.running import Running, batches, results, running
from deep_store_sync.overview.runs import UNREADABLE, FoundRun, Run, find_runs
from deep_store_sync.overview.segments import (
    OUTCOME_COLUMNS,
    PLAN_COLUMNS,
    Reason,
    SegmentPage,
    SegmentQuery,
    SegmentTable,
    Work,
)
from deep_store_sync.rows import arrow_schema, parquet_file
from deep_store_sync.store.deep_store import DeepStore, ObjectInfo
from deep_store_sync.totals import Amount

_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Saved:
    """What the runs that are listed have saved, of those whose reports tell: `runs` of them."""

    runs: int
    downloads: int
    bytes: int


@dataclass(frozen=True, slots=True)
class TableOverview:
    """A table as its workspace shows it.

    `as_of` is when the newest plan was made that says something of its segments, `None` where there is none: then
    nothing is known. `whole` is false where no run has looked at all segments yet: then there may be more of them.
    `states` has every `SegmentState`. `runs` are newest first.
    """

    table: str
    as_of: datetime | None
    whole: bool
    states: Mapping[str, Amount]
    reasons: tuple[Reason, ...]
    work: Work
    running: Running | None
    runs: tuple[Run, ...]
    saved: Saved


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What one run says of the segments that it looked at, and the batches of its work."""

    batches: Mapping[str, Amount]
    segments: SegmentTable


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of a table at one moment."""

    runs: tuple[FoundRun, ...]
    used: tuple[FoundRun, ...]
    segments: SegmentTable
    running: Running | None


class Overviews:
    """Reads overviews, and keeps what it has read of files that do not change. Safe to use from several threads."""

    def __init__(self, *, rows: int = 4_000_000, fresh_s: float = 3.0, clock: Callable[[], float] = time.monotonic):
        """So many segments, of all tables together, are kept in memory: some 60 bytes each.

        What was read less than `fresh_s` ago is not asked for again.
        """
        self._runs = Kept[Run](10_000)
        self._tables = Kept[_Loaded](rows, weight=lambda loaded: len(loaded.segments))
        self._seen = Kept[tuple[float, _Seen]](rows, weight=lambda seen: len(seen[1].segments))
        self._fresh_s = fresh_s
        self._clock = clock

    def overview(self, store: DeepStore, root_url: str, table: str) -> TableOverview:
        """How a table stands.

        Raises:
            DeepStoreError: the workspace cannot be read. A file in it that cannot be is told in `runs` instead.
        """
        seen = self._look(store, root_url, table)
        runs = tuple(found.run for found in seen.runs)
        told = [run.totals for run in runs if run.totals]
        return TableOverview(
            table=table,
            as_of=seen.used[0].run.began if seen.used else None,
            whole=any(found.run.whole for found in seen.used),
            states=seen.segments.states(),
            reasons=seen.segments.reasons(),
            work=seen.segments.work(),
            running=seen.running,
            runs=runs,
            saved=Saved(len(told), sum(of.saved_downloads for of in told), sum(of.saved_bytes for of in told)),
        )

    def segments(self, store: DeepStore, root_url: str, table: str, query: SegmentQuery) -> SegmentPage:
        """Some of a table's segments.

        Raises:
            DeepStoreError: the workspace cannot be read.
        """
        return self._look(store, root_url, table).segments.page(query)

    def _look(self, store: DeepStore, root_url: str, table: str) -> _Seen:
        now = self._clock()
        _, seen = self._seen.get(
            (root_url, table),
            lambda: (now, self._read(store, root_url, table)),
            good=lambda seen: now - seen[0] <= self._fresh_s,
        )
        return seen

    def _read(self, store: DeepStore, root_url: str, table: str) -> _Seen:
        runs = find_runs(store, root_url, table, self._runs)
        at_work = _at_work(runs)
        left = results(store, at_work.place) if at_work else {}
        # The newest run that looked at all segments, and what looked at some of them since.
        used: list[FoundRun] = []
        tables: list[SegmentTable] = []
        now_running, through = None, False
        for number, found in enumerate(runs):
            if found.run.problem is not None or (through and found is not at_work):
                continue
            loaded = self._loaded(store, found, left.get("stamped", []) if found is at_work else [])
            if isinstance(loaded, str):
                runs[number] = replace(found, run=replace(found.run, problem=loaded))
                continue
            if found is at_work:
                now_running = running(found.run.run_id, found.run.began, loaded.batches, left, _pace(runs))
            if not through:
                used.append(found)
                tables.append(loaded.segments)
                through = found.run.whole
        return _Seen(tuple(runs), tuple(used), SegmentTable.newest(tables[::-1]), now_running)

    def _loaded(self, store: DeepStore, found: FoundRun, stamped: list[ObjectInfo]) -> _Loaded | str:
        """A run's segments and batches, or what is wrong with its files."""
        report = found.report.etag if found.report else None
        key = (found.plan.url, found.plan.etag, report, *(item.etag for item in stamped))
        try:
            return self._tables.get(key, lambda: _load(store, found, stamped))
        except UNREADABLE as error:
            return f"its files cannot be read ({type(error).__name__}: {error})"
        except DeepStoreSyncError as error:
            if error.transient:
                raise
            return f"its files cannot be read: {error}"


def _pace(runs: Iterable[FoundRun]) -> float | None:
    """Bytes a second, of the runs that downloaded any and have ended."""
    ended = [found.run for found in runs if found.run.totals and found.run.totals.downloaded_bytes]
    seconds = sum(run.duration_s or 0.0 for run in ended)
    return sum(run.totals.downloaded_bytes for run in ended if run.totals) / seconds if seconds else None


def _at_work(runs: list[FoundRun]) -> FoundRun | None:
    """The run that has a plan and no report, if it is the newest one that is no dry run."""
    real = (found for found in runs if not found.run.dry_run)
    newest = next(real, None)
    return newest if newest and newest.report is None and newest.run.problem is None else None


def _load(store: DeepStore, found: FoundRun, stamped: list[ObjectInfo]) -> _Loaded:
    """The columns of a plan, and how the segments stand that are in it."""
    plan = _columns(store, found.plan.url, PlannedSegment, PLAN_COLUMNS)
    if found.report:
        outcomes = _columns(store, found.report.url, SegmentOutcome, OUTCOME_COLUMNS)
    elif stamped:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            read = pool.map(lambda item: _columns(store, item.url, SegmentOutcome, OUTCOME_COLUMNS), stamped)
            outcomes = pa.concat_tables(read)
    else:
        outcomes = arrow_schema(SegmentOutcome).empty_table().select(OUTCOME_COLUMNS)
    return _Loaded(batches(plan), SegmentTable.of_run(found.run.run_id, plan, outcomes))


def _columns(store: DeepStore, url: str, row_type: type[Any], names: tuple[str, ...]) -> pa.Table:
    """Some columns of a file."""
    schema = arrow_schema(row_type)
    found = parquet_file(BytesIO(store.read(url)), row_type).read(columns=list(names), use_threads=False).select(names)
    if found.schema.types != [schema.field(name).type for name in names]:
        raise TypeError(f"expected columns of {row_type.__name__}, got {found.schema.types}")
    return found
