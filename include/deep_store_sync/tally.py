"""What a run came to, counted over its outcomes a group of rows at a time; and how far the table is by now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.model import DeferredBy, Outcome, PublishMode, SegmentOutcome, StampState
from deep_store_sync.rows import rows_of

# Deferrals that somebody asked for. The others mean that the run could not do what it was meant to.
_ASKED_FOR = (DeferredBy.BUDGET, DeferredBy.MAX_SEGMENTS)

_WORTH_A_LOOK = (Outcome.FAILED, Outcome.LOST_RACE, Outcome.INCURABLE, Outcome.NOT_ELIGIBLE)

_EXAMPLES = 5
_LOOKED_AT = 1_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a table is after a run, over the segments that the run looked at.

    `stamped` of `eligible` segments are stamped for the current config. `left` are not, of `left_bytes`; `waiting` of
    them, of `waiting_bytes`, only since the run's budget or maxSegments was used up.
    """

    stamped: int = 0
    eligible: int = 0
    left: int = 0
    left_bytes: int = 0
    waiting: int = 0
    waiting_bytes: int = 0


def more_runs(progress: Progress, *, audit_bytes: int, max_segments: int | None, forced: bool) -> int | None:
    """How many more runs like this one it takes at least until nothing waits for its turn; None where none ever would.

    Segments that are new by then, or fail, are not in it.
    """
    if not progress.waiting:
        return 0
    runs = 1
    if max_segments is not None:
        if not max_segments:
            return None
        runs = -(-progress.waiting // max_segments)
    if not forced:
        if not audit_bytes:
            return None
        runs = max(runs, -(-progress.waiting_bytes // audit_bytes))
    return runs


def progress_line(progress: Progress, *, audit_bytes: int, max_segments: int | None, forced: bool) -> str:
    """How far the table is, in a line; the arguments are those of `more_runs`."""
    more = more_runs(progress, audit_bytes=audit_bytes, max_segments=max_segments, forced=forced)
    waiting = f"of these, {progress.waiting} wait for want of budget, of {progress.waiting_bytes} bytes: " + (
        "no run takes them up at this budget" if more is None else f"{more} more runs at this budget, at least"
    )
    return (
        f"{progress.stamped} of {progress.eligible} segments stamped for the current config; {progress.left} left, of "
        f"{progress.left_bytes} bytes{'; ' + waiting if progress.waiting else ''}"
    )


@dataclass(slots=True)
class Kind:
    """Outcomes of one kind: how many, and the first of them."""

    count: int = 0
    first: list[SegmentOutcome] = field(default_factory=list)

    def examples(self) -> str:
        """Some of them in words."""
        shown = "; ".join(f"{row.segment}: {row.message}" for row in self.first[:_EXAMPLES])
        more = self.count - _EXAMPLES
        return shown + (f"; and {more} more" if more > 0 else "")


@dataclass(slots=True)
class Tally:
    """The outcomes of a run in numbers, with examples of what went wrong."""

    counts: Counter[Outcome] = field(default_factory=Counter)
    quiet: int = 0
    refreshed: int = 0
    downloaded_bytes: int = 0
    uploaded_bytes: int = 0
    server_downloads: int = 0
    failed: Kind = field(default_factory=Kind)
    left_alone: Kind = field(default_factory=Kind)
    deferred: Kind = field(default_factory=Kind)
    worth_a_look: Kind = field(default_factory=Kind)
    _progress: Counter[str] = field(default_factory=Counter)

    def counting(self, outcomes: Iterable[tuple[pa.Table, pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
        """The outcomes again, each group counted before it is handed on."""
        for planned, ended in outcomes:
            self._add(ended)
            self._add_progress(planned, ended)
            yield ended

    @property
    def progress(self) -> Progress:
        """How far the table is."""
        return Progress(**self._progress)

    def _add(self, ended: pa.RecordBatch) -> None:
        outcome, mode, by = ended.column("outcome"), ended.column("mode"), ended.column("deferred_by")
        for count in pc.value_counts(outcome).to_pylist():
            self.counts[Outcome(count["values"])] += count["counts"]
        synced = _is(outcome, Outcome.SYNCED)
        self.quiet += pc.and_(synced, _is(mode, PublishMode.QUIET)).true_count
        self.refreshed += pc.and_(synced, _is(mode, PublishMode.REFRESH)).true_count
        self.downloaded_bytes += _sum(ended.column("object_bytes"))
        self.uploaded_bytes += _sum(ended.column("uploaded_bytes"))
        self.server_downloads += _sum(ended.column("downloads"))
        since_failures = _is(by, DeferredBy.FAILURES)
        unasked = pc.and_(_is(outcome, Outcome.DEFERRED), pc.invert(pc.or_(_is(by, *_ASKED_FOR), since_failures)))
        unproven = pc.greater(pc.list_value_length(ended.column("unproven")), 0)
        for kind, of_kind, most in (
            (self.failed, _is(outcome, Outcome.FAILED), _EXAMPLES),
            (self.left_alone, since_failures, _EXAMPLES),
            (self.deferred, unasked, _EXAMPLES),
            (self.worth_a_look, pc.or_(_is(outcome, *_WORTH_A_LOOK), unproven), _LOOKED_AT),
        ):
            kind.count += of_kind.true_count
            wanted = most - len(kind.first)
            if of_kind.true_count and wanted > 0:
                kind.first += rows_of(ended.filter(of_kind).slice(0, wanted), SegmentOutcome)

    def _add_progress(self, planned: pa.Table, ended: pa.RecordBatch) -> None:
        planned = planned.combine_chunks()
        outcome, size = ended.column("outcome"), planned.column("size_bytes").chunk(0)
        eligible = pc.invert(_is(outcome, Outcome.NOT_ELIGIBLE))
        had = pc.and_(
            _is(planned.column("stamp").chunk(0), StampState.CURRENT), _is(outcome, Outcome.SKIPPED, Outcome.INCURABLE)
        )
        stamped = pc.or_(had, _is(outcome, Outcome.SYNCED, Outcome.STAMPED, Outcome.INCURABLE))
        left = pc.and_(eligible, pc.invert(stamped))
        waiting = pc.and_(left, _is(ended.column("deferred_by"), *_ASKED_FOR))
        self._progress.update(
            stamped=pc.and_(eligible, stamped).true_count,
            eligible=eligible.true_count,
            left=left.true_count,
            left_bytes=_sum(size.filter(left)),
            waiting=waiting.true_count,
            waiting_bytes=_sum(size.filter(waiting)),
        )


def _is(values: pa.Array, *wanted: str) -> pa.BooleanArray:
    return pc.is_in(values, value_set=pa.array([str(one) for one in wanted], pa.string()))


def _sum(values: pa.Array) -> int:
    return int(pc.sum(values).as_py() or 0)
