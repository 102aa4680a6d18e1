"""What can happen to a run: dry, stopped, overtaken, cut short."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
from tests.e2e.kit import NEW_INDEXES, TABLE, Sync, add_indexes, leave_servers_behind, outcomes

from deep_store_sync.errors import PinotUnavailableError
from deep_store_sync.model import Action, DeferredBy, Outcome, PublishMode
from deep_store_sync.publishing.backup import Backup
from deep_store_sync.publishing.publish_segment import SegmentPublisher
from deep_store_sync.store.object_mark import read_mark
from deep_store_sync.workspace import Workspace

SEGMENT = "flights_2013-01"


@pytest.fixture
def stale(sync: Sync) -> Sync:
    """Two months of flights whose servers are stale."""
    sync.sandbox.load_flights(months=[1, 2])
    add_indexes(sync.sandbox)
    sync.sandbox.reset_downloads()
    return sync


def test_an_empty_table_has_nothing_to_do(sync: Sync) -> None:
    sync.sandbox.load_flights(months=[])
    assert sync.run(force=True) == {}
    assert sync.reports[-1].undone == ()


def test_a_dry_run_makes_the_plan_of_the_real_run_and_changes_nothing(stale: Sync) -> None:
    before = stale.look()
    stale.run(dry_run=True)
    assert stale.last is not None
    dry = stale.last
    assert dry.batches == ()
    assert stale.reports[-1].dry_run
    assert stale.look() == before
    stale.run()
    assert [(row.segment, row.action, row.reason, row.batch) for row in stale.last.plan.segments] == [
        (row.segment, row.action, row.reason, row.batch) for row in dry.plan.segments
    ]


def test_the_kill_switch_leaves_everything_as_it_is_and_the_run_is_not_green(stale: Sync) -> None:
    before = stale.look()
    rows = stale.run(stop=lambda: "deploying")
    assert outcomes(rows) == {Outcome.DEFERRED}
    assert {row.deferred_by for row in rows.values()} == {DeferredBy.STOPPED}
    assert "deploying" in stale.reports[-1].undone[0]
    assert stale.look() == before


@pytest.mark.parametrize("what", ["config", "schema"])
def test_a_config_change_between_plan_and_publish_drops_the_batch_untouched(stale: Sync, what: str) -> None:
    def drift() -> None:
        if what == "schema":
            schema = stale.sandbox.schema(TABLE)
            schema["dimensionFieldSpecs"].append({"name": "added", "dataType": "STRING"})
            put_schema(stale, schema)
        else:
            config = stale.sandbox.table_config(TABLE)
            config["tableIndexConfig"]["bloomFilterColumns"] = ["dest"]
            stale.sandbox.update_table_config(config)

    before = stale.look()
    rows = stale.run(between=drift)
    assert {(row.outcome, row.deferred_by) for row in rows.values()} == {(Outcome.DEFERRED, DeferredBy.DRIFT)}
    assert "changed after the plan" in stale.reports[-1].undone[0]
    assert stale.look() == before


def test_an_irrelevant_config_change_does_not(stale: Sync) -> None:
    def retention() -> None:
        config = stale.sandbox.table_config(TABLE)
        config["segmentsConfig"].update(retentionTimeUnit="DAYS", retentionTimeValue="36500")
        stale.sandbox.update_table_config(config)

    assert outcomes(stale.run(between=retention)) == {Outcome.SYNCED}


def test_a_segment_that_is_pushed_again_meanwhile_is_left_to_its_owner(stale: Sync) -> None:
    """An ingestion job replaces January between rebuilding and publishing: its rows stay, ours are dropped."""
    sandbox = stale.sandbox

    def push() -> None:
        (archive,) = sandbox.build_segments(
            {SEGMENT: [{"origin": "XXX", "ts": 1357000000000}]},
            table_config=sandbox.table_config(TABLE),
            schema=sandbox.schema(TABLE),
        )
        sandbox.push_segment(TABLE, archive)

    rows = stale.run(between=push)
    assert rows[SEGMENT].outcome is Outcome.LOST_RACE
    assert rows["flights_2013-02"].outcome is Outcome.SYNCED
    assert sandbox.query("select origin, count(*) from flights where origin = 'XXX' group by origin") == [["XXX", 1]]
    assert stale.look()[SEGMENT].stamp is None
    assert stale.reports[-1].undone == ()


def test_a_segment_that_is_deleted_meanwhile_stays_deleted(stale: Sync) -> None:
    sandbox = stale.sandbox
    url = f"{sandbox.controller_url}/segments/{TABLE}/{SEGMENT}?retention=0d"

    def delete() -> None:
        httpx.delete(url, timeout=30).raise_for_status()

    rows = stale.run(between=delete)
    assert rows[SEGMENT].outcome is Outcome.LOST_RACE
    assert set(stale.look()) == {"flights_2013-02"}


@pytest.mark.parametrize("cut", ["before the push", "before the proof"])
def test_a_refresh_that_is_cut_short_is_finished_by_the_next_run(
    stale: Sync, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """The worker dies between the object and ZooKeeper, or right after ZooKeeper."""

    class Died(BaseException):
        """What a test can raise where the process would be gone."""

    def die(*_: Any, **__: Any) -> None:
        raise Died

    target = (SegmentPublisher, "_push") if cut == "before the push" else (type(stale.services.servers), "segment_crcs")
    answers = stale.sandbox.query("select count(*), sum(distance) from flights")
    before = stale.look()
    with monkeypatch.context() as patch:
        patch.setattr(*target, die)
        with pytest.raises(Died):
            stale.with_settings(wave_segments=1).run()

    middle = stale.look()
    changed = [name for name in before if middle[name].etag != before[name].etag]
    assert len(changed) == 1
    assert stale.sandbox.query("select count(*), sum(distance) from flights") == answers
    record = stale.services.controller.segment(TABLE, changed[0])
    mark = read_mark(stale.services.store.head(str(record.url)).metadata)
    assert mark is not None
    assert mark.unfinished(zookeeper_crc=middle[changed[0]].crc, object_crc=mark.new_crc) is (cut == "before the push")

    rows = stale.run()
    after = stale.look()
    assert stale.reports[-1].undone == ()
    assert all(view.stamp and view.indexes >= NEW_INDEXES for view in after.values())
    if cut == "before the push":
        assert outcomes(rows) == {Outcome.SYNCED}
        # It was written already: only ZooKeeper had to be told.
        assert after[changed[0]].etag == middle[changed[0]].etag
        assert rows[changed[0]].uploaded_bytes == 0
        assert rows[changed[0]].mode is PublishMode.REFRESH
    assert outcomes(stale.run()) == {Outcome.SKIPPED}
    assert stale.sandbox.query("select count(*), sum(distance) from flights") == answers


def test_a_quiet_publish_that_is_cut_short_is_only_stamped_by_the_next_run(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync.sandbox.load_flights(months=[1])
    add_indexes(sync.sandbox)
    sync.sandbox.reload(TABLE)
    sync.sandbox.reset_downloads()

    def unavailable(*_: Any, **__: Any) -> None:
        raise PinotUnavailableError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(SegmentPublisher, "stamp", unavailable)
        rows = sync.run()
    assert outcomes(rows) == {Outcome.FAILED}
    assert "failed" in sync.reports[-1].undone[0]
    middle = sync.look()
    assert middle[SEGMENT].indexes >= NEW_INDEXES
    assert middle[SEGMENT].stamp is None

    assert outcomes(sync.run()) == {Outcome.STAMPED}
    assert sync.look()[SEGMENT].etag == middle[SEGMENT].etag
    assert sync.downloads() == dict.fromkeys(sync.sandbox.servers, 0)


def test_an_object_under_anothers_crc_is_left_alone(sync: Sync) -> None:
    """Somebody has written the object and not yet told ZooKeeper."""
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1])
    add_indexes(sandbox)
    (archive,) = sandbox.build_segments(
        {SEGMENT: [{"origin": "XXX", "ts": 1357000000000}]},
        table_config=sandbox.table_config(TABLE),
        schema=sandbox.schema(TABLE),
    )
    (record,) = sync.services.controller.segments(TABLE)
    sync.services.store.write_workspace(str(record.url), archive)
    before = sync.look()
    rows = sync.run()
    assert outcomes(rows) == {Outcome.NOT_ELIGIBLE}
    assert "CRC" in rows[SEGMENT].message
    assert sync.look() == before


def test_a_stamped_segment_that_servers_lost_is_taken_by_a_forced_download(sync: Sync) -> None:
    """The deep store is current, a server is not: its copy was reloaded for a config that was taken back."""
    sandbox = sync.sandbox
    leave_servers_behind(sync)
    before = sync.look()
    sandbox.reset_downloads()
    rows = sync.run()
    assert sync.last is not None
    assert [row.action for row in sync.last.plan.segments] == [Action.RELOAD]
    assert outcomes(rows) == {Outcome.SYNCED}
    assert sync.look() == before
    assert sync.downloads() == dict.fromkeys(sandbox.servers, 1)
    assert outcomes(sync.run()) == {Outcome.SKIPPED}


def test_what_stays_stale_is_marked_incurable_once_and_left_alone(sync: Sync) -> None:
    """`isStale` wants all rows of a segment in one partition."""
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1])
    config = sandbox.table_config(TABLE)
    by = {"carrier": {"functionName": "Murmur", "numPartitions": 4}}
    config["tableIndexConfig"]["segmentPartitionConfig"] = {"columnPartitionMap": by}
    sandbox.update_table_config(config)
    assert outcomes(sync.run()) == {Outcome.SYNCED}  # so that brokers know the partitions that it has
    before = sync.look()
    sandbox.reset_downloads()
    rows = sync.run()
    assert outcomes(rows) == {Outcome.INCURABLE}
    assert "partitions" in rows[SEGMENT].message
    after = sync.look()
    assert after[SEGMENT].etag == before[SEGMENT].etag
    for force in (False, True):
        assert outcomes(sync.run(force=force)) == {Outcome.INCURABLE}
        assert sync.look() == after
    assert sync.downloads() == dict.fromkeys(sandbox.servers, 0)
    # Another config, another try.
    del config["tableIndexConfig"]["segmentPartitionConfig"]
    sandbox.update_table_config(config)
    assert outcomes(sync.run()) == {Outcome.STAMPED}


def put_schema(sync: Sync, schema: dict[str, Any]) -> None:
    """Force, since Pinot warns of a change that old segments do not follow."""
    url = f"{sync.sandbox.controller_url}/schemas/flights?force=true"
    httpx.put(url, json=schema, timeout=30).raise_for_status()


def test_what_cannot_be_converted_fails_with_the_reason_and_is_not_touched(sync: Sync) -> None:
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1])
    schema = sandbox.schema(TABLE)
    for spec in schema["dimensionFieldSpecs"]:
        if spec["name"] == "carrier":
            spec["dataType"] = "INT"
    before = sync.look()
    put_schema(sync, schema)
    rows = sync.run()
    assert outcomes(rows) == {Outcome.FAILED}
    assert "carrier" in rows[SEGMENT].message
    assert sync.reports[-1].undone
    assert sync.look() == before


def test_a_column_that_left_the_schema_leaves_the_object(sync: Sync) -> None:
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1])
    schema = sandbox.schema(TABLE)
    schema["dimensionFieldSpecs"] = [spec for spec in schema["dimensionFieldSpecs"] if spec["name"] != "minute"]
    put_schema(sync, schema)
    rows = sync.run()
    assert outcomes(rows) == {Outcome.SYNCED}
    assert rows[SEGMENT].changes == ("minute: column removed",)
    after = sync.look()
    assert not {index for index in after[SEGMENT].indexes if index.startswith("minute.")}
    assert after[SEGMENT].stamp
    assert outcomes(sync.run()) == {Outcome.SKIPPED}
    assert sync.look() == after


def test_a_new_column_is_added_with_its_default(sync: Sync) -> None:
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1])
    schema = sandbox.schema(TABLE)
    schema["dimensionFieldSpecs"].append({"name": "alliance", "dataType": "STRING", "defaultNullValue": "none"})
    sandbox.update_schema(schema)
    assert outcomes(sync.run()) == {Outcome.SYNCED}
    assert "alliance.forward_index" in sync.look()[SEGMENT].indexes
    assert sandbox.query("select alliance, count(*) from flights group by alliance") == [["none", 27004]]
    assert outcomes(sync.run()) == {Outcome.SKIPPED}


def test_a_backfill_takes_the_segments_of_its_interval(sync: Sync) -> None:
    sync.sandbox.load_flights(months=[1, 2])
    start = 1357016400000  # 2013-01-01T05:00Z, the first hour of New York's January
    rows = sync.run(force=True, interval=(start, start + int(timedelta(days=30).total_seconds() * 1000)))
    assert set(rows) == {SEGMENT}
    assert outcomes(rows) == {Outcome.STAMPED}


def test_globs_and_max_segments_bound_a_run(stale: Sync) -> None:
    assert set(stale.run(dry_run=False, segments=("*-02",))) == {"flights_2013-02"}
    rows = stale.run(force=True, max_segments=0)
    assert rows[SEGMENT].deferred_by is DeferredBy.MAX_SEGMENTS
    assert stale.reports[-1].undone == ()


def test_staged_archives_are_removed_and_backups_kept(stale: Sync) -> None:
    before = {
        record.name: stale.services.store.read(str(record.url)) for record in stale.services.controller.segments(TABLE)
    }
    stale.run()
    assert stale.last is not None
    workspace = Workspace.of_plan(stale.services.store, stale.last.plan_url)
    urls = {item.url for item in stale.services.store.list(workspace.run_url + "/")}
    assert not {url for url in urls if "/staged/" in url}
    store = stale.services.store
    notes = {name: Backup.from_json(store.read(item.url)) for name, item in workspace.backup_records()}
    assert {name: store.read(str(note.copy_url)) for name, note in notes.items()} == before


def test_batches_are_independent(stale: Sync) -> None:
    run = stale.with_settings(batch_segments=1)
    rows = run.run()
    assert run.last is not None
    assert len(run.last.batches) == 2
    assert outcomes(rows) == {Outcome.SYNCED}
