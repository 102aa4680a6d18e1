"""Stamps: what is written is what is read, and only for the data that they were written for."""

from __future__ import annotations

from deep_store_sync.stamp import (
    AT_KEY,
    INCURABLE_KEY,
    Stamp,
    carried_over,
    no_stamp,
    read_stamp,
    stamp_entries,
    stamp_map,
)

HASH = "v1:" + "0a" * 32


def test_a_stamp_reads_as_written() -> None:
    written = stamp_map(HASH, 17, "e1", run_id="manual__2026", at="2026-01-01T00:00:00+00:00")
    assert read_stamp(written, 17, "e1") == Stamp(HASH)
    assert written[AT_KEY] == "2026-01-01T00:00:00+00:00"


def test_a_stamp_vouches_only_for_the_crc_it_names() -> None:
    written = stamp_map(HASH, 17, "e1", run_id="r", at="t", incurable_reason="why")
    assert read_stamp(written, 18, "e1") == Stamp()
    assert read_stamp(written, None, "e1") == Stamp()


def test_a_stamp_vouches_only_for_the_object_it_names() -> None:
    written = stamp_map(HASH, 17, "e1", run_id="r", at="t")
    assert read_stamp(written, 17, "e2") == Stamp()
    assert read_stamp(written, 17, None) == Stamp()
    assert read_stamp({**written, "deepStoreSync.etag": ""}, 17, "") == Stamp()


def test_an_incurable_mark_keeps_its_reason_with_colons() -> None:
    written = stamp_map(HASH, 17, "e1", run_id="r", at="t", incurable_reason="partitions changed: carrier\n  twice")
    assert read_stamp(written, 17, "e1") == Stamp(HASH, HASH, "partitions changed: carrier twice")


def test_a_new_stamp_blanks_an_old_mark() -> None:
    custom = stamp_map(HASH, 17, "e1", run_id="r", at="t", incurable_reason="why")
    custom.update(stamp_map(HASH, 17, "e1", run_id="r2", at="t2"))
    assert read_stamp(custom, 17, "e1") == Stamp(HASH)


def test_a_long_reason_is_cut() -> None:
    assert len(stamp_map(HASH, 17, "e1", run_id="r", at="t", incurable_reason="x" * 5000)[INCURABLE_KEY]) < 300


def test_foreign_maps_hold_no_stamp() -> None:
    assert read_stamp({}, 17, "e1") == Stamp()
    assert read_stamp({"RefreshSegmentTask.time": "1"}, 17, "e1") == Stamp()


def test_a_stamp_is_taken_away_by_blanks_and_other_entries_stay() -> None:
    written = {"owner": "etl", **stamp_map(HASH, 17, "e1", run_id="r", at="t", incurable_reason="why")}
    blanked = {**written, **no_stamp(written)}
    assert read_stamp(blanked, 17, "e1") == Stamp()
    assert stamp_entries(blanked) == {}
    assert blanked["owner"] == "etl"


def test_a_stamp_goes_with_the_content_to_another_etag_and_only_if_it_spoke_of_it() -> None:
    written = stamp_map(HASH, 17, "e1", run_id="r", at="t")
    carried = carried_over(stamp_entries(written), crc=17, etag="e1", new_etag="e2")
    assert read_stamp(carried, 17, "e2") == Stamp(HASH)
    assert carried[AT_KEY] == "t"
    assert carried[INCURABLE_KEY] == ""
    assert carried_over(written, crc=18, etag="e1", new_etag="e2") == {}
    assert carried_over(written, crc=17, etag="e0", new_etag="e2") == {}
    assert carried_over({}, crc=17, etag="e1", new_etag="e2") == {}
