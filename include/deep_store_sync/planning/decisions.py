"""The decision of each segment, by `decide`, which is asked once for all segments that are alike."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import repeat
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.decide import blocked, decide, online_servers, server_state
from deep_store_sync.model import Action, DeferredBy, RunRequest, ServerAnswer, Servers, StampState
from deep_store_sync.pinot.server_columns import States
from deep_store_sync.planning.table_state import TableState, column
from deep_store_sync.planning.urls import check_urls
from deep_store_sync.stamp import true_stamp
from deep_store_sync.table_hash import TableHashes, has_tier_overrides

WORK = frozenset({Action.RELOAD, Action.REBUILD, Action.AUDIT})

_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a plan says of a segment, as far as it says the same of others. `reason` is None where its URL is why."""

    action: Action
    reason: str | None
    table_hash: str
    servers: Servers
    stamp: StampState
    replicas: tuple[str, ...]
    deferred_by: DeferredBy | None = None
    budgeted: bool = False

    @property
    def work(self) -> bool:
        """Whether something is to be done."""
        return self.action in WORK

    @property
    def downloads(self) -> int:
        """How many servers are expected to download the segment: none where all have its new layout already."""
        return 0 if self.servers is Servers.CLEAN else len(self.replicas)


@dataclass(frozen=True, slots=True)
class Decided:
    """The segments in scope: their `rows` in the table, and the number of the verdict on each."""

    rows: pa.UInt64Array
    numbers: array[int]
    verdicts: list[Verdict]
    shared_urls: frozenset[str]


class _Case(NamedTuple):
    """All that a decision depends on, but for the names. Texts that many segments share are there by their numbers."""

    wanted: int
    seen: int
    stale: int
    status: int | None
    tier: int | None
    crypter: int | None
    has_crc: bool
    empty: bool
    in_progress: bool
    replaced: bool
    bad_url: bool
    stamped: bool
    stamp_hash: int | None
    stamp_incurable: str | None


def decide_rows(state: TableState, rows: pa.UInt64Array, request: RunRequest, prefixes: Collection[str]) -> Decided:
    """Decide the segments in these rows of the table."""
    urls = check_urls(state.segments, prefixes)
    cases = [(values, _is_same(values)) for values in _case_columns(state, urls.bad)]
    judge = _Judge(state, request)
    numbers, known, verdicts = array("i"), dict[_Case, int](), dict[Verdict, int]()
    for start in range(0, len(rows), _AT_ONCE):
        block = rows.slice(start, _AT_ONCE)
        # Most columns have one value all over: then nobody looks at it for each row.
        lists = [
            repeat(values[0].as_py(), len(block)) if same else values.take(block).to_pylist() for values, same in cases
        ]
        for facts in zip(*lists, strict=True):
            number = known.get(facts)  # type: ignore[call-overload]  # a tuple equals the named one
            if number is None:
                case = _Case(*facts)
                number = known[case] = verdicts.setdefault(judge(case), len(verdicts))
            numbers.append(number)
    return Decided(rows, numbers, list(verdicts), urls.shared)


def _is_same(values: pa.Array) -> bool:
    """Whether all values are the same, as far as that is seen at a glance."""
    if not len(values) or values.null_count:
        return bool(len(values)) and values.null_count == len(values)
    if pa.types.is_boolean(values.type):
        return values.true_count in (0, len(values))
    if pa.types.is_integer(values.type):
        ends = pc.min_max(values).as_py()
        return bool(ends["min"] == ends["max"])
    return False


