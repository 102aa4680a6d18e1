"""What older runs left is removed when its time is over by the store's clock, and what may be needed is not."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from deep_store_sync.errors import DeepStoreAccessError, DeepStoreUnavailableError, PinotUnavailableError
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
        self.young: set[str] = set()
        """URLs of objects that were written just now."""
        self.got: list[str] = []

    def read(self, url: str) -> bytes:
        self.got.append(url)
        return super().read(url)

    def _aged(self, info: ObjectInfo) -> ObjectInfo:
        assert info.last_modified is not None
        if info.url in self.young:
            return info
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

    def __init__(self, crcs: dict[str, int], *, away: bool = False) -> None:
        self.crcs = crcs
        self.away = away
        self.asked = 0

    def segments(self, table: str) -> list[SegmentRecord]:
        self.asked += 1
        if self.away:
            raise PinotUnavailableError("the controller is away")
        return [SegmentRecord(name, crc, f"s3://b/d/{name}") for name, crc in self.crcs.items()]


class Runs:
    """Runs of a table in a workspace of their own."""

    def __init__(self, gateway: S3Gateway, prefix: str) -> None:
        self.root = f"{prefix}/work"
        self.deep_store = f"{prefix}/deep"
        self.store = FakeAgedStore(gateway.client())
        self.settings = TableSync(table=TABLE, deep_store_prefixes=(self.deep_store,), workspace=self.root)
        self.crcs: dict[str, int] = {}
        self.away = False
        self.asked = 0

    def run(
        self,
        run_id: str,
        days: float,
        *,
        outcome: Outcome = Outcome.SYNCED,
        report: bool = True,
        created: int = 1,
        segments: Collection[str] = ("s",),
    ) -> Workspace:
        """A run so many days ago that overwrote segments (CRC 1 to 2), and left a staged archive."""
        place = Workspace.for_run(self.store, self.root, TABLE, run_id, created)
        self.store.days[f"/{run_id}-"] = days
        place.write_plan(Plan(TABLE, RunRequest(run_id), 0, {}, {}, ()))
        self.store.write_workspace(place.staged_url("s"), b"staged")
        for segment in segments:
            self.back_up(place, run_id, segment, *place.backup_urls(segment))
        place.write_results("stamped", "b0001", [SegmentOutcome("s", outcome)], SegmentOutcome)
        if report:
            place.write_report([SegmentOutcome("s", outcome)])
        return place

    def back_up(self, place: Workspace, run_id: str, segment: str, copy_url: str, note_url: str) -> None:
        """A copy and a note of what the run overwrote."""
        mark = ObjectMark(run_id, 1, 2, "v1:0")
        note = Backup(segment, f"{self.deep_store}/{segment}", mark, Kept.COPY, 1, 1, copy_url=copy_url)
        self.store.write_workspace(copy_url, b"old")
        self.store.write_workspace(note_url, note.to_json())

    def overwrite(self, run_id: str, segment: str = "s") -> None:
        """The object of the deep store as the run has left it."""
        bucket, key = parse_url(f"{self.deep_store}/{segment}")
        mark = ObjectMark(run_id, 1, 2, "v1:0").to_metadata()
        cast(Any, self.store)._client.put_object(Bucket=bucket, Key=key, Body=b"new", Metadata=mark)

    def names(self, place: Workspace) -> set[str]:
        """What a run has left, by folder and name; of backups without the part that is their own."""
        folder = parse_url(place.run_url)[1]
        names = (parse_url(item.url)[1].removeprefix(folder + "/") for item in self.store.list(place.run_url + "/"))
        return {re.sub(r"/[0-9a-f]{32}(?=\.)", "", name) for name in names}

    def collect(self, present: Workspace, *, settings: TableSync | None = None, **limits: int) -> int:
        controller = FakeController(self.crcs, away=self.away)
        services = Services(cast(Any, controller), cast(Any, None), self.store, settings or self.settings)
        collected = collect(services, present.plan_url, log=LOG, **limits)
        self.asked = controller.asked
        return collected.objects


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
    runs.overwrite("cut")
    runs.crcs = {"s": 1}
    present = runs.run("now", 0)
    runs.collect(present)
    assert runs.names(place) == ALL - {"staged/s.tar"}
    runs.crcs = {"s": 2}  # somebody finished it
    runs.collect(present)
    assert runs.names(place) == (RUN if days == 20 else set())


@pytest.mark.parametrize("layout", ["of versions before", "of one of two tries"])
def test_copies_and_notes_go_and_stay_together_wherever_they_lie(runs: Runs, layout: str) -> None:
    place = runs.run("cut", 20, outcome=Outcome.FAILED, segments=())
    for segment in ("s", "t"):
        copy_url, note_url = place.backup_urls(segment)
        if layout == "of versions before":
            copy_url, note_url = f"{place.run_url}/backup/{segment}.tar", f"{place.run_url}/backup/{segment}.json"
        runs.back_up(place, "cut", segment, copy_url, note_url)
        runs.store.write_workspace(place.backup_urls(segment)[0], b"a copy that nobody has noted")
    runs.overwrite("cut")
    runs.crcs = {"s": 1, "t": 1}
    present = runs.run("now", 0)
    runs.collect(present)
    left = {name for name in runs.names(place) if name.startswith("backup/")}
    assert left == {"backup/s.tar", "backup/s.json"}
    assert [runs.store.exists(url) for url in (copy_url, note_url)] == [False, False]
    (note,) = [Backup.from_json(runs.store.read(item.url)) for _, item in place.backup_records("s")]
    assert runs.store.exists(str(note.copy_url))


def test_notes_are_looked_at_in_parts_the_oldest_first_and_what_was_not_looked_at_stays(runs: Runs) -> None:
    older = runs.run("older", 95, report=False, segments=("a", "b", "c"))
    newer = runs.run("newer", 94, report=False, created=2, segments=("d", "e"))
    runs.crcs = dict.fromkeys("abcd", 1)  # and `e` was deleted since
    present = runs.run("now", 0)
    looked_at = []
    while runs.names(older) or runs.names(newer):
        runs.store.got.clear()
        runs.collect(present, most_looked_at=2)
        notes = [url for url in runs.store.got if url.endswith(".json")]
        looked_at.append("".join(sorted(url.rsplit("/", 2)[1] for url in notes)))
        assert len(looked_at) < 5
    assert sorted(looked_at[0] + looked_at[1]) == ["a", "b", "c", "d"]
    assert len(looked_at[0]) == 2
    assert "d" not in looked_at[0]


def test_a_controller_that_is_away_keeps_only_what_it_would_have_to_be_asked_for(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    doubtful = [runs.run(f"cut{number}", 20, outcome=Outcome.FAILED) for number in range(4)]
    other = runs.run("other", 20, created=2)
    runs.away = True
    present = runs.run("now", 0)
    runs.collect(present)
    assert [runs.names(place) for place in doubtful] == [ALL - {"staged/s.tar"}] * 4
    assert runs.names(other) == RUN
    assert caplog.text.count("the controller is away") == 1
    assert runs.asked == 1


@pytest.mark.parametrize("days", [20, 100])
def test_what_a_task_writes_that_was_cleared_long_after_the_report_stays(runs: Runs, days: float) -> None:
    place = runs.run("cleared", days)
    item = next(item for _, item in place.backup_records())
    runs.store.young = {place.staged_url("s"), item.url, item.url.removesuffix(".json") + ".tar"}
    runs.collect(runs.run("now", 0))
    assert runs.names(place) == ALL


def test_plan_and_report_stay_with_results_of_a_cleared_task(runs: Runs) -> None:
    place = runs.run("cleared", 100)
    runs.store.young = {place.result_url("stamped", "b0001")}
    runs.collect(runs.run("now", 0))
    assert runs.names(place) == RUN


def test_a_note_that_cannot_be_read_is_kept_and_named(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    place, other = runs.run("newer", 100, outcome=Outcome.FAILED), runs.run("other", 100)
    ((_, item),) = place.backup_records()
    runs.store.write_workspace(item.url, b"{}")
    runs.crcs = {"s": 1}
    runs.collect(runs.run("now", 0))
    assert {"backup/s.tar", "backup/s.json"} <= runs.names(place)
    assert runs.names(other) == set()
    assert caplog.text.count("was it written by a newer version?") == 1
    assert item.url in caplog.text


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


class FakeRefusingStore(FakeAgedStore):
    """The real store, in which listings of some places are refused, or not answered."""

    refused = ""
    error: type[Exception] = DeepStoreAccessError
    asked: Any = None

    def list(self, prefix_url: str) -> Iterator[ObjectInfo]:
        if self.refused in prefix_url:
            self.asked.append(prefix_url)
            raise self.error(f"{prefix_url}: no listing")
        return super().list(prefix_url)

    def folders(self, prefix_url: str) -> Iterator[str]:
        if f"{self.refused}folder-" in prefix_url:
            raise self.error(f"{prefix_url}: no listing")
        return super().folders(prefix_url)


def refuse(runs: Runs, places: str, error: type[Exception]) -> list[str]:
    """Have listings of these places fail; returns those that were asked for, later on."""
    runs.store.__class__ = FakeRefusingStore
    store = cast(FakeRefusingStore, runs.store)
    store.refused, store.error, store.asked = places, error, []
    return cast("list[str]", store.asked)


def test_what_cannot_be_cleared_at_one_place_is_named_once_and_keeps_no_other(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    refused = [runs.run(f"locked-{name}", 100) for name in ("a", "b", "folder")]
    others = [runs.run("open", 100, created=2), runs.run("aopen", 100)]
    present = runs.run("now", 0)
    refuse(runs, "/locked-", DeepStoreAccessError)
    assert runs.collect(present) == 2 * len(ALL)
    runs.store.__class__ = FakeAgedStore
    assert [runs.names(place) for place in (*refused, *others)] == [ALL] * 3 + [set()] * 2
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 3
    for place in refused[:2]:
        assert sum(place.run_url in warning for warning in warnings) == 1


def test_a_store_that_is_away_is_not_asked_for_every_place(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(5):
        runs.run(f"gone-{number}", 100)
    present = runs.run("now", 0)
    asked = refuse(runs, "/gone-", DeepStoreUnavailableError)
    assert runs.collect(present) == 0
    assert len({url.split("/runs/")[1].split("/")[0] for url in asked}) == 3
    assert "the next run tries again" in caplog.text


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

    def noted(self, place: Workspace) -> set[str]:
        return {self.begun.get(upload_id, upload_id) for upload_id, _ in place.noted_uploads()}

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
    ended.note_upload("completed long ago", f"{deep}/z")
    present = runs.run("now", 0)
    everything = uploads.open
    runs.collect(present)
    assert everything - uploads.open == {"ours", "ours, in the workspace"}
    # A note stays as long as its upload: that of a rollback, say.
    assert uploads.noted(ended) == {"ours, begun just now", "noted for another object"}
    assert uploads.noted(at_work) == {"of a run at work"}
    runs.store.days["/young-"] = 3
    runs.store.days[object_url(*parse_url(f"{deep}/rolled back"))] = 3
    runs.collect(present)
    assert everything - uploads.open == {
        "ours", "ours, in the workspace", "of a run that ended just now", "ours, begun just now",
    }  # fmt: skip
    assert uploads.noted(ended) == {"noted for another object"}


def test_uploads_stay_where_staged_archives_do(runs: Runs, uploads: Uploads) -> None:
    uploads.begin("ours", f"{runs.deep_store}/s", days=1000, noted=runs.run("old", 1000))
    settings = runs.settings.model_copy(update={"keep_runs": None, "keep_backups": None, "keep_staged": None})
    runs.collect(runs.run("now", 0), settings=settings)
    assert uploads.open == {"ours"}


class FakeStoreThatListsNoUploads(FakeAgedStore):
    """The real store with credentials that lack s3:ListBucketMultipartUploads."""

    def open_uploads(self, prefix_url: str) -> Iterator[OpenUpload]:
        raise DeepStoreAccessError("403: s3:ListBucketMultipartUploads")


def test_where_uploads_may_not_be_listed_the_rest_is_cleared_and_notes_stay(
    runs: Runs, uploads: Uploads, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    place = runs.run("old", 20)
    uploads.begin("ours", f"{runs.deep_store}/s", days=20, noted=place)
    present = runs.run("now", 0)
    runs.store.__class__ = FakeStoreThatListsNoUploads
    assert runs.collect(present) == 3
    assert "lifecycle rule" in caplog.text
    assert uploads.noted(place) == {"ours"}
    runs.store.__class__ = FakeAgedStore
    assert uploads.open == {"ours"}
    assert runs.collect(present) == 1
    assert (uploads.open, uploads.noted(place)) == (set(), set())


def test_uploads_that_may_not_be_listed_are_dropped_with_their_run(runs: Runs, uploads: Uploads) -> None:
    place = runs.run("old", 1000)
    uploads.begin("ours", f"{runs.deep_store}/s", days=1000, noted=place)
    uploads.begin("an ingestion job's", f"{runs.deep_store}/s", days=1000)
    place.note_upload("completed long ago", f"{runs.deep_store}/z")
    present = runs.run("now", 0)
    runs.store.__class__ = FakeStoreThatListsNoUploads
    assert runs.collect(present) == len(ALL) + 2
    runs.store.__class__ = FakeAgedStore
    assert uploads.open == {"an ingestion job's"}
    assert runs.names(place) == set()


def test_what_a_rollback_uploads_into_an_old_run_stays_noted(runs: Runs, uploads: Uploads) -> None:
    """Also where the rollback has begun it only after the store listed the open uploads."""

    class FakeStoreWithARollback(FakeAgedStore):
        """The real store, in which an upload is begun and noted as soon as open ones were listed."""

        def open_uploads(self, prefix_url: str) -> Iterator[OpenUpload]:
            found = list(super().open_uploads(prefix_url))
            if prefix_url.startswith(runs.root):
                uploads.begin("a rollback's", f"{runs.deep_store}/s", days=0, noted=place)
                ((_, item),) = place.noted_uploads()
                self.days = {part: days for part, days in self.days.items() if "old-" not in part}
                self.days |= {f"{place.run_url}/{name}": 1000.0 for name in ("plan", "report", "stamped", "staged")}
                self.days[item.url] = -0.1
            return iter(found)

    place = runs.run("old", 1000)
    present = runs.run("now", 0)
    runs.store.__class__ = FakeStoreWithARollback
    runs.collect(present)
    runs.store.__class__ = FakeAgedStore
    assert uploads.noted(place) == {"a rollback's"}
    assert uploads.open == {"a rollback's"}
    assert {"plan.parquet", "report.parquet"} <= runs.names(place)
