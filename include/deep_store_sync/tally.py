"""What a run came to, counted over its outcomes a group of rows at a time; and how far the table is by now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.model import DeferredBy, Outcome, PublishMode, SegmentOutcome, StampState
from deep_store_sync.plan import WORK
from deep_store_sync.rows import rows_of
from deep_store_sync.states import planned_states, states_after
from deep_store_sync.totals import Amount, RunTotals

# Deferrals that somebody asked for. The others mean that the run could not do what it was meant to.
_ASKED_FOR = (DeferredBy.BUDGET, DeferredBy.MAX_SEGMENTS, DeferredBy.DOWNLOADS, DeferredBy.TIME)

_WORTH_A_LOOK = (Outcome.FAILED, Outcome.LOST_RACE, Outcome.INCURABLE, Outcome.NOT_ELIGIBLE)

_EXAMPLES = 5
_LOOKED_AT = 1_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a table is after a run, over the segments that the run looked at.

    `stamped` of `eligible` segments are stamped for the current config. `left` are not, of `left_bytes`; `waiting` of
    them, of `waiting_bytes`, only since the run's budget or maxSegments was used up, `held`, of `held_bytes`, since
    maxServerDownloadBytes was, and `late`, of `late_bytes`, since maxRunTime was over. `done` is what the run worked on
    itself, of `done_bytes`.
    """

    stamped: int = 0
    eligible: int = 0
    left: int = 0
    left_bytes: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    held: int = 0
    held_bytes: int = 0
    late: int = 0
    late_bytes: int = 0
    done: int = 0
    done_bytes: int = 0


