"""What older runs left is removed when its time is over by the store's clock, and what may be needed is not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from deep_store_sync.errors import DeepStoreAccessError
from deep_store_sync.model import Outcome, Plan, RunRequest, SegmentOutcome, SegmentRecord
from deep_store_sync.publishing.backup import Backup, Kept
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore, ObjectInfo
from deep_store_sync.store.multipart import OpenUpload
from deep_store_sync.store.object_mark import ObjectMark
from deep_store_sync.store.object_url import object_url, parse_url
from deep_store_sync.upkeep.retention import collect
from deep_store_sync.workspace import Workspace
from pinot_sandbox.gateway import S3Gateway

LOG = logging.getLogger("tests.retention")
TABLE = "flights_OFFLINE"


class FakeAgedStore(DeepStore):
    """The real store, in which objects look older by as many days as are set for a part of their URL."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.days: dict[str, float] = {}

    def _aged(self, info: ObjectInfo) -> ObjectInfo:
        assert info.last_modified is not None
        days = max((days for part, days in self.days.items() if part in info.url), default=0.0)
        return replace(info, last_modified=info.last_modified - timedelta(days=days))

    def head(self, url: str, *, version_id: str | None = None) -> ObjectInfo:
        return self._aged(super().head(url, version_id=version_id))

    def list(self, prefix_url: str) -> Iterator[ObjectInfo]:
        return (self._aged(item) for item in super().list(prefix_url))

    def open_uploads(self, prefix_url: str) -> Iterator[OpenUpload]:
        for upload in super().open_uploads(prefix_url):
            days = max((days for part, days in self.days.items() if part in upload.url), default=0.0)
            yield replace(upload, begun=upload.begun - timedelta(days=days))


class FakeController:
    """Knows the segments' CRCs, which a real cluster would be much to start for."""

    def __init__(self, crcs: dict[str, int]) -> None:
        self.crcs = crcs

    def segments(self, table: str) -> list[SegmentRecord]:
        return [SegmentRecord(name, crc, f"s3://b/d/{name}") for name, crc in self.crcs.items()]


class Runs:
    """Runs of a table in a workspace of their own."""

    def __init__(self, gateway: S3Gateway, prefix: str) -> None:
        self.root = f"{prefix}/work"
        self.deep_store = f"{prefix}/deep"
        self.store = FakeAgedStore(gateway.client())
        self.settings = TableSync(table=TABLE, deep_store_prefixes=(self.deep_store,), workspace=self.root)
        self.crcs: dict[str, int] = {}

    def run(
        self, run_id: str, days: float, *, outcome: Outcome = Outcome.SYNCED, report: bool = True, created: int = 1
    ) -> Workspace:
        """A run so many days ago that overwrote segment `s` (CRC 1 to 2), and left a staged archive."""
        place = Workspace.for_run(self.store, self.root, TABLE, run_id, created)
        self.store.days[f"/{run_id}-"] = days
        place.write_plan(Plan(TABLE, RunRequest(run_id), 0, {}, {}, ()))
        self.store.write_workspace(place.staged_url("s"), b"staged")
        self.store.write_workspace(place.backup_url("s"), b"old")
        note = Backup(
            "s",
            f"{self.deep_store}/s",
            ObjectMark(run_id, 1, 2, "v1:0"),
            Kept.COPY,
            1,
            1,
            copy_url=place.backup_url("s"),
        )
        self.store.write_workspace(place.backup_record_url("s"), note.to_json())
        place.write_results("stamped", "b0001", [SegmentOutcome("s", outcome)], SegmentOutcome)
        if report:
            place.write_report([SegmentOutcome("s", outcome)])
        return place

    def names(self, place: Workspace) -> set[str]:
        """What a run has left, by folder and name."""
        folder = parse_url(place.run_url)[1]
        return {parse_url(item.url)[1].removeprefix(folder + "/") for item in self.store.list(place.run_url + "/")}

    def collect(self, present: Workspace, *, settings: TableSync | None = None, **limits: int) -> int:
        services = Services(
            cast(Any, FakeController(self.crcs)), cast(Any, None), self.store, settings or self.settings
        )
        return collect(services, present.plan_url, log=LOG, **limits).objects


