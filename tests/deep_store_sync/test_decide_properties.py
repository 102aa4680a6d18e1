"""Decisions over the whole space of their inputs."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tests.deep_store_sync.table_states import DescribedTable

from deep_store_sync.decide import ARCHIVE_SUFFIXES, decide, ineligible, server_state
from deep_store_sync.model import (
    Action,
    Lineage,
    Plan,
    RunRequest,
    SegmentRecord,
    ServerAnswer,
    Servers,
    StampState,
)
from deep_store_sync.plan import Limits, build_plan
from deep_store_sync.stamp import INCURABLE_KEY, stamp_map
from deep_store_sync.store.object_url import parse_url
from deep_store_sync.table_hash import table_hash

CURRENT, OUTDATED, NONE = StampState.CURRENT, StampState.OUTDATED, StampState.NONE
CLEAN, STALE, UNKNOWN = Servers.CLEAN, Servers.STALE, Servers.UNKNOWN
# The decision table, as (stamp, servers) to what is done without and with force. True: within the budget.
TABLE = {
    (CURRENT, CLEAN): ((Action.SKIP, False), (Action.SKIP, False)),
    (CURRENT, UNKNOWN): ((Action.SKIP, False), (Action.SKIP, False)),
    (CURRENT, STALE): ((Action.RELOAD, False), (Action.RELOAD, False)),
    (OUTDATED, STALE): ((Action.REBUILD, False), (Action.REBUILD, False)),
    (OUTDATED, CLEAN): ((Action.REBUILD, True), (Action.REBUILD, False)),
    (OUTDATED, UNKNOWN): ((Action.REBUILD, True), (Action.REBUILD, False)),
    (NONE, STALE): ((Action.REBUILD, False), (Action.REBUILD, False)),
    (NONE, CLEAN): ((Action.AUDIT, True), (Action.REBUILD, False)),
    (NONE, UNKNOWN): ((Action.DEFER, False), (Action.REBUILD, False)),
}
TOUCHES = {Action.RELOAD, Action.REBUILD, Action.AUDIT}

stamps, servers_say = st.sampled_from(StampState), st.sampled_from(Servers)
reasons = st.none() | st.text(min_size=1)


@given(stamps, servers_say, st.booleans(), st.text(), reasons, st.booleans())
def test_every_input_has_its_row_in_the_table(
    stamp: StampState, servers: Servers, force: bool, words: str, incurable: str | None, cannot_tell: bool
) -> None:
    found = decide(stamp, servers, force=force, servers_say=words, incurable=incurable, servers_cannot_tell=cannot_tell)
    expected = TABLE[stamp, servers][force]
    if (stamp, servers) == (CURRENT, STALE) and incurable:
        expected = (Action.INCURABLE, False)
    if (stamp, servers) == (NONE, UNKNOWN) and cannot_tell and not force:
        expected = (Action.AUDIT, True)  # no answer could ever come
    assert (found.action, found.budgeted) == expected
    assert found.reason


answers = st.builds(
    ServerAnswer, st.booleans(), st.dictionaries(st.sampled_from(["s", "t"]), st.just("range index"), max_size=2)
)


@given(
    st.frozensets(st.sampled_from("abc")), st.dictionaries(st.sampled_from("abcd"), answers, max_size=4), st.booleans()
)
def test_servers_are_clean_only_by_the_word_of_each(
    replicas: frozenset[str], answers: dict[str, ServerAnswer], tier: bool
) -> None:
    found, words = server_state("s", replicas, answers, overrides_by_tier=tier)
    heard = [answers[server] for server in replicas if server in answers and answers[server].valid]
    stale = any("s" in answer.stale for answer in heard)
    assert words
    if tier:
        assert found is UNKNOWN
    elif stale:
        assert found is STALE
    else:
        assert (found is CLEAN) is (len(heard) == len(replicas) > 0)


names = st.sampled_from(["flights_1", "a b", "a+b", "ü#1"])
urls = st.none() | st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["s3://pinot/deep/", "s3://pinot/deeper/", "s3a://pinot/deep/", "http://host/", "s3:///", ""]),
        st.sampled_from(["", "flights/", "../", "a b/", "ü/"]),
        st.sampled_from(["flights_1", "a%20b", "a+b", "a%2Bb", "%C3%BC%231", "ü#1", "other"]),
        st.sampled_from(["", *ARCHIVE_SUFFIXES, ".tmp", "?versionId=1"]),
    ),
)
records = st.builds(
    SegmentRecord,
    names,
    crc=st.none() | st.just(1),
    url=urls,
    status=st.sampled_from([None, None, "DONE", "UPLOADED", "IN_PROGRESS", "COMMITTING"]),
    rows=st.sampled_from([None, 0, 5, 5]),
    crypter=st.sampled_from([None, None, None, "Crypter"]),
    size_bytes=st.none() | st.integers(0, 1000),
)
ideal_states = st.dictionaries(
    st.sampled_from("ab"),
    st.sampled_from(["ONLINE", "ONLINE", "ONLINE", "OFFLINE", "CONSUMING", "DROPPED"]),
    max_size=2,
)
lineages = st.builds(Lineage, st.frozensets(names, max_size=1), st.frozensets(names, max_size=1))
GOOD = SegmentRecord("flights_1", crc=1, url="s3://pinot/deep/flights/flights_1", rows=5)
PREFIXES = ["s3://pinot/deep"]


@example(GOOD, {"a": "ONLINE"}, Lineage(), None, False)
@given(records, ideal_states, lineages, st.sampled_from([None, None, "Crypter"]), st.booleans())
def test_what_may_be_touched_is_committed_hosted_readable_and_its_own(
    record: SegmentRecord, replicas: dict[str, str], lineage: Lineage, crypter: str | None, shared: bool
) -> None:
    why_not = ineligible(
        record,
        replicas,
        prefixes=PREFIXES,
        shared_urls={str(record.url)} if shared else set(),
        lineage=lineage,
        table_crypter=crypter,
    )
    assert why_not is None or why_not
    if why_not is None:
        assert "ONLINE" in replicas.values()
        assert "CONSUMING" not in replicas.values()
        assert record.status not in ("IN_PROGRESS", "COMMITTING")
        assert record.name not in lineage.in_progress | lineage.replaced
        assert record.crc is not None
        assert record.rows != 0
        assert not record.crypter
        assert not crypter
        assert not shared
        assert record.url is not None
        bucket, key = parse_url(record.url)
        assert bucket == "pinot"
        assert key.startswith("deep/")
        assert key.rsplit("/", 1)[-1].startswith((record.name, record.name.replace(" ", "+")))


CONFIG: dict[str, Any] = {"tableIndexConfig": {"invertedIndexColumns": ["a"]}}
OF_NOW = table_hash(CONFIG, {})
OF_BEFORE = "v1:" + "0" * 64


@st.composite
def tables(draw: st.DrawFn) -> DescribedTable:
    """A table of a few segments in any condition, stamped or not."""
    found = draw(st.lists(records, min_size=1, max_size=4, unique_by=lambda record: record.name))
    kept: list[SegmentRecord] = []
    for record in found:
        stamp = draw(st.sampled_from([None, OF_NOW, OF_BEFORE]))
        custom = stamp_map(stamp, 1, "e", run_id="r", at="t", incurable_reason=draw(reasons)) if stamp else {}
        kept.append(
            SegmentRecord(
                record.name,
                crc=record.crc,
                url=record.url,
                status=record.status,
                rows=record.rows,
                crypter=record.crypter,
                size_bytes=record.size_bytes,
                custom=custom,
            )
        )
    return DescribedTable(
        table_config=CONFIG,
        schema={},
        records=kept,
        ideal_state={record.name: draw(ideal_states) for record in kept},
        answers={
            server: ServerAnswer(draw(st.booleans()), dict.fromkeys(draw(st.frozensets(names)), "range index"))
            for server in draw(st.frozensets(st.sampled_from("ab")))
        },
        lineage=draw(lineages),
        etags={str(record.url): "e" for record in kept},
    )


def plan(table: DescribedTable, *, force: bool, budget: int = 10**9) -> Plan:
    limits = Limits(audit_bytes=budget, batch_bytes=10**9, batch_segments=50)
    return build_plan(table.state, RunRequest("r", force=force), prefixes=PREFIXES, limits=limits, created_ms=0)


@settings(deadline=None)
@given(tables(), st.booleans(), st.integers(0, 2000))
def test_every_segment_of_a_plan_has_one_decision_and_its_reason(
    table: DescribedTable, force: bool, budget: int
) -> None:
    rows = plan(table, force=force, budget=budget).segments
    assert sorted(row.segment for row in rows) == sorted(record.name for record in table.records)
    known = {record.name: record for record in table.records}
    for row in rows:
        assert row.reason
        assert (row.batch is not None) is (row.action in TOUCHES)
        if row.action in TOUCHES:
            assert row.url == known[row.segment].url
            assert "ONLINE" in table.ideal_state[row.segment].values()
        if row.stamp is CURRENT and row.servers is not STALE:
            assert row.action in (Action.SKIP, Action.NOT_ELIGIBLE)
        if row.servers is UNKNOWN and row.stamp is NONE and not force:
            assert row.action in (Action.DEFER, Action.NOT_ELIGIBLE)


@settings(deadline=None)
@given(tables())
def test_force_rebuilds_no_less_and_nothing_that_may_not_be_touched(table: DescribedTable) -> None:
    without, forced = (
        {row.segment: row.action for row in plan(table, force=force).segments} for force in (False, True)
    )
    for segment, action in without.items():
        if action is Action.REBUILD:
            assert forced[segment] is Action.REBUILD
        assert (action is Action.NOT_ELIGIBLE) is (forced[segment] is Action.NOT_ELIGIBLE)
    assert [row.action for row in plan(table, force=True, budget=0).segments if row.action is Action.DEFER] == []


@settings(deadline=None)
@given(st.booleans(), st.booleans(), st.text(min_size=1).filter(str.strip))
def test_a_mark_holds_for_its_own_hash_only(force: bool, of_now: bool, reason: str) -> None:
    mark = f"{OF_NOW if of_now else OF_BEFORE}:{' '.join(reason.split())}"
    custom = stamp_map(OF_NOW, 1, "e", run_id="r", at="t") | {INCURABLE_KEY: mark}
    table = DescribedTable(
        table_config=CONFIG,
        schema={},
        records=[SegmentRecord(GOOD.name, crc=1, url=GOOD.url, rows=5, custom=custom)],
        ideal_state={GOOD.name: {"a": "ONLINE"}},
        answers={"a": ServerAnswer(True, {GOOD.name: "partitions changed"})},
        lineage=Lineage(),
        etags={str(GOOD.url): "e"},
    )
    (row,) = plan(table, force=force).segments
    assert row.action is (Action.INCURABLE if of_now else Action.RELOAD)


@example("s3", "/", "bucket/deep/flights_1")
@example("s3", "@", "bucket/deep/flights_1")
@given(
    st.sampled_from(["s3", "s3a", "s3n", "http", "https", "hdfs"]),
    st.text("/@:?#%+=&;. ü", max_size=4),
    st.sampled_from(["pinot/deep/flights_1", "pinot/deep/../flights_1", "pinot", "[", "pinot/deep/flights_1?a=b#c"]),
)
def test_no_reason_holds_the_credentials_of_a_url(scheme: str, odd: str, rest: str) -> None:
    secret = f"SeCrEt{odd}TeRcEs"
    assume(not secret.isspace())
    for url in (
        f"{scheme}://AKIA:{secret}@{rest}",
        f"{scheme}://{rest}?X-Amz-Signature={secret}",
        f"{scheme}://{rest}#{secret}",
    ):
        for shared in (False, True):
            record = SegmentRecord("flights_1", crc=1, url=url, rows=5)
            for prefixes in (PREFIXES, [f"{scheme}://", url.rsplit("/", 1)[0]]):
                why_not = ineligible(
                    record,
                    {"a": "ONLINE"},
                    prefixes=prefixes,
                    shared_urls={url} if shared else set(),
                    lineage=Lineage(),
                    table_crypter=None,
                )
                assert why_not is not None
                assert "SeCrEt" not in why_not
                assert "TeRcEs" not in why_not
