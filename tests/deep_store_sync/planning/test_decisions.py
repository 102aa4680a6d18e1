"""The plan over columns is what the rules say of each segment alone."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deep_store_sync.table_states import DescribedTable
from tests.deep_store_sync.test_decide_properties import PREFIXES, plan, tables

from deep_store_sync.decide import decide, ineligible, online_servers, server_state
from deep_store_sync.errors import ConfigError
from deep_store_sync.model import Action, DeferredBy, SegmentRecord
from deep_store_sync.stamp import read_stamp
from deep_store_sync.store.object_url import parse_url
from deep_store_sync.table_hash import TableHashes


def expected(table: DescribedTable, record: SegmentRecord, force: bool) -> tuple[Action, str, str, DeferredBy | None]:
    """By the rules themselves, one segment at a time."""
    states = table.ideal_state.get(record.name, {})
    hashes = TableHashes(table.table_config, table.schema)
    count = Counter(place(str(other.url)) for other in table.records if other.url)
    why_not = ineligible(
        record,
        states,
        prefixes=PREFIXES,
        shared_urls={str(r.url) for r in table.records if r.url and count[place(r.url)] > 1},
        lineage=table.lineage,
        table_crypter=None,
    )
    if why_not:
        return Action.NOT_ELIGIBLE, why_not, "", None
    stamp = read_stamp(record.custom, record.crc, table.etags.get(record.url or ""))
    servers, words = server_state(record.name, online_servers(states), table.answers, overrides_by_tier=False)
    current = hashes.current(record.tier)
    found = decide(
        hashes.state(stamp.table_hash, record.tier),
        servers,
        force=force,
        servers_say=words,
        incurable=stamp.incurable_reason if stamp.incurable_hash == current else None,
    )
    by = DeferredBy.SERVERS if found.action is Action.DEFER else None
    return found.action, found.reason, record.url or "", by


def place(url: str) -> tuple[str, str]:
    try:
        return parse_url(url)
    except ConfigError:
        return "", url


@settings(deadline=None)
@given(tables(), st.booleans())
def test_each_segment_is_decided_by_the_rules(table: DescribedTable, force: bool) -> None:
    rows = {row.segment: row for row in plan(table, force=force, budget=10**12).segments}
    assert rows.keys() == {record.name for record in table.records}
    for record in table.records:
        row = rows[record.name]
        assert (row.action, row.reason, row.url, row.deferred_by) == expected(table, record, force)
        assert (row.crc, row.size_bytes, row.rows) == (record.crc or 0, record.size_bytes or 0, record.rows)
        assert row.replicas == online_servers(table.ideal_state.get(record.name, {}))