@pytest.fixture
def runs(gateway: S3Gateway, prefix: str) -> Runs:
    return Runs(gateway, prefix)


ALL = {
    "plan.parquet", "report.parquet", "stamped/b0001.parquet", "staged/s.tar", "backup/s.tar", "backup/s.json",
}  # fmt: skip
RUN = {"plan.parquet", "report.parquet", "stamped/b0001.parquet"}


def test_each_thing_has_its_time(runs: Runs) -> None:
    places = {days: runs.run(f"run{days}", days) for days in (1, 3, 15, 89, 91)}
    present = runs.run("now", 0)
    assert runs.collect(present) == 1 + 3 + 3 + 6
    assert {days: runs.names(place) for days, place in places.items()} == {
        1: ALL,
        3: ALL - {"staged/s.tar"},
        15: RUN,
        89: RUN,
        91: set(),
    }
    assert runs.names(present) == ALL
    assert runs.collect(present) == 0


def test_what_is_never_to_be_removed_is_not(runs: Runs) -> None:
    place = runs.run("old", 1000)
    settings = runs.settings.model_copy(update={"keep_runs": None, "keep_backups": None, "keep_staged": None})
    assert runs.collect(runs.run("now", 0), settings=settings) == 0
    assert runs.names(place) == ALL


def test_the_store_tells_the_time_not_the_worker(runs: Runs) -> None:
    """Everything looks written in 1990, the present report as well: then nothing is old."""
    place, present = runs.run("earlier", 13_000), runs.run("now", 13_000)
    assert runs.collect(present) == 0
    assert runs.names(place) == ALL


def test_a_run_that_is_not_finished_keeps_everything(runs: Runs) -> None:
    unfinished = runs.run("alive", 20, report=False)
    dead = runs.run("dead", 95, report=False)
    own_earlier_try = runs.run("now", 0, created=7)
    runs.store.days["/7/"] = 1000
    present = runs.run("now", 0, created=8)
    runs.collect(present)
    assert runs.names(unfinished) == ALL - {"report.parquet"}
    assert runs.names(dead) == set()
    assert runs.names(own_earlier_try) == ALL


@pytest.mark.parametrize("days", [20, 95])
def test_the_backup_of_an_object_that_zookeeper_does_not_know_of_is_kept(runs: Runs, days: int) -> None:
    place = runs.run("cut", days, outcome=Outcome.FAILED)
    mark = ObjectMark("cut", 1, 2, "v1:0").to_metadata()
    bucket, key = parse_url(f"{runs.deep_store}/s")
    cast(Any, runs.store)._client.put_object(Bucket=bucket, Key=key, Body=b"new", Metadata=mark)
    runs.crcs = {"s": 1}
    present = runs.run("now", 0)
    runs.collect(present)
    assert runs.names(place) == ALL - {"staged/s.tar"}
    runs.crcs = {"s": 2}  # somebody finished it
    runs.collect(present)
    assert runs.names(place) == (RUN if days == 20 else set())


def test_a_backlog_takes_several_runs_and_the_plan_goes_last(runs: Runs) -> None:
    place, present = runs.run("old", 100), runs.run("now", 0)
    removed, left = [], []
    while runs.names(place):
        removed.append(runs.collect(present, most=2))
        left.append(runs.names(place))
    assert all(removed)
    assert all("plan.parquet" in names for names in left[:-1])


