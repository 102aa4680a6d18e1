"""Stamps, outcomes and green runs have to be true whatever came in between: deaths, retries, other people's pushes."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from tests.e2e.kit import NEW_INDEXES, TABLE, Sync, add_indexes, leave_servers_behind, outcomes

from deep_store_sync.errors import PinotUnavailableError
from deep_store_sync.find import find_stale_segments
from deep_store_sync.model import Action, DeferredBy, Outcome, PublishMode, RunRequest, SegmentOutcome
from deep_store_sync.publishing import forced_reload
from deep_store_sync.publishing.last_check import LastCheck
from deep_store_sync.publishing.publish import upload_and_refresh
from deep_store_sync.publishing.publish_segment import SegmentPublisher
from deep_store_sync.publishing.stamping import stamp_batch
from deep_store_sync.publishing.wave import WavePublisher
from deep_store_sync.rebuilding.rebuild import rebuild_batch
from deep_store_sync.report import write_report
from deep_store_sync.store.object_mark import first_written
from deep_store_sync.workspace import Workspace

SEGMENT, OTHER = "flights_2013-01", "flights_2013-02"
LOG = logging.getLogger("tests.e2e")


class Died(BaseException):
    """What a test can raise where the process would be gone."""


def die(*_: Any, **__: Any) -> None:
    raise Died


@pytest.mark.parametrize("mode", ["quiet", "refresh"])
def test_a_config_that_is_taken_back_after_a_death_brings_the_object_back_too(
    sync: Sync, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """The object was overwritten for a config that is no more, and ZooKeeper still has the stamp of the one that is."""
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1])
    original = sandbox.table_config(TABLE)
    assert outcomes(sync.run(force=True)) == {Outcome.STAMPED}
    before = sync.look()
    add_indexes(sandbox)
    if mode == "quiet":
        sandbox.reload(TABLE)
    with monkeypatch.context() as patch:
        patch.setattr(SegmentPublisher, "stamp" if mode == "quiet" else "_push", die)
        with pytest.raises(Died):
            sync.run()
    assert sync.look()[SEGMENT].indexes >= NEW_INDEXES

    sandbox.update_table_config(original)
    if mode == "quiet":
        sandbox.reload(TABLE)
    assert outcomes(sync.run()) == {Outcome.SYNCED}
    after = sync.look()
    assert not after[SEGMENT].indexes & NEW_INDEXES
    assert after[SEGMENT].stamp == before[SEGMENT].stamp
    assert outcomes(sync.run()) == {Outcome.SKIPPED}
    server = sandbox.servers[0]
    sandbox.restart_server(server, wipe=True)
    crc = sync.services.servers.segment_crcs(sandbox.server_admin_url(server), TABLE)[SEGMENT]
    assert crc == after[SEGMENT].crc
    assert sandbox.query("select count(*) from flights") == [[27004]]


def test_a_stamp_does_not_turn_back_a_new_download_url(sync: Sync) -> None:
    """An ingestion job writes the same data into another folder while a run is at work."""
    sandbox, store, controller = sync.sandbox, sync.services.store, sync.services.controller
    sandbox.load_flights(months=[1])
    moved = f"{sandbox.deep_store_url}/elsewhere/{SEGMENT}"

    def move() -> None:
        from deep_store_sync.segment.archive import metadata_archive, read_metadata

        (record,) = controller.segments(TABLE)
        path = sandbox.root / "moved"
        info = store.download(str(record.url), path)
        creation_meta, properties = read_metadata(path, SEGMENT)
        store.copy(str(record.url), moved, source_etag=info.etag)
        archive = metadata_archive(SEGMENT, creation_meta, properties)
        controller.push_metadata(
            TABLE, SEGMENT, archive=archive, url=moved, expected_crc=record.crc or 0, custom={"by": "ingestion"}
        )

    rows = sync.run(force=True, between=move)
    assert outcomes(rows) == {Outcome.LOST_RACE}
    (record,) = controller.segments(TABLE)
    assert (record.url, dict(record.custom)) == (moved, {"by": "ingestion"})
    assert outcomes(sync.run(force=True)) == {Outcome.STAMPED}


def test_an_object_that_is_overwritten_right_after_the_push_is_noticed_now_and_later(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another push copies its object over ours, and then loses in ZooKeeper."""
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1])
    add_indexes(sandbox)
    (other,) = sandbox.build_segments(
        {SEGMENT: [{"origin": "XXX", "ts": 1357000000000}]},
        table_config=sandbox.table_config(TABLE),
        schema=sandbox.schema(TABLE),
    )
    push = SegmentPublisher._push

    def overwritten_before_push(self: SegmentPublisher, row: Any, *args: Any, **kwargs: Any) -> None:
        self.services.store.write_workspace(row.url, other)
        push(self, row, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentPublisher, "_push", overwritten_before_push)
        rows = sync.run()
    assert outcomes(rows) == {Outcome.FAILED}
    assert "somebody else overwrote" in rows[SEGMENT].message
    # The stamp that went along with the push vouches for another object.
    assert outcomes(sync.run()) == {Outcome.NOT_ELIGIBLE}