def more_runs(progress: Progress, *, audit_bytes: int, max_segments: int | None, forced: bool) -> int | None:
    """How many more runs like this one it takes at least until nothing waits for its turn; None where none ever would.

    Every run takes one segment at least, however large. Segments that are new by then, or fail, are not in it.
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
        runs = max(runs, min(progress.waiting, -(-progress.waiting_bytes // audit_bytes)))
    return runs


def more_runs_by_time(progress: Progress) -> int | None:
    """How many more runs as quick as this one it takes at least until nothing waits for time; None: it did nothing."""
    if not progress.late:
        return 0
    if not progress.done:
        return None
    left, pace = (progress.late_bytes, progress.done_bytes) if progress.done_bytes else (progress.late, progress.done)
    return max(1, -(-left // pace))


def progress_line(progress: Progress, *, audit_bytes: int, max_segments: int | None, forced: bool) -> str:
    """How far the table is, in a line; the arguments are those of `more_runs`."""
    more = more_runs(progress, audit_bytes=audit_bytes, max_segments=max_segments, forced=forced)
    waiting = f"of these, {progress.waiting} wait for want of budget, of {progress.waiting_bytes} bytes: " + (
        "no run takes them up at this budget" if more is None else f"{more} more runs at this budget, at least"
    )
    held = f"{progress.held} wait for servers to download more, of {progress.held_bytes} bytes (maxServerDownloadBytes)"
    by_time = more_runs_by_time(progress)
    late = f"{progress.late} wait for want of time (maxRunTime), of {progress.late_bytes} bytes: " + (
        "this run got nothing done" if by_time is None else f"{by_time} more runs at this run's pace, at least"
    )
    return (
        f"{progress.stamped} of {progress.eligible} segments stamped for the current config; {progress.left} left, of "
        f"{progress.left_bytes} bytes{'; ' + waiting if progress.waiting else ''}{'; ' + held if progress.held else ''}"
        f"{'; ' + late if progress.late else ''}"
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
    server_bytes: int = 0
    failed: Kind = field(default_factory=Kind)
    left_alone: Kind = field(default_factory=Kind)
    deferred: Kind = field(default_factory=Kind)
    worth_a_look: Kind = field(default_factory=Kind)
    saved_downloads: int = 0
    saved_bytes: int = 0
    _progress: Counter[str] = field(default_factory=Counter)
    _states: Counter[str] = field(default_factory=Counter)
    _state_bytes: Counter[str] = field(default_factory=Counter)

    def counting(self, outcomes: Iterable[tuple[pa.Table, pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
        """The outcomes again, each group counted before it is handed on."""
        for planned, ended in outcomes:
            self._add(ended)
            self._add_progress(planned, ended)
            self._add_saved(planned, ended)
            self._add_states(planned, ended)
            yield ended

    def totals(self) -> RunTotals:
        """The numbers, to be kept with the report."""
        return RunTotals(
            counts={str(outcome): count for outcome, count in sorted(self.counts.items())},
            states={state: Amount(count, self._state_bytes[state]) for state, count in sorted(self._states.items())},
            quiet=self.quiet,
            refreshed=self.refreshed,
            downloaded_bytes=self.downloaded_bytes,
            uploaded_bytes=self.uploaded_bytes,
            server_downloads=self.server_downloads,
            server_bytes=self.server_bytes,
            saved_downloads=self.saved_downloads,
            saved_bytes=self.saved_bytes,
        )

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
        # A server downloads what was uploaded, or what was there already.
        uploaded, there = ended.column("uploaded_bytes"), ended.column("object_bytes")
        size = pc.if_else(pc.greater(uploaded, 0), uploaded, there)
        self.server_bytes += _sum(pc.multiply(ended.column("downloads"), size))
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
        by = ended.column("deferred_by")
        waiting = pc.and_(left, _is(by, DeferredBy.BUDGET, DeferredBy.MAX_SEGMENTS))
        held = pc.and_(left, _is(by, DeferredBy.DOWNLOADS))
        late = pc.and_(left, _is(by, DeferredBy.TIME))
        done = pc.and_(_is(planned.column("action").chunk(0), *WORK), pc.invert(_is(outcome, Outcome.DEFERRED)))
        self._progress.update(
            stamped=pc.and_(eligible, stamped).true_count,
            eligible=eligible.true_count,
            left=left.true_count,
            left_bytes=_sum(size.filter(left)),
            waiting=waiting.true_count,
            waiting_bytes=_sum(size.filter(waiting)),
            held=held.true_count,
            held_bytes=_sum(size.filter(held)),
            late=late.true_count,
            late_bytes=_sum(size.filter(late)),
            done=done.true_count,
            done_bytes=_sum(size.filter(done)),
        )

    def _add_saved(self, planned: pa.Table, ended: pa.RecordBatch) -> None:
        """What servers did not download, since the CRC was kept: published by a push, each replica would have."""
        quiet = pc.and_(_is(ended.column("outcome"), Outcome.SYNCED), _is(ended.column("mode"), PublishMode.QUIET))
        replicas = pc.list_value_length(planned.column("replicas").combine_chunks()).filter(quiet)
        self.saved_downloads += _sum(replicas)
        self.saved_bytes += _sum(pc.multiply(replicas, ended.column("uploaded_bytes").filter(quiet)))

    def _add_states(self, planned: pa.Table, ended: pa.RecordBatch) -> None:
        before = planned_states(*(planned.column(name).combine_chunks() for name in ("action", "stamp", "servers")))
        of = pa.table({"state": states_after(before, ended.column("outcome")), "bytes": planned.column("size_bytes")})
        for row in (
            of.group_by("state", use_threads=False).aggregate([("bytes", "sum"), ("bytes", "count")]).to_pylist()
        ):
            self._states[row["state"]] += row["bytes_count"]
            self._state_bytes[row["state"]] += row["bytes_sum"] or 0


def _is(values: pa.Array, *wanted: str) -> pa.BooleanArray:
    return pc.is_in(values, value_set=pa.array([str(one) for one in wanted], pa.string()))


def _sum(values: pa.Array) -> int:
    return int(pc.sum(values).as_py() or 0)
