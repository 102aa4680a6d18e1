"""Two tries of a task that are both alive and publish the same segment, one in the middle of the other. A real gateway.

One of them finds servers that have the new layout already and publishes quietly, the other one does not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from deep_store_sync.errors import ObjectChangedError, PushRefusedError
from deep_store_sync.model import (
    Action,
    PlannedSegment,
    PublishMode,
    RebuildResult,
    Rebuilt,
    SegmentRecord,
    Servers,
    StampState,
)
from deep_store_sync.publishing.backup import fetch_original, read_note
from deep_store_sync.publishing.publish_segment import SegmentPublisher
from deep_store_sync.publishing.segment_writes import LostRaceError, Seen
from deep_store_sync.segment.archive import metadata_archive
from deep_store_sync.segment.segment_files import CreationMeta
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore, parse_url
from deep_store_sync.store.object_mark import ObjectMark, read_mark
from deep_store_sync.upkeep.rollback import _read_notes
from deep_store_sync.upkeep.undo import _what_to_bring_back
from deep_store_sync.workspace import Workspace
from pinot_sandbox.gateway import S3Gateway

LOG = logging.getLogger("tests.two_tries")
OLD_CRC, NEW_CRC = 5, 7
OLD = metadata_archive("s", CreationMeta(OLD_CRC, 1, None).to_bytes(), b"old = 1")
NEW = metadata_archive("s", CreationMeta(NEW_CRC, 1, None).to_bytes(), b"new = 1")


class FakeStoreInBetween(DeepStore):
    """The real store, in which something happens once in the middle of a call."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.after_copy: Callable[[], object] | None = None
        self.before_overwrite: Callable[[], object] | None = None
        self.after_overwrite: Callable[[], object] | None = None
        client.meta.events.register("after-call.s3.CopyObject", lambda **_: self._happens("after_copy"))

    def _happens(self, name: str) -> bool:
        happens = getattr(self, name)
        setattr(self, name, None)
        if happens is not None:
            happens()
        return happens is not None

    def replace(self, url: str, body: Path, **options: Any) -> str:
        self._happens("before_overwrite")
        etag = super().replace(url, body, **options)
        if self._happens("after_overwrite"):
            raise ObjectChangedError("412: the answer to a request that was sent a second time on the way")
        return etag


class FakeController:
    """Takes every push, or none."""

    def __init__(self, url: str) -> None:
        self.record = SegmentRecord("s", OLD_CRC, url)
        self.refuses = False

    def table_config(self, table: str) -> dict[str, Any]:
        return {}

    def segment(self, table: str, segment: str) -> SegmentRecord:
        return self.record

    def push_metadata(self, table: str, segment: str, **push: Any) -> None:
        if self.refuses:
            raise PushRefusedError("403: not permitted")


@dataclass
class Tries:
    """Two tries of a task, and the segment. Something can happen in the middle of what the `slow` one does."""

    between: FakeStoreInBetween
    controller: FakeController
    slow: SegmentPublisher
    quick: SegmentPublisher
    row: PlannedSegment
    rebuilt: RebuildResult
    seen: Seen

    @property
    def workspace(self) -> Workspace:
        return self.quick.workspace

    @property
    def kept(self) -> set[str]:
        """Copies and notes that there are."""
        found = self.between.list(f"{self.workspace.run_url}/backup/")
        return {parse_url(item.url)[1].rpartition("/")[2] for item in found}

    def publish(self, publisher: SegmentPublisher, mode: PublishMode) -> None:
        publisher.publish(self.row, self.rebuilt, mode, self.seen)

    def push_by_somebody_else(self) -> None:
        bucket, key = parse_url(self.row.url)
        cast(Any, self.between)._client.put_object(Bucket=bucket, Key=key, Body=b"pushed")

    def expect_old_one_within_reach(self, folder: Path) -> None:
        """A rollback finds the object as it was before the run."""
        notes, unreadable = _read_notes(self.quick.services, [self.workspace], ())
        assert unreadable == []
        seen = Seen(self.seen.record, self.between.head(self.row.url))
        note, _ = _what_to_bring_back(notes["s"], seen)
        fetch_original(self.between, note, folder / "original")
        assert (folder / "original").read_bytes() == OLD
        mark = read_mark(seen.object.metadata)
        assert mark is not None
        # So does whoever has to finish the push, or to take it back.
        assert self.quick._backups.note_on("s", mark) is not None