def test_a_table_that_comes_to_skip_preprocessing_is_not_published_quietly_on_its_word(sync: Sync) -> None:
    """`needReload` means nothing from then on, and a codec is nothing that `isStale` would see."""
    sandbox = sync.sandbox

    def with_codec(codec: str) -> list[dict[str, str]]:
        return [{"name": "distance", "encodingType": "RAW", "compressionCodec": codec}]

    sandbox.load_flights(months=[1], table_config_overrides={"fieldConfigList": with_codec("SNAPPY")})
    assert outcomes(sync.run(force=True)) == {Outcome.STAMPED}
    config = sandbox.table_config(TABLE)
    config["fieldConfigList"] = with_codec("ZSTANDARD")
    sandbox.update_table_config(config)

    def skip() -> None:
        config["tableIndexConfig"]["skipSegmentPreprocess"] = True
        sandbox.update_table_config(config)

    sandbox.reset_downloads()
    rows = sync.run(between=skip)
    assert (rows[SEGMENT].outcome, rows[SEGMENT].mode) == (Outcome.SYNCED, PublishMode.REFRESH)
    assert sync.downloads() == dict.fromkeys(sandbox.servers, 1)


def test_a_forced_reload_that_fails_is_a_failure_and_not_incurable(sync: Sync) -> None:
    store = sync.services.store
    leave_servers_behind(sync)
    (record,) = sync.services.controller.segments(TABLE)
    good = store.read(str(record.url))

    def damage() -> None:
        assert sync.last is not None
        assert [row.action for row in sync.last.plan.segments] == [Action.RELOAD]
        store.write_workspace(str(record.url), b"garbage")

    rows = sync.run(between=damage)
    assert outcomes(rows) == {Outcome.FAILED}
    assert sync.reports[-1].undone
    (now,) = sync.services.controller.segments(TABLE)
    assert now.custom == record.custom
    store.write_workspace(str(record.url), good)
    assert outcomes(sync.run()) == {Outcome.SYNCED}


@pytest.fixture
def two(sync: Sync) -> Sync:
    """Two months of flights whose servers are stale, one segment a wave."""
    sync.sandbox.load_flights(months=[1, 2])
    add_indexes(sync.sandbox)
    sync.sandbox.reset_downloads()
    return sync.with_settings(wave_segments=1)


def begun(two: Sync) -> tuple[str, str, str]:
    """Plan, batch and rebuilt results of a run that is about to publish."""
    found = find_stale_segments(two.services, RunRequest("the-run"), log=LOG)
    (batch,) = found.batches
    rebuilt = rebuild_batch(two.services, found.plan_url, batch.id, log=LOG, should_stop=lambda: False)
    return found.plan_url, batch.id, rebuilt


