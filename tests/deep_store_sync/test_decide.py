"""The decision table, row by row, and everything that keeps a segment out of it."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import pytest

from deep_store_sync.decide import decide, ineligible, server_state
from deep_store_sync.model import Action, Lineage, SegmentRecord, ServerAnswer, Servers, StampState

CURRENT, OUTDATED, NONE = StampState.CURRENT, StampState.OUTDATED, StampState.NONE
CLEAN, STALE, UNKNOWN = Servers.CLEAN, Servers.STALE, Servers.UNKNOWN


@pytest.mark.parametrize(
    ("stamp", "servers", "reload_only", "force"),
    [
        (CURRENT, CLEAN, (Action.SKIP, False), (Action.SKIP, False)),
        (CURRENT, UNKNOWN, (Action.SKIP, False), (Action.SKIP, False)),
        (CURRENT, STALE, (Action.RELOAD, False), (Action.RELOAD, False)),
        (OUTDATED, STALE, (Action.REBUILD, False), (Action.REBUILD, False)),
        (OUTDATED, CLEAN, (Action.REBUILD, True), (Action.REBUILD, False)),
        (OUTDATED, UNKNOWN, (Action.REBUILD, True), (Action.REBUILD, False)),
        (NONE, STALE, (Action.REBUILD, False), (Action.REBUILD, False)),
        (NONE, CLEAN, (Action.AUDIT, True), (Action.REBUILD, False)),
        (NONE, UNKNOWN, (Action.DEFER, False), (Action.REBUILD, False)),
    ],
)
def test_every_row_of_the_table(
    stamp: StampState, servers: Servers, reload_only: tuple[Action, bool], force: tuple[Action, bool]
) -> None:
    for forced, expected in ((False, reload_only), (True, force)):
        decision = decide(stamp, servers, force=forced, servers_say="…")
        assert (decision.action, decision.budgeted) == expected
        assert decision.reason


@pytest.mark.parametrize("force", [False, True])
def test_incurable_is_left_alone_while_its_hash_is_current(force: bool) -> None:
    decision = decide(CURRENT, STALE, force=force, servers_say="…", incurable="partitions changed: carrier")
    assert decision.action is Action.INCURABLE
    assert decision.reason == "partitions changed: carrier"
    # A new hash takes the mark away, since the stamp is outdated then.
    assert decide(OUTDATED, STALE, force=force, servers_say="…", incurable=None).action is Action.REBUILD


def state(answers: dict[str, ServerAnswer], replicas: tuple[str, ...] = ("a", "b"), tier: bool = False) -> Servers:
    return server_state("s", replicas, answers, overrides_by_tier=tier)[0]


def test_clean_needs_a_valid_answer_of_every_replica() -> None:
    clean, broken = ServerAnswer(True), ServerAnswer(False, {}, "boom")
    other = ServerAnswer(True, {"t": "range index"})
    assert state({"a": clean, "b": other}) is CLEAN
    assert state({"a": clean}) is UNKNOWN
    assert state({}) is UNKNOWN
    assert state({"a": clean, "b": broken}) is UNKNOWN
    assert state({"a": clean, "b": clean}, replicas=()) is UNKNOWN


def test_one_stale_replica_is_enough_whatever_the_others_say() -> None:
    stale = ServerAnswer(True, {"s": "range index changed: origin"})
    assert state({"a": stale}) is STALE
    assert state({"a": ServerAnswer(False), "b": stale}) is STALE
    assert server_state("s", ["a"], {"a": stale}, overrides_by_tier=False)[1] == "range index changed: origin"


def test_an_invalid_answer_says_nothing_even_where_it_names_the_segment() -> None:
    assert state({"a": ServerAnswer(False, {"s": "range index"}), "b": ServerAnswer(True)}) is UNKNOWN


def test_overrides_by_tier_make_isstale_meaningless() -> None:
    assert state({"a": ServerAnswer(True), "b": ServerAnswer(True)}, tier=True) is UNKNOWN


def test_a_silent_server_is_named() -> None:
    words = server_state("s", ["a", "b"], {"a": ServerAnswer(True)}, overrides_by_tier=False)[1]
    assert "b" in words


GOOD = SegmentRecord("flights_2013-01", crc=17, url="s3://pinot/deepstore/flights/flights_2013-01", rows=5)
ONLINE = {"a": "ONLINE", "b": "ONLINE"}


def why_not(
    record: SegmentRecord = GOOD,
    replicas: dict[str, str] = ONLINE,
    *,
    shared: set[str] = frozenset(),  # type: ignore[assignment]
    lineage: Lineage = Lineage(),  # noqa: B008 - frozen
    crypter: str | None = None,
) -> str | None:
    return ineligible(
        record, replicas, prefixes=["s3://pinot/deepstore"], shared_urls=shared, lineage=lineage, table_crypter=crypter
    )


def test_an_ordinary_segment_is_eligible() -> None:
    assert why_not() is None
    assert why_not(replace(GOOD, rows=None)) is None
    assert why_not(replace(GOOD, status="DONE")) is None


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (replace(GOOD, status="IN_PROGRESS"), "consuming"),
        (replace(GOOD, status="COMMITTING"), "committing"),
        (replace(GOOD, crc=None), "no CRC"),
        (replace(GOOD, rows=0), "no rows"),
        (replace(GOOD, crypter="PinotCrypter"), "encrypted"),
        (replace(GOOD, url=None), "no download URL"),
        (replace(GOOD, url=""), "no download URL"),
        (replace(GOOD, url="http://controller/segments/flights/flights_2013-01"), "outside deepStorePrefixes"),
        (replace(GOOD, url="s3://pinot/deepstore-2/flights/flights_2013-01"), "outside deepStorePrefixes"),
        (replace(GOOD, url="s3://pinot/deepstore/flights/other"), "does not end in the segment's name"),
        (replace(GOOD, url="s3://pinot/deepstore/flights/flights_2013-01.tmp.9"), "does not end in the segment's name"),
        (replace(GOOD, url="s3://pinot/deepstore/flights/flights_2013-01?versionId=3"), "query"),
        (replace(GOOD, url="s3://pinot/deepstore/../flights_2013-01"), "cannot be used"),
        (replace(GOOD, url="s3://pinot/deepstore/flüge/flights_2013-01"), "percent-encode"),
    ],
)
def test_what_keeps_a_segment_out(record: SegmentRecord, words: str) -> None:
    reason = why_not(record)
    assert reason is not None
    assert words in reason


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("flights 2013", "flights%202013"),
        ("flights 2013", "flights+2013"),
        ("flights+2013", "flights%2B2013"),
        ("flights%2013", "flights%252013"),
        ("flüge#1", "fl%C3%BCge%231"),
        ("flights", "flights.tar.gz"),
    ],
)
def test_a_url_may_spell_the_name_in_any_way_that_the_controller_does(name: str, last: str) -> None:
    assert why_not(replace(GOOD, name=name, url=f"s3://pinot/deepstore/flights/{last}")) is None


@pytest.mark.parametrize("name", ["..", ".", "a/b", "/etc/passwd", "a\\b", "a\nb", "a\0", "\x1b[31m", "a\u202eb", ""])
def test_a_name_that_no_segment_may_have(name: str) -> None:
    """It would be part of paths, keys and log lines."""
    url = f"s3://pinot/deepstore/flights/{quote(name, safe='')}"
    assert "its name is none that a segment may have" in str(why_not(replace(GOOD, name=name, url=url)))


def test_what_the_ideal_state_and_lineage_keep_out() -> None:
    assert "consuming" in str(why_not(replicas={"a": "CONSUMING"}))
    assert "ideal state" in str(why_not(replicas={}))
    assert "offline" in str(why_not(replicas={"a": "OFFLINE", "b": "OFFLINE"}))
    assert why_not(replicas={"a": "OFFLINE", "b": "ONLINE"}) is None
    assert "not finished" in str(why_not(lineage=Lineage(in_progress=frozenset({GOOD.name}))))
    assert "replaced" in str(why_not(lineage=Lineage(replaced=frozenset({GOOD.name}))))
    assert "encrypted" in str(why_not(crypter="PinotCrypter"))
    assert "another segment" in str(why_not(shared={str(GOOD.url)}))
