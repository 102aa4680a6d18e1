"""Commands that an operator gives after a run, killed as runs are: rollback, unstamp, verify.

As runs, they are killed at one point after the other, each time given once more by another process (the *chain*), or at
each point of its own before and after, with a run before it and the whole command behind it (the *long way*).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tests.e2e.crash import invariants
from tests.e2e.crash.matrix import WHEN, Matrix, changes
from tests.e2e.crash.runs import STEPS, Kill, Run
from tests.e2e.crash.scenes import Scene
from tests.e2e.crash.table import CrashTable, Segments


@dataclass(frozen=True)
class Command:
    """A command that is given after a run of the scene.

    `says` is what it may say of segments, and `wanted` how they are to be once it has come to its end, of how they were
    before the run and after it. The chain is killed at points that `in_short` takes; None: there is none.
    """

    name: str
    step: str
    scene: Scene
    says: frozenset[str]
    wanted: Callable[[Segments, Segments], Segments]
    in_short: Callable[[str], bool] | None


def _as_before(before: Segments, after: Segments) -> Segments:
    assert before != after
    return before


def _without_stamps(before: Segments, after: Segments) -> Segments:
    return {name: (body, crc, None) for name, (body, crc, _) in after.items()}


def _as_after(before: Segments, after: Segments) -> Segments:
    return after


def _undoes(point: str) -> bool:
    return changes(point) and "upkeep/undo.py" in point


def _looks(point: str) -> bool:
    return point.startswith("tempfile.TemporaryDirectory < upkeep/object_metadata.py")


def _unstamps(point: str) -> bool:
    return _looks(point) or (changes(point) and "upkeep/unstamp.py" in point)


_UNDONE = frozenset(("rolled back", "as before"))
COMMANDS = (
    Command(
        "rollback of a refresh, in parts",
        "rollback",
        Scene("refreshed in parts", CrashTable.indexes_stale, parts=True),
        _UNDONE,
        _as_before,
        _undoes,
    ),
    Command(
        "rollback of a quiet publish",
        "rollback",
        Scene("published quietly", CrashTable.reloaded, quiet=True),
        _UNDONE,
        _as_before,
        None,
    ),
    Command(
        "unstamp",
        "unstamp",
        Scene("stamped", CrashTable.unstamped),
        frozenset(("unstamped",)),
        _without_stamps,
        _unstamps,
    ),
    Command("verify", "verify", Scene("stamped", CrashTable.unstamped), frozenset(("true",)), _as_after, _looks),
)
IN_SHORT = tuple(command for command in COMMANDS if command.in_short is not None)


class Given:
    """One command, given on the table of a matrix, which is told of all kills."""

    def __init__(self, matrix: Matrix, command: Command) -> None:
        self._matrix = matrix
        self._command = command
        self._before: Segments = {}
        self._after: Segments = {}
        self._ran = Run()

    def chain(self) -> None:
        """Kill at points that `in_short` takes, before and after where something is changed there."""
        matrix, command, before = self._matrix, self._command, sum(self._matrix.kills.values())
        points = self._recorded()
        run = self._run()
        missed = matrix.time_and_again(run, command.step, list(self._short(points)), self._short, points)
        self._right(run, command.name)
        for kill in missed:
            self._kill_and_give_again(kill)
        matrix.finish(command.scene)
        matrix.done.append(command.name)
        matrix.tell(f"{command.name}: {sum(matrix.kills.values()) - before} kills")

    def long(self, *, only: str = "", most: int | None = None) -> None:
        """Each point before and after; `only` those with this text, and `most` so many."""
        matrix, command = self._matrix, self._command
        kills = [Kill(point, when) for point in self._recorded() for when in WHEN if only in point][:most]
        for number, kill in enumerate(kills, 1):
            self._kill_and_give_again(kill)
            matrix.tell(f"{command.name}: {number} of {len(kills)}: {kill}")
        matrix.finish(command.scene)

    def _recorded(self) -> list[str]:
        """The points of a command that nothing happens to."""
        run = self._run()
        ended = self._matrix.let(run, [self._command.step])
        self._right(run, "nothing")
        return ended.points

    def _short(self, points: Iterable[str]) -> Iterator[Kill]:
        command = self._command
        for number, point in enumerate(filter(command.in_short, points)):
            yield from (Kill(point, when) for when in (WHEN if changes(point) else (WHEN[number % 2],)))

    def _kill_and_give_again(self, kill: Kill) -> None:
        run, step = self._run(), self._command.step
        self._matrix.kill(run, [step], kill)
        self._matrix.let(run, [step], str(kill))
        self._right(run, str(kill))

    def _run(self) -> Run:
        """What a command is given about: the same run as before, if nothing was changed since."""
        matrix, scene = self._matrix, self._command.scene
        if matrix.table.segments() != self._after:
            matrix.set(scene)
            self._before = matrix.table.segments()
            self._ran = scene.run()
            matrix.let(self._ran, STEPS)
            assert not self._ran.left["undone"], self._ran.left
            assert (self._ran.left["quiet"] > 0) == scene.quiet, self._ran.left
            self._after = matrix.table.segments()
        return self._ran

    def _right(self, run: Run, says: str) -> None:
        assert self._command.says.issuperset(run.left["said"]), f"{says}: {run.left}"
        found = invariants.problems_after_command(self._matrix.table)
        assert not found, f"{says}, and when {self._command.step} had come to its end:\n" + "\n".join(found)
        now, wanted = self._matrix.table.segments(), self._command.wanted(self._before, self._after)
        assert now == wanted, f"{says}: {self._command.step} left {now}, and not {wanted}"
