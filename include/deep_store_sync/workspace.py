"""The workspace: the S3 prefix outside the deep store where a run keeps plan, results, staged archives and backups.

    <workspace>/<table>/runs/<run>/<try>/plan.parquet
                                        /staged/<segment>
                                        /begun/<batch>
                                        /rebuilt|published|stamped/<batch>.parquet
                                        /failed/<segment>
                                        /downloads/<batch>/<try>/<bytes>
                                        /uploads/<upload id>
                                        /report.parquet
                                        /backup/<segment>/<write>.tar|.json

A plan that is made again (a retried or cleared task) gets a place of its own, so that results of an earlier try are
never taken for results of this one. Everything is derived from the plan's URL, which is all that has to travel between
tasks.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, TypeVar, cast
from urllib.parse import quote, unquote
from uuid import uuid4

import pyarrow as pa

from deep_store_sync.errors import ObjectNotFoundError
from deep_store_sync.model import Plan, SegmentOutcome
from deep_store_sync.plan_file import PlanReader, write_plan
from deep_store_sync.rows import from_parquet, to_parquet, write_parquet
from deep_store_sync.store.deep_store import DeepStore, ObjectInfo, parse_url
from deep_store_sync.store.object_file import ObjectFile
from deep_store_sync.totals import RunTotals
from deep_store_sync.workdir import work_folder

_LOG = logging.getLogger(__name__)

Row = TypeVar("Row")

BACKUP, STAGED, UPLOADS = "backup", "staged", "uploads"
"""Folders of a run: the copies and notes of what it overwrote, the rebuilt archives that wait to be published, and the
notes on its multipart uploads into the deep store."""

_BEGUN, _FAILED, _DOWNLOADS, _NOTE = "begun", "failed", "downloads", ".note"

_PLAN, _REPORT = "plan.parquet", "report.parquet"
_COPY, _RECORD = ".tar", ".json"
# Of versions before, there was one copy and one note of a segment: right in the folder, with no part of their own.
_BACKED_UP = re.compile(rf"(.+?)(?:/[0-9a-f]{{32}})?(?:{re.escape(_COPY)}|{re.escape(_RECORD)})", re.DOTALL)


class Workspace:
    """The objects of one run."""

    def __init__(self, store: DeepStore, run_url: str) -> None:
        self._store = store
        self.run_url = run_url.rstrip("/")

    @staticmethod
    def runs_url(root_url: str, table: str) -> str:
        """Below which URL the runs of a table lie, a folder each."""
        return f"{root_url.rstrip('/')}/{quote(table, safe='')}/runs"

    @staticmethod
    def tables(store: DeepStore, root_url: str) -> list[str]:
        """The tables that have runs there, by name with type; also whatever else has a folder."""
        return [unquote(url.rstrip("/").rpartition("/")[2]) for url in store.folders(root_url)]

    @classmethod
    def for_run(cls, store: DeepStore, root_url: str, table: str, run_id: str, created_ms: int) -> Workspace:
        """The place of a run that is about to start, with the moment its plan is made.

        A plan that is made again comes after the earlier ones, whatever the clock of the machine says that makes it.
        """
        runs_url = cls.runs_url(root_url, table)
        earlier = [url.rpartition("/")[2] for url in (place.run_url for place in cls.tries(store, runs_url, run_id))]
        number = max([created_ms, *(int(name) + 1 for name in earlier if name.isdecimal())])
        return cls(store, f"{runs_url}/{_run_key(run_id)}/{number}")

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

    def backup_urls(self, segment: str) -> tuple[str, str]:
        """Where a copy of the object is to lie that this run is about to overwrite, and the note on what was kept.

        Nobody else gets these: two processes may be at work on a segment, since Airflow begins another try of a task
        whose process it takes for dead.
        """
        place = f"{self.run_url}/{BACKUP}/{quote(segment, safe='')}/{uuid4().hex}"
        return place + _COPY, place + _RECORD

    def backup_records(self, segment: str | None = None) -> Iterator[tuple[str, ObjectInfo]]:
        """Segment and place of every such note, or of those on one segment. There may be several on a segment."""
        folder, name = f"{self.run_url}/{BACKUP}/", quote(segment or "", safe="")
        for prefix in ("",) if segment is None else (f"{name}/", f"{name}{_RECORD}"):
            for item in self._store.list(folder + prefix):
                of = self.backed_up(item.url)
                if item.url.endswith(_RECORD) and of is not None and segment in (None, of):
                    yield of, item

    def backed_up(self, url: str) -> str | None:
        """The segment that a copy or note among the backups of this run is of; None where it is neither."""
        name = _BACKED_UP.fullmatch(parse_url(url)[1].removeprefix(parse_url(f"{self.run_url}/{BACKUP}/")[1]))
        return name[1] if name else None

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
        with work_folder(None, _LOG) as folder:
            path = folder / _PLAN
            with path.open("wb") as file:
                write_plan(file, plan)
            self._store.write_workspace(self.plan_url, path)
        return self.plan_url

    def read_plan(self, batch: str | None = None) -> Plan:
        """The plan of the run, with the segments of one batch only where one is named: the others are not read.

        Raises:
            ObjectNotFoundError: there is none.
        """
        return self.open_plan().whole(batch)

    def open_plan(self) -> PlanReader:
        """The plan of the run, to be read in parts.

        Raises:
            ObjectNotFoundError: there is none.
        """
        return PlanReader(cast(BinaryIO, ObjectFile(self._store, self.plan_url)))

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

    def note_begun(self, batch: str) -> None:
        """Note that a try of a batch began to rebuild its segments."""
        self._store.write_workspace(self._begun_url(batch), b"")

    def was_begun(self, batch: str) -> bool:
        """Whether there is such a note."""
        try:
            self._store.head(self._begun_url(batch))
        except ObjectNotFoundError:
            return False
        return True

    def note_failure(self, segment: str) -> None:
        """Note that a segment failed, for the other batches of the run to see."""
        self._store.write_workspace(self._failure_url(segment), b"")

    def forget_failure(self, segment: str) -> None:
        """Take such a note back: the segment is tried again."""
        self._store.delete(self._failure_url(segment))

    def failures(self) -> set[str]:
        """The segments that failed so far, in any batch. One call for each thousand of them."""
        folder = f"{self.run_url}/{_FAILED}/"
        start = len(parse_url(folder)[1])
        return {parse_url(item.url)[1][start:].removesuffix(_NOTE) for item in self._store.list(folder)}

    def note_downloads(self, writer: str, size: int) -> None:
        """Note that a writer, which is a try of a batch, makes servers download so many bytes in all."""
        self._store.write_workspace(self._downloads_url(writer, size), b"")

    def forget_downloads(self, writer: str, size: int) -> None:
        """Take such a note back: another one counts, or nothing came of it."""
        self._store.delete(self._downloads_url(writer, size))

    def downloads(self) -> dict[str, list[int]]:
        """The notes of each writer: of several, the largest counts. One call for each thousand of them."""
        found: dict[str, list[int]] = {}
        folder = f"{self.run_url}/{_DOWNLOADS}/"
        for item in self._store.list(folder):
            writer, _, size = parse_url(item.url)[1].removeprefix(parse_url(folder)[1]).rpartition("/")
            found.setdefault(writer, []).append(int(size.removesuffix(_NOTE)))
        return found

    def _downloads_url(self, writer: str, size: int) -> str:
        return f"{self.run_url}/{_DOWNLOADS}/{quote(writer)}/{size}{_NOTE}"

    def _begun_url(self, batch: str) -> str:
        return f"{self.run_url}/{_BEGUN}/{quote(batch, safe='')}{_NOTE}"

    def _failure_url(self, segment: str) -> str:
        return f"{self.run_url}/{_FAILED}/{quote(segment, safe='')}{_NOTE}"

    def note_upload(self, upload_id: str, url: str) -> None:
        """Note that a multipart upload to this URL is the run's."""
        self._store.write_workspace(f"{self.run_url}/{UPLOADS}/{quote(upload_id, safe='')}{_NOTE}", url.encode())

    def noted_uploads(self) -> Iterator[tuple[str, ObjectInfo]]:
        """Upload id of every such note, and where the note lies."""
        folder = f"{self.run_url}/{UPLOADS}/"
        start = len(parse_url(folder)[1])
        for item in self._store.list(folder):
            yield parse_url(item.url)[1][start:].removesuffix(_NOTE), item

    def write_report_columns(
        self, outcomes: Iterable[pa.RecordBatch], totals: Callable[[], RunTotals] | None = None
    ) -> str:
        """Store the outcomes of the run, which are in columns of `SegmentOutcome`; returns the URL.

        `totals` is asked for the run's numbers after the last of them: they go into the file's metadata.
        """
        with work_folder(None, _LOG) as folder:
            path = folder / _REPORT
            with path.open("wb") as file:
                write_parquet(file, outcomes, SegmentOutcome, closing=lambda: totals().metadata() if totals else {})
            self._store.write_workspace(self.report_url, path)
        return self.report_url

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
