"""The mark on our objects."""

from __future__ import annotations

from deep_store_sync.store.object_mark import ObjectMark, read_mark

MARK = ObjectMark("scheduled__2026-01-01T00:00:00+00:00", 1, 2, "v1:ab")


def test_a_mark_reads_as_written_whatever_the_store_does_to_the_case_of_keys() -> None:
    metadata = MARK.to_metadata()
    assert read_mark(metadata) == MARK
    assert read_mark({key.title(): value for key, value in metadata.items()}) == MARK


def test_a_run_id_that_is_not_ascii_can_be_sent() -> None:
    value = ObjectMark("lauf_ü", 1, 2, "h").to_metadata()["deep-store-sync-run"]
    assert value.isascii()


def test_foreign_objects_have_no_mark() -> None:
    assert read_mark({}) is None
    assert read_mark({**MARK.to_metadata(), "deep-store-sync-old-crc": "x"}) is None


def test_only_a_refresh_that_zookeeper_has_not_heard_of_is_unfinished() -> None:
    assert MARK.unfinished(zookeeper_crc=1, object_crc=2)
    assert not MARK.unfinished(zookeeper_crc=2, object_crc=2)
    assert not MARK.unfinished(zookeeper_crc=1, object_crc=1)
    assert not MARK.unfinished(zookeeper_crc=3, object_crc=2)
    assert not MARK.unfinished(zookeeper_crc=1, object_crc=9)
    assert not ObjectMark("r", 1, 1, "h").unfinished(zookeeper_crc=1, object_crc=1)
