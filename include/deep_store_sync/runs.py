"""The runs of a table, from the files that they leave in the workspace."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import BinaryIO, cast

import pyarrow as pa

from deep_store_sync.errors import DeepStoreSyncError, ObjectChangedError, ObjectNotFoundError
from deep_store_sync.lru_cache import LruCache
from deep_store_sync.model import Plan, SegmentOutcome
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
    """A run, where it lies, and its files: `report` is None where there is none."""

    run: Run
    run_url: str
    plan: ObjectInfo
    report: ObjectInfo | None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a search has seen, and when: the tries of each run by its folder, and of the tries those that it found.

    What is None was being written just then, or removed.
    """

    tries: Mapping[str, tuple[float, tuple[str, ...]]]
    found: Mapping[str, tuple[float, FoundRun | None]]

    def open_folders(self) -> set[str]:
        """The runs that had not ended."""
        return {_folder(url) for url, (_, found) in self.found.items() if not _ended(found)}


class RunFinder:
    """Finds the runs of a table, newest first, and remembers what it has read. Safe to use from several threads.

    Whatever is new or has not ended is looked at each time. What has ended changes only where somebody clears tasks of
    it, and is looked at again after `settled_s`: a table may have thousands of runs, and each takes some calls.
    """

    def __init__(self, *, settled_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._runs = LruCache[Run](10_000)
        self._seen = LruCache[_Seen](200_000, weight=lambda seen: len(seen.tries))
        self._settled_s = settled_s
        self._clock = clock

    def find(
        self, store: DeepStore, root_url: str, table: str, *, most: int = MOST_RUNS, of_a_kind: int | None = None
    ) -> list[FoundRun]:
        """The newest runs. With `of_a_kind`, only so many are looked for of each kind, by the names of their folders.

        Kinds are scheduled, manual and so on. Ids begin with the kind and mostly go on with a date; what is newest by
        that need not be what ran last, a backfill of older dates for example.

        Raises:
            DeepStoreError: the workspace cannot be read.
        """
        runs_url = Workspace.runs_url(root_url, table)
        key, now = (runs_url, of_a_kind), self._clock()
        before = self._seen.peek(key) or _Seen({}, {})
        opened = before.open_folders()

        def tries(folder: str) -> tuple[float, tuple[str, ...]]:
            known = before.tries.get(folder)
            if known and now - known[0] < self._settled_s and folder not in opened:
                return known
            return now, tuple(url.rstrip("/") for url in store.folders(folder) if _number(url) is not None)

        def look(url: str) -> tuple[float, FoundRun | None]:
            known = before.found.get(url)
            if known and now - known[0] < self._settled_s and _ended(known[1]):
                return known
            return now, self._look(store, Workspace(store, url))

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            folders = [url.rstrip("/") for url in store.folders(runs_url)]
            if of_a_kind is not None:
                folders = _newest_of_each_kind(folders, of_a_kind)
            tries_of = dict(zip(folders, pool.map(tries, folders), strict=True))
            urls = chain.from_iterable(urls for _, urls in tries_of.values())
            newest = sorted(urls, key=lambda url: _number(url) or 0, reverse=True)[:most]
            found = dict(zip(newest, pool.map(look, newest), strict=True))
        self._seen.put(key, _Seen(tries_of, found))
        return [run for _, run in found.values() if run is not None]

    def _look(self, store: DeepStore, place: Workspace) -> FoundRun | None:
        try:
            plan = store.head(place.plan_url)
        except ObjectNotFoundError:
            return None
        try:
            report = store.head(place.report_url)
        except ObjectNotFoundError:
            report = None
        key = (plan.url, plan.etag, report.etag if report else None)
        run = self._runs.get(key, lambda: _read(store, place, plan, report))
        return FoundRun(run, place.run_url, plan, report)


def _newest_of_each_kind(folders: list[str], most: int) -> list[str]:
    kinds: dict[str, list[str]] = defaultdict(list)
    for url in sorted(folders):
        kind, marked, _ = url.rpartition("/")[2].partition("__")
        kinds[kind if marked else ""].append(url)
    return [url for urls in kinds.values() for url in urls[-most:]]


def _ended(found: FoundRun | None) -> bool:
    return found is not None and found.run.ended is not None


def _folder(url: str) -> str:
    """The folder of the run that a try belongs to."""
    return url.rpartition("/")[0]


def _number(url: str) -> int | None:
    """The number of a try, which orders them: the moment that its plan was begun at, in ms."""
    name = url.rstrip("/").rpartition("/")[2]
    return int(name) if name.isascii() and name.isdecimal() else None


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
