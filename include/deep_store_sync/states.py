"""In sync, out of sync, or unknown: what a plan and the outcomes of its run say of segments, in columns."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.model import Action, Outcome, Servers, StampState

Strings = Any
"""A column of strings, in one piece or in chunks."""


class SegmentState(StrEnum):
    """How a segment's copy in the deep store stands to table config and schema, as far as a run has looked."""

    IN_SYNC = "in sync"
    """Verified for the current config, and no server asks for anything else."""
    OUT_OF_SYNC = "out of sync"
    """A server calls the segment stale, or its object was verified for an older config."""
    UNKNOWN = "unknown"
    """Nobody has looked into its object yet, or somebody has pushed another one since."""
    INCURABLE = "incurable"
    """Verified for the current config, and servers call it stale however it is rebuilt."""
    NOT_ELIGIBLE = "not eligible"
    """It must not be touched, for now or for good."""


_ENDS = {
    Outcome.SYNCED: SegmentState.IN_SYNC,
    Outcome.STAMPED: SegmentState.IN_SYNC,
    Outcome.SKIPPED: SegmentState.IN_SYNC,
    Outcome.INCURABLE: SegmentState.INCURABLE,
    Outcome.NOT_ELIGIBLE: SegmentState.NOT_ELIGIBLE,
    Outcome.LOST_RACE: SegmentState.UNKNOWN,
}


def planned_states(action: Strings, stamp: Strings, servers: Strings) -> Strings:
    """How segments stood when a plan was made, from its columns of these names."""
    state: Strings = pc.if_else(
        pc.or_(pc.equal(servers, Servers.STALE.value), pc.equal(stamp, StampState.OUTDATED.value)),
        SegmentState.OUT_OF_SYNC.value,
        pc.if_else(pc.equal(stamp, StampState.CURRENT.value), SegmentState.IN_SYNC.value, SegmentState.UNKNOWN.value),
    )
    for decided, means in (
        (Action.INCURABLE, SegmentState.INCURABLE),
        (Action.NOT_ELIGIBLE, SegmentState.NOT_ELIGIBLE),
    ):
        state = pc.if_else(pc.equal(action, decided.value), means.value, state)
    return state


def states_after(planned: Strings, outcome: Strings) -> Strings:
    """How they stand after the run: by outcome, and as planned where there is none (yet), or nothing came of it."""
    ended = pa.array([means.value for means in _ENDS.values()], pa.string())
    place = pc.index_in(outcome, value_set=pa.array([end.value for end in _ENDS], pa.string()))
    return pc.coalesce(pc.take(ended, place), planned)
