"""The mark on our objects."""

from __future__ import annotations

from deep_store_sync.store.object_mark import ObjectMark, first_written, put_back_metadata, read_mark, unmarked

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


def test_a_push_is_unfinished_also_when_zookeeper_has_heard_of_one_that_it_was_built_over() -> None:
    mark = ObjectMark("second", 1, 4, "v1:ab", pending=(2, 3))
    read = read_mark(mark.to_metadata())
    assert read is not None
    assert read.pending == (2, 3)
    assert all(read.unfinished(zookeeper_crc=crc, object_crc=4) for crc in (1, 2, 3))
    assert not any(read.unfinished(zookeeper_crc=crc, object_crc=4) for crc in (4, 5))
    assert not read.unfinished(zookeeper_crc=2, object_crc=3)
    assert ObjectMark("last", 1, 99, "h", pending=range(90)).pending == tuple(range(74, 90))  # type: ignore[arg-type]
    assert read == ObjectMark("second", 1, 4, "v1:ab")


def test_a_run_id_reads_as_it_was_marked_whatever_is_in_it() -> None:
    mark = ObjectMark("lauf_ü", 1, 2, "h")
    assert read_mark(mark.to_metadata()) == mark


def test_what_was_put_back_is_known_by_the_run_that_first_wrote_it() -> None:
    theirs = {"owner": "etl"}
    undone, undone_again = ObjectMark("undone: b", 2, 1, "v1:cd"), ObjectMark("undone: c", 9, 2, "v1:cd")
    assert first_written(theirs) is None
    back = put_back_metadata(theirs, undone)
    assert (read_mark(back), first_written(back)) == (undone, None)
    back = put_back_metadata({**theirs, **MARK.to_metadata()}, undone)
    assert (read_mark(back), first_written(back)) == (undone, MARK)
    back = put_back_metadata(back, undone_again)
    assert (read_mark(back), first_written(back)) == (undone_again, MARK)
    assert all(value.isascii() and value for value in back.values())
    assert unmarked(back) == theirs