def test_trouble_is_no_failure_of_the_run(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    class FakeReadOnlyStore(FakeAgedStore):
        """The real store with credentials that lack s3:DeleteObject, which the gateway cannot be told."""

        def delete_all(self, urls: Any) -> None:
            raise DeepStoreAccessError("403: s3:DeleteObject")

    runs.store.__class__ = FakeReadOnlyStore
    place, present = runs.run("old", 100), runs.run("now", 0)
    assert runs.collect(present) == 0
    assert "s3:DeleteObject" in caplog.text
    assert runs.names(place) == ALL


# --- multipart uploads that a kill left open -------------------------------------------------------------------------


class Uploads:
    """Multipart uploads that somebody began, with a part each."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._s3: Any = cast(Any, runs.store)._client
        self.begun: dict[str, str] = {}

    def begin(self, name: str, url: str, *, days: float, noted: Workspace | None = None, as_url: str = "") -> None:
        """One by this name, so many days ago; `noted` is the run that noted it."""
        bucket, key = parse_url(url)
        upload_id = self._s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        self._s3.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=1, Body=b"x")
        self._runs.store.days[object_url(bucket, key)] = days
        self.begun[upload_id] = name
        if noted is not None:
            noted.note_upload(upload_id, as_url or url)

    @property
    def open(self) -> set[str]:
        places = (self._runs.deep_store, self._runs.root)
        return {self.begun[upload.id] for place in places for upload in self._runs.store.open_uploads(place + "/")}


@pytest.fixture
def uploads(runs: Runs) -> Uploads:
    return Uploads(runs)


def test_uploads_that_a_run_has_noted_are_dropped_and_nobody_elses(runs: Runs, uploads: Uploads) -> None:
    ended, young = runs.run("ended", 3), runs.run("young", 1)
    at_work = runs.run("at work", 5, report=False)
    deep = runs.deep_store
    uploads.begin("ours", f"{deep}/a%20b%25", days=4, noted=ended)
    uploads.begin("ours, in the workspace", ended.staged_url("t"), days=4)
    uploads.begin("ours, begun just now", f"{deep}/rolled back", days=1, noted=ended)
    uploads.begin("of a run that ended just now", f"{deep}/y", days=4, noted=young)
    uploads.begin("of a run at work", f"{deep}/w", days=4, noted=at_work)
    uploads.begin("of a run at work, in the workspace", at_work.staged_url("t"), days=4)
    uploads.begin("an ingestion job's", f"{deep}/i", days=400)
    uploads.begin("noted for another object", f"{deep}/o", days=400, noted=ended, as_url=f"{deep}/p")
    uploads.begin("an ingestion job's, of the same segment", f"{deep}/a%20b%25", days=4)
    present = runs.run("now", 0)
    everything = uploads.open
    runs.collect(present)
    assert everything - uploads.open == {"ours", "ours, in the workspace"}
    assert {name for name in runs.names(ended) if name.startswith("uploads/")} == set()
    assert len([name for name in runs.names(at_work) if name.startswith("uploads/")]) == 1
    runs.store.days["/young-"] = 3
    runs.collect(present)
    assert "of a run that ended just now" not in uploads.open
    assert len(uploads.open) == len(everything) - 3


def test_uploads_stay_where_staged_archives_do(runs: Runs, uploads: Uploads) -> None:
    uploads.begin("ours", f"{runs.deep_store}/s", days=1000, noted=runs.run("old", 1000))
    settings = runs.settings.model_copy(update={"keep_runs": None, "keep_backups": None, "keep_staged": None})
    runs.collect(runs.run("now", 0), settings=settings)
    assert uploads.open == {"ours"}


def test_where_uploads_may_not_be_listed_the_rest_is_cleared(
    runs: Runs, uploads: Uploads, caplog: pytest.LogCaptureFixture
) -> None:
    class FakeStoreThatListsNoUploads(FakeAgedStore):
        """The real store with credentials that lack s3:ListBucketMultipartUploads."""

        def open_uploads(self, prefix_url: str) -> Iterator[OpenUpload]:
            raise DeepStoreAccessError("403: s3:ListBucketMultipartUploads")

    caplog.set_level(logging.INFO)
    place = runs.run("old", 1000)
    uploads.begin("ours", f"{runs.deep_store}/s", days=1000, noted=place)
    present = runs.run("now", 0)
    runs.store.__class__ = FakeStoreThatListsNoUploads
    assert runs.collect(present) == 7
    assert "lifecycle rule" in caplog.text
    runs.store.__class__ = FakeAgedStore
    assert uploads.open == {"ours"}
