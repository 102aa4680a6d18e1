"""What servers may be made to download by one run, and what they are not made to."""

from __future__ import annotations

from collections import Counter

from pydantic import ByteSize
from tests.e2e.kit import TABLE, Sync, add_indexes

from deep_store_sync.model import DeferredBy, Outcome, PublishMode

MONTHS = [1, 2, 3]


def bounded(sync: Sync) -> Sync:
    """With room for the downloads of one segment by both servers, indexes included, and not for those of two."""
    size = max(record.size_bytes or 0 for record in sync.services.controller.segments(TABLE))
    return sync.with_settings(max_server_download_bytes=ByteSize(4 * size - 1), wave_segments=1)


def test_a_run_makes_servers_download_no_more_than_they_may_and_the_next_one_goes_on(sync: Sync) -> None:
    sandbox = sync.sandbox
    sandbox.load_flights(months=MONTHS)
    add_indexes(sandbox)
    sandbox.reset_downloads()
    throttled = bounded(sync)
    for run in range(1, len(MONTHS) + 1):
        rows = throttled.run()
        report = throttled.reports[-1]
        assert report.undone == ()
        (synced,) = [row for row in rows.values() if row.outcome is Outcome.SYNCED]
        left = [row for row in rows.values() if row.outcome is Outcome.DEFERRED]
        assert len(left) == len(MONTHS) - run
        assert {row.deferred_by for row in left} <= {DeferredBy.DOWNLOADS}
        assert (report.progress.held, report.refreshed, report.server_downloads) == (len(left), 1, 2)
        assert report.server_bytes == 2 * synced.uploaded_bytes <= (throttled.settings.max_server_download_bytes or 0)
        assert sync.downloads() == dict.fromkeys(sandbox.servers, run)


def test_what_turns_out_to_need_a_download_is_bounded_as_well(sync: Sync) -> None:
    """The plan had all servers in sync. By the time it is published, they have loaded another config."""
    sandbox = sync.sandbox
    sandbox.load_flights(months=MONTHS)
    before = sandbox.table_config(TABLE)
    add_indexes(sandbox)
    wanted = sandbox.table_config(TABLE)
    sandbox.reload(TABLE)

    def reload_another() -> None:
        sandbox.update_table_config(before)
        sandbox.reload(TABLE)
        sandbox.update_table_config(wanted)
        sandbox.reset_downloads()

    throttled = bounded(sync)
    rows = throttled.run(force=True, between=reload_another)
    assert Counter((row.outcome, row.mode, row.deferred_by) for row in rows.values()) == {
        (Outcome.SYNCED, PublishMode.REFRESH, None): 1,
        (Outcome.DEFERRED, None, DeferredBy.DOWNLOADS): 2,
    }
    assert sync.downloads() == dict.fromkeys(sandbox.servers, 1)
    assert throttled.reports[-1].undone == ()
    assert "maxServerDownloadBytes is" in next(row.message for row in rows.values() if row.deferred_by)
    # Where nobody may download anything, what can be published quietly still is.
    sandbox.reload(TABLE)
    sandbox.reset_downloads()
    quiet = sync.with_settings(max_server_download_bytes=ByteSize(0)).run(force=True)
    assert Counter(row.mode for row in quiet.values()) == {PublishMode.QUIET: 2, None: 1}
    assert sync.downloads() == dict.fromkeys(sandbox.servers, 0)