def _case_columns(state: TableState, bad_url: pa.BooleanArray) -> list[pa.Array]:
    """The members of `_Case`, each for all rows of the table."""
    segments, name = state.segments, column(state.segments, "name")
    crc = column(segments, "crc")
    stamped = pc.and_(pc.equal(column(segments, "stamp_crc"), pc.cast(crc, pa.string())), state.as_stamped)
    stamped = pc.fill_null(stamped, False)
    return [
        state.wanted.numbers,
        state.seen.numbers if state.seen else _all(-1, len(name)),
        state.stale.numbers,
        column(segments, "status").indices,
        column(segments, "tier").indices,
        column(segments, "crypter").indices,
        pc.is_valid(crc),
        pc.fill_null(pc.equal(column(segments, "rows"), 0), False),
        _is_in(name, state.lineage.in_progress),
        _is_in(name, state.lineage.replaced),
        bad_url,
        stamped,
        # What speaks of another object says nothing, and need not be told apart.
        pc.if_else(stamped, column(segments, "stamp_hash").indices, None),
        pc.if_else(stamped, column(segments, "stamp_incurable"), None),
    ]


def _is_in(names: pa.Array, some: Collection[str]) -> pa.BooleanArray:
    return pc.is_in(names, value_set=pa.array(list(some), pa.string())) if some else _all(False, len(names))


def _all(value: int, length: int) -> pa.Array:
    return pa.repeat(value, length)


class _Judge:
    """The decision on a case."""

    def __init__(self, state: TableState, request: RunRequest) -> None:
        self._state = state
        self._force = request.force
        self._hashes = TableHashes(state.table_config, state.schema)
        self._crypter = (state.table_config.get("segmentsConfig") or {}).get("crypterClassName")
        self._texts = {
            name: column(state.segments, name).dictionary.to_pylist()
            for name in ("status", "tier", "crypter", "stamp_hash")
        }

    def __call__(self, case: _Case) -> Verdict:
        states = self._states(case)
        status, tier, crypter, stamp_hash = (
            None if number is None else self._texts[name][number]
            for name, number in (
                ("status", case.status),
                ("tier", case.tier),
                ("crypter", case.crypter),
                ("stamp_hash", case.stamp_hash),
            )
        )
        replicas = online_servers(states)
        current = self._hashes.current(tier)
        stamp = true_stamp(stamp_hash, case.stamp_incurable)
        stamp_state = self._hashes.state(stamp.table_hash, tier)
        overrides = has_tier_overrides(self._state.table_config, tier)
        servers, words = server_state("", replicas, self._answers(case, replicas), overrides_by_tier=overrides)
        verdict = Verdict(Action.SKIP, "", current, servers, stamp_state, replicas)
        why_not = blocked(
            states.values(),
            status=status,
            in_progress=case.in_progress,
            replaced=case.replaced,
            crypter=crypter or self._crypter,
            has_crc=case.has_crc,
            empty=case.empty,
        )
        if why_not or case.bad_url:
            return replace(verdict, action=Action.NOT_ELIGIBLE, reason=why_not)
        decision = decide(
            stamp_state,
            servers,
            force=self._force,
            servers_say=words,
            incurable=stamp.incurable_reason if stamp.incurable_hash == current else None,
            servers_cannot_tell=overrides,
        )
        return replace(
            verdict,
            action=decision.action,
            reason=decision.reason,
            deferred_by=DeferredBy.SERVERS if decision.action is Action.DEFER else None,
            budgeted=decision.budgeted,
        )

    def _states(self, case: _Case) -> States:
        state = self._state
        wanted = state.wanted.sets[case.wanted] if case.wanted >= 0 else {}
        seen = state.seen.sets[case.seen] if state.seen and case.seen >= 0 else {}
        return with_consuming(wanted, seen)

    def _answers(self, case: _Case, replicas: Collection[str]) -> Mapping[str, ServerAnswer]:
        stale, servers = self._state.stale.sets[case.stale], self._state.stale.servers
        return {
            server: replace(answer, stale={"": stale[server]} if server in stale else {})
            for server in replicas
            if (answer := servers.get(server)) is not None
        }


def with_consuming(wanted: States, seen: States) -> States:
    """What the ideal state says of a segment, with a server that is still seen to consume it counted as consuming it.

    From the commit until a server has built or downloaded its own copy, it holds the consuming one. That one counts as
    stale whatever the config says (Pinot 1.5.1, `BaseTableDataManager.isSegmentStale`: time column).
    """
    return {server: "CONSUMING" if seen.get(server) == "CONSUMING" else state for server, state in wanted.items()}
