"""In sync, out of sync or unknown: every row of the table, and the numbers that a report keeps."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep_store_sync.model import Action, Outcome, Servers, StampState
from deep_store_sync.states import SegmentState, planned_states, states_after
from deep_store_sync.totals import Amount, RunTotals

IN, OUT, UNKNOWN, INCURABLE, NOT_ELIGIBLE = SegmentState


def planned(action: Action, stamp: StampState, servers: Servers) -> str:
    columns = (pa.array([of.value], pa.string()) for of in (action, stamp, servers))
    (state,) = planned_states(*columns).to_pylist()
    return str(state)


@pytest.mark.parametrize(
    ("stamp", "servers", "state"),
    [
        (StampState.CURRENT, Servers.CLEAN, IN),
        (StampState.CURRENT, Servers.UNKNOWN, IN),
        (StampState.CURRENT, Servers.STALE, OUT),
        (StampState.OUTDATED, Servers.CLEAN, OUT),
        (StampState.OUTDATED, Servers.UNKNOWN, OUT),
        (StampState.OUTDATED, Servers.STALE, OUT),
        (StampState.NONE, Servers.CLEAN, UNKNOWN),
        (StampState.NONE, Servers.UNKNOWN, UNKNOWN),
        (StampState.NONE, Servers.STALE, OUT),
    ],
)
def test_before_a_run_stamp_and_servers_say_it(stamp: StampState, servers: Servers, state: SegmentState) -> None:
    for action in set(Action) - {Action.INCURABLE, Action.NOT_ELIGIBLE}:
        assert planned(action, stamp, servers) == state
    assert planned(Action.INCURABLE, stamp, servers) == INCURABLE
    assert planned(Action.NOT_ELIGIBLE, stamp, servers) == NOT_ELIGIBLE


ENDS = [
    (Outcome.SYNCED, IN),
    (Outcome.STAMPED, IN),
    (Outcome.SKIPPED, IN),
    (Outcome.INCURABLE, INCURABLE),
    (Outcome.NOT_ELIGIBLE, NOT_ELIGIBLE),
    (Outcome.LOST_RACE, UNKNOWN),
    (Outcome.DEFERRED, OUT),
    (Outcome.FAILED, OUT),
    (None, OUT),
]


@pytest.mark.parametrize(("outcome", "state"), ENDS)
def test_after_a_run_the_outcome_says_it_or_all_is_as_planned(outcome: Outcome | None, state: SegmentState) -> None:
    after = states_after(pa.array([OUT.value]), pa.array([outcome and outcome.value], pa.string()))
    assert after.to_pylist() == [state]


def test_every_outcome_is_in_that_table() -> None:
    assert {outcome for outcome, _ in ENDS} == {*Outcome, None}


@given(
    st.builds(RunTotals, st.dictionaries(st.sampled_from(Outcome), st.integers(0)), st.just({"in sync": Amount(1, 2)}))
)
def test_totals_come_back_from_a_files_metadata(totals: RunTotals) -> None:
    assert RunTotals.of_file({**totals.metadata(), "other": "x"}) == totals


def test_totals_of_another_version_leave_out_what_is_not_known() -> None:
    found = RunTotals.of_file({"totals": '{"counts": {}, "states": {}, "quiet": 3, "of_a_later_version": 7}'})
    assert found == RunTotals({}, {}, quiet=3)
    assert RunTotals.of_file({}) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", '{"counts": 3, "states": {}}', '{"counts": {}, "states": [1]}']
)
def test_totals_that_are_none_are_one_of_a_few_errors(text: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        RunTotals.of_file({"totals": text})