def reported(two: Sync, plan_url: str) -> dict[str, SegmentOutcome]:
    write_report(two.services, plan_url, log=LOG)
    return {row.segment: row for row in Workspace.of_plan(two.services.store, plan_url).read_report()}


@pytest.mark.parametrize("clean", [False, True], ids=["refresh", "quiet"])
def test_a_retried_publish_ends_as_the_first_one_would_have(
    two: Sync, monkeypatch: pytest.MonkeyPatch, clean: bool
) -> None:
    if clean:
        two.sandbox.reload(TABLE)
    plan_url, batch, rebuilt = begun(two)
    look = LastCheck.look
    calls = []

    def second_fails(self: LastCheck, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise PinotUnavailableError("no answer")
        return look(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(LastCheck, "look", second_fails)
        with pytest.raises(PinotUnavailableError):
            upload_and_refresh(two.services, plan_url, batch, rebuilt, log=LOG)
    if not clean:
        # What was published and proven before is known, even if nobody tries again.
        assert {row.outcome for row in reported(two, plan_url).values()} == {Outcome.SYNCED, Outcome.FAILED}

    published = upload_and_refresh(two.services, plan_url, batch, rebuilt, log=LOG)
    stamp_batch(two.services, plan_url, batch, published, log=LOG)
    rows = reported(two, plan_url)
    mode = PublishMode.QUIET if clean else PublishMode.REFRESH
    assert {(row.outcome, row.mode) for row in rows.values()} == {(Outcome.SYNCED, mode)}
    assert two.downloads() == dict.fromkeys(two.sandbox.servers, 0 if clean else 2)
    assert {view.stamped_by for view in two.look().values()} == {"the-run"}
    assert outcomes(two.run()) == {Outcome.SKIPPED}


def test_a_retry_after_the_kill_switch_keeps_what_was_done(two: Sync) -> None:
    plan_url, batch, rebuilt = begun(two)
    answers = iter([None, "deploying", "deploying", "deploying"])
    upload_and_refresh(two.services, plan_url, batch, rebuilt, log=LOG, should_stop=lambda: next(answers))
    published = upload_and_refresh(two.services, plan_url, batch, rebuilt, log=LOG, should_stop=lambda: "deploying")
    stamp_batch(two.services, plan_url, batch, published, log=LOG)
    rows = reported(two, plan_url)
    done = [row for row in rows.values() if row.outcome is Outcome.SYNCED]
    assert sorted(row.outcome for row in rows.values()) == [Outcome.DEFERRED, Outcome.SYNCED]
    assert done[0].new_crc == two.look()[done[0].segment].crc != done[0].crc


def test_a_retry_of_a_run_that_finished_another_runs_push_knows_its_own_work(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync.sandbox.load_flights(months=[1])
    add_indexes(sync.sandbox)
    with monkeypatch.context() as patch:
        patch.setattr(SegmentPublisher, "_push", die)
        with pytest.raises(Died):
            sync.run(run_id="the-dead-run")
    plan_url, batch, rebuilt = begun(sync)
    with monkeypatch.context() as patch:
        patch.setattr(WavePublisher, "_prove", die)
        with pytest.raises(Died):
            upload_and_refresh(sync.services, plan_url, batch, rebuilt, log=LOG)
    published = upload_and_refresh(sync.services, plan_url, batch, rebuilt, log=LOG)
    stamp_batch(sync.services, plan_url, batch, published, log=LOG)
    row = reported(sync, plan_url)[SEGMENT]
    assert (row.outcome, row.mode) == (Outcome.SYNCED, PublishMode.REFRESH)
    assert set(row.proven) == set(sync.sandbox.servers)


def test_a_refused_retry_puts_the_old_object_back_as_nothing_of_ours(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Try 1 overwrites and dies, try 2 is refused: nothing may take the old bytes for the new ones afterwards."""
    sandbox, store = sync.sandbox, sync.services.store
    sandbox.load_flights(months=[1])
    add_indexes(sandbox)
    (record,) = sync.services.controller.segments(TABLE)
    before = sync.look()[SEGMENT]
    plan_url, batch, rebuilt = begun(sync)
    with monkeypatch.context() as patch:
        patch.setattr(SegmentPublisher, "_push", die)
        with pytest.raises(Died):
            upload_and_refresh(sync.services, plan_url, batch, rebuilt, log=LOG)
    config = sandbox.table_config(TABLE)
    config["quota"] = {"storage": "1K"}
    sandbox.update_table_config(config)
    upload_and_refresh(sync.services, plan_url, batch, rebuilt, log=LOG)
    assert sync.look()[SEGMENT].content == before.content
    assert first_written(store.head(str(record.url)).metadata) is None
    config["quota"] = None
    sandbox.update_table_config(config)
    assert outcomes(sync.run()) == {Outcome.SYNCED}
    assert sync.look()[SEGMENT].indexes >= NEW_INDEXES


def test_a_config_that_changes_while_servers_reload_makes_nothing_incurable(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = sync.sandbox
    original = leave_servers_behind(sync)
    status = forced_reload._status

    def changed_when_reloaded(*args: Any) -> Any:
        now = status(*args)
        if now is not None and now.ended:
            add_indexes(sandbox)
        return now

    with monkeypatch.context() as patch:
        patch.setattr(forced_reload, "_status", changed_when_reloaded)
        rows = sync.with_settings(proof_timeout=timedelta(seconds=3)).run()
    assert (rows[SEGMENT].outcome, rows[SEGMENT].deferred_by) == (Outcome.DEFERRED, DeferredBy.DRIFT)
    sandbox.update_table_config(original)
    assert outcomes(sync.run()) <= {Outcome.SYNCED, Outcome.SKIPPED}


def test_a_batch_that_is_done_again_forgets_what_it_said_before(two: Sync) -> None:
    plan_url, batch, rebuilt = begun(two)
    published = upload_and_refresh(two.services, plan_url, batch, rebuilt, log=LOG)
    stamp_batch(two.services, plan_url, batch, published, log=LOG)
    assert {row.outcome for row in reported(two, plan_url).values()} == {Outcome.SYNCED}
    rebuild_batch(two.services, plan_url, batch, log=LOG, should_stop=lambda: False)
    assert "did not finish" in reported(two, plan_url)[SEGMENT].message


def test_one_segments_unexpected_trouble_is_its_own(two: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = SegmentPublisher._replace

    def full_disk(self: SegmentPublisher, row: Any, *args: Any) -> Any:
        if row.segment == OTHER:
            raise OSError(28, "No space left on device")
        return replace(self, row, *args)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentPublisher, "_replace", full_disk)
        rows = two.with_settings(wave_segments=10).run()
    assert (rows[SEGMENT].outcome, rows[OTHER].outcome) == (Outcome.SYNCED, Outcome.FAILED)
    assert "No space left" in rows[OTHER].message
    assert set(rows[SEGMENT].proven) == set(two.sandbox.servers)


def test_servers_that_no_longer_host_a_segment_are_not_waited_for(two: Sync) -> None:
    """A rebalance between plan and publish takes the segments off a server."""
    import httpx

    sandbox = two.sandbox

    def rebalance() -> None:
        config = sandbox.table_config(TABLE)
        config["segmentsConfig"]["replication"] = "1"
        sandbox.update_table_config(config)
        url = f"{sandbox.controller_url}/tables/flights/rebalance"
        params = {"type": "OFFLINE", "dryRun": "false", "downtime": "true", "lowDiskMode": "false"}
        httpx.post(url, params=params, timeout=60).raise_for_status()

    rows = two.run(between=rebalance)
    assert outcomes(rows) == {Outcome.SYNCED}
    assert all(len(row.proven) == 1 and not row.unproven for row in rows.values())
