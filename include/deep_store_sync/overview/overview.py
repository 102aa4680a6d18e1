"""How a table stands, what its runs did, and what is at work now: from the workspace, without Pinot or Airflow.

Nothing here is newer than the last plan. What was pushed, rolled back or configured since, the next run sees.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from typing import Any

import pyarrow as pa

from deep_store_sync.errors import DeepStoreSyncError
from deep_store_sync.lru_cache import LruCache
from deep_store_sync.model import PlannedSegment, SegmentOutcome
from deep_store_sync.overview.running import Running, batches, results, running
from deep_store_sync.overview.segments import OUTCOME_COLUMNS, PLAN_COLUMNS, Reason, SegmentTable, Work
from deep_store_sync.past_runs import pace
from deep_store_sync.rows import arrow_schema, parquet_file
from deep_store_sync.runs import UNREADABLE, FoundRun, Run, RunFinder
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
class Snapshot:
    """What is known of a table at one moment: its newest runs, and those of them that say how segments stand."""

    table: str
    runs: tuple[FoundRun, ...]
    used: tuple[FoundRun, ...]
    segments: SegmentTable
    running: Running | None

    def overview(self) -> TableOverview:
        """How the table stands."""
        runs = tuple(found.run for found in self.runs)
        told = [run.totals for run in runs if run.totals]
        return TableOverview(
            table=self.table,
            as_of=self.used[0].run.began if self.used else None,
            whole=any(found.run.whole for found in self.used),
            states=self.segments.states(),
            reasons=self.segments.reasons(),
            work=self.segments.work(),
            running=self.running,
            runs=runs,
            saved=Saved(len(told), sum(of.saved_downloads for of in told), sum(of.saved_bytes for of in told)),
        )


class Overviews:
    """Reads how tables stand, and keeps what it has read of files by their ETags. Safe to use from several threads."""

    def __init__(
        self,
        *,
        rows: int = 4_000_000,
        fresh_s: float = 3.0,
        settled_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        """So many segments, of all tables together, are kept in memory: some 60 bytes each.

        What was read less than `fresh_s` ago is not asked for again, and a run that has ended not before `settled_s`.
        """
        self._finder = RunFinder(settled_s=settled_s, clock=clock)
        self._tables = LruCache[_Loaded](rows, weight=lambda loaded: len(loaded.segments))
        self._stamped = LruCache[pa.Table](rows, weight=len)
        self._snapshots = LruCache[tuple[float, Snapshot]](rows, weight=lambda kept: len(kept[1].segments))
        self._fresh_s = fresh_s
        self._clock = clock

    def look(self, store: DeepStore, root_url: str, table: str) -> Snapshot:
        """What is known of a table.

        Raises:
            DeepStoreError: the workspace cannot be read. A file in it that cannot be is told in `runs` instead.
        """

        def read() -> tuple[float, Snapshot]:
            snapshot = self._read(store, root_url, table)
            return self._clock(), snapshot

        _, snapshot = self._snapshots.get((root_url, table), read, good=self._is_fresh)
        return snapshot

    def fresh(self, root_url: str, table: str) -> Snapshot | None:
        """What `look` gives without asking the store, if it was read so short a time ago."""
        kept = self._snapshots.peek((root_url, table))
        return kept[1] if kept and self._is_fresh(kept) else None

    def _is_fresh(self, kept: tuple[float, Snapshot]) -> bool:
        return self._clock() - kept[0] <= self._fresh_s

    def _read(self, store: DeepStore, root_url: str, table: str) -> Snapshot:
        runs = self._finder.find(store, root_url, table)
        at_work = _at_work(runs)
        left = results(store, at_work.run_url) if at_work else {}
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
                before = pace(of.run for of in runs)
                now_running = running(
                    found.run.run_id, found.run.began, loaded.batches, left, before.bytes_per_second if before else None
                )
            if not through:
                used.append(found)
                tables.append(loaded.segments)
                through = found.run.whole
        return Snapshot(table, tuple(runs), tuple(used), SegmentTable.newest(tables[::-1]), now_running)

    def _loaded(self, store: DeepStore, found: FoundRun, stamped: list[ObjectInfo]) -> _Loaded | str:
        """A run's segments and batches, or what is wrong with its files."""
        try:
            return self._kept(store, found, stamped)
        except UNREADABLE as error:
            return f"its files cannot be read ({type(error).__name__}: {error})"
        except DeepStoreSyncError as error:
            if error.transient:
                raise
            return f"its files cannot be read: {error}"

    def _kept(self, store: DeepStore, found: FoundRun, stamped: list[ObjectInfo]) -> _Loaded:
        plan = (found.plan.url, found.plan.etag)
        if found.report:
            report = found.report
            return self._tables.get(
                (*plan, report.etag), lambda: _after(_planned(store, found), [_outcomes(store, report.url)])
            )
        # While a run is at work one file comes after the other: the plan is kept as it is, and each of them.
        loaded = self._tables.get(plan, lambda: _planned(store, found))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            read = pool.map(
                lambda item: self._stamped.get((item.url, item.etag), lambda: _outcomes(store, item.url)), stamped
            )
            return _after(loaded, list(read))


def _at_work(runs: list[FoundRun]) -> FoundRun | None:
    """The run that has a plan and no report, if it is the newest one that is no dry run."""
    real = (found for found in runs if not found.run.dry_run)
    newest = next(real, None)
    return newest if newest and newest.report is None and newest.run.problem is None else None


def _planned(store: DeepStore, found: FoundRun) -> _Loaded:
    """How the segments of a plan stood when it was made."""
    plan = _columns(store, found.plan.url, PlannedSegment, PLAN_COLUMNS)
    return _Loaded(batches(plan), SegmentTable.planned(found.run.run_id, plan))


def _after(planned: _Loaded, outcomes: Sequence[pa.Table]) -> _Loaded:
    return replace(planned, segments=planned.segments.after(pa.concat_tables(outcomes))) if outcomes else planned


def _outcomes(store: DeepStore, url: str) -> pa.Table:
    return _columns(store, url, SegmentOutcome, OUTCOME_COLUMNS)


def _columns(store: DeepStore, url: str, row_type: type[Any], names: tuple[str, ...]) -> pa.Table:
    """Some columns of a file."""
    schema = arrow_schema(row_type)
    found = parquet_file(BytesIO(store.read(url)), row_type).read(columns=list(names), use_threads=False).select(names)
    if found.schema.types != [schema.field(name).type for name in names]:
        raise TypeError(f"expected columns of {row_type.__name__}, got {found.schema.types}")
    return found