@pytest.fixture
def tries(gateway: S3Gateway, prefix: str, tmp_path: Path) -> Tries:
    between, store = FakeStoreInBetween(gateway.client()), DeepStore(gateway.client())
    settings = TableSync(
        table="flights_OFFLINE", deep_store_prefixes=(f"{prefix}/segments",), workspace=f"{prefix}/work", backup="copy"
    )
    url = f"{prefix}/segments/s"
    controller = FakeController(url)
    workspaces = [Workspace(each, f"{prefix}/work/flights_OFFLINE/runs/run-1/1") for each in (between, store)]
    slow, quick = (
        SegmentPublisher(
            Services(cast(Any, controller), cast(Any, None), each, settings), workspace, "run", LOG, tmp_path
        )
        for each, workspace in zip((between, store), workspaces, strict=True)
    )
    etag, staged = store.write_workspace(url, OLD), store.write_workspace(workspaces[0].staged_url("s"), NEW)
    row = PlannedSegment("s", Action.REBUILD, "", "v1:x", Servers.STALE, StampState.NONE, OLD_CRC, url)
    rebuilt = RebuildResult(
        "s",
        Rebuilt.CHANGED,
        crc=OLD_CRC,
        object_crc=OLD_CRC,
        new_crc=NEW_CRC,
        etag=etag,
        staged_url=workspaces[0].staged_url("s"),
        staged_crc=NEW_CRC,
        staged_etag=staged,
        staged_bytes=len(NEW),
    )
    return Tries(between, controller, slow, quick, row, rebuilt, Seen(controller.record, store.head(url)))


def test_a_push_that_arrives_while_another_try_is_refused_keeps_its_object(tries: Tries) -> None:
    """The slow one looks for what is to be put back when the push of the other one, for the same object, arrives."""
    tries.controller.refuses = True

    def told(**_: Any) -> None:
        tries.controller.record = replace(tries.controller.record, crc=NEW_CRC)

    cast(Any, tries.between)._client.meta.events.register("after-call.s3.GetObject", told)
    with pytest.raises(PushRefusedError, match="The object was left alone: ZooKeeper has CRC 7"):
        tries.publish(tries.slow, PublishMode.REFRESH)
    assert tries.between.read(tries.row.url) == NEW


def test_a_push_that_arrives_after_the_object_was_put_back_is_for_the_next_run_to_mend(tries: Tries) -> None:
    tries.controller.refuses = True
    with pytest.raises(PushRefusedError, match="The old object was put back"):
        tries.publish(tries.slow, PublishMode.REFRESH)
    assert tries.between.read(tries.row.url) == OLD
    mark = read_mark(tries.between.head(tries.row.url).metadata)
    assert mark is not None
    assert not mark.unfinished(zookeeper_crc=OLD_CRC, object_crc=OLD_CRC)
    assert mark.unfinished(zookeeper_crc=NEW_CRC, object_crc=OLD_CRC)


@pytest.mark.parametrize("moment", ["after_copy", "before_overwrite"])
def test_who_comes_too_late_takes_nothing_from_the_one_that_overwrote_it(
    tries: Tries, tmp_path: Path, moment: str
) -> None:
    setattr(tries.between, moment, lambda: tries.publish(tries.quick, PublishMode.QUIET))
    with pytest.raises(LostRaceError):
        tries.publish(tries.slow, PublishMode.REFRESH)
    tries.expect_old_one_within_reach(tmp_path)


def test_a_try_whose_answer_was_late_leaves_what_the_other_one_goes_on_from(tries: Tries, tmp_path: Path) -> None:
    """The quick one has seen the slow one's object, rebuilt that, and overwrote it in turn."""

    def go_on() -> None:
        found = tries.between.head(tries.row.url)
        again = replace(tries.rebuilt, etag=found.etag)
        tries.quick.publish(tries.row, again, PublishMode.REFRESH, Seen(tries.seen.record, found))

    tries.between.after_overwrite = go_on
    with pytest.raises(LostRaceError):
        tries.publish(tries.slow, PublishMode.QUIET)
    tries.expect_old_one_within_reach(tmp_path)


def test_a_try_that_loses_to_somebody_else_takes_back_what_it_wrote_and_no_more(tries: Tries) -> None:
    own: set[str] = set()
    all_of_them: set[str] = set()

    def in_between() -> None:
        own.update(tries.kept)
        tries.quick._backups.keep(tries.row, tries.rebuilt, tries.seen, ObjectMark("run", OLD_CRC, OLD_CRC, "v1:x"))
        all_of_them.update(tries.kept)
        tries.push_by_somebody_else()

    tries.between.before_overwrite = in_between
    with pytest.raises(LostRaceError):
        tries.publish(tries.slow, PublishMode.REFRESH)
    assert (len(own), len(all_of_them)) == (2, 4)
    assert tries.kept == all_of_them - own


def test_what_was_kept_by_a_version_before_is_found(tries: Tries, tmp_path: Path) -> None:
    """It had one copy and one note of a segment, right in the folder."""
    tries.publish(tries.quick, PublishMode.QUIET)
    ((_, item),) = tries.workspace.backup_records()
    note, folder = read_note(tries.between, item.url), f"{tries.workspace.run_url}/backup"
    assert note is not None
    moved = replace(note, copy_url=f"{folder}/s.tar")
    tries.between.write_workspace(f"{folder}/s.tar", tries.between.read(str(note.copy_url)))
    tries.between.delete_all([str(note.copy_url), item.url])
    tries.between.write_workspace(f"{folder}/s.json", moved.to_json())
    tries.expect_old_one_within_reach(tmp_path)
