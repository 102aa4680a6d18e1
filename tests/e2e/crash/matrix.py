"""The crash matrix: two ways to kill runs at all points that they pass in a scene.

The *chain* goes through a run step by step. In each, the process is killed at one point, and the step is begun anew by
another process, as a task that is tried again, which is killed at the next point, and so on to the end of the step.
The *long way* gives each kill a scene of its own: a run is killed there, and a new run has to bring it to the end.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.e2e.crash import invariants
from tests.e2e.crash.points import Site, all_sites
from tests.e2e.crash.runs import STEPS, Ended, Kill, Run, Runs, passed_sites
from tests.e2e.crash.scenes import SCENES, Scene
from tests.e2e.crash.table import CrashTable

from deep_store_sync.workspace import Workspace

Tell = Callable[[str], None]
WHEN = ("before", "after")


@dataclass
class Matrix:
    """The table, the processes, and what was killed so far."""

    table: CrashTable
    runs: Runs
    tell: Tell = print
    sites: Sequence[Site] = field(default_factory=all_sites)
    passed: dict[str, None] = field(default_factory=dict)
    """Points that runs without a kill have passed, in their order."""
    killed: dict[str, set[str]] = field(default_factory=dict)
    """Points where processes were killed: before, after or both."""
    kills: Counter[str] = field(default_factory=Counter)
    done: list[str] = field(default_factory=list)
    """Names of the scenes, and of commands, that were gone through."""

    # --- the scenes --------------------------------------------------------------------------------------------------

    def set(self, scene: Scene) -> None:
        """Have the table as the scene wants it."""
        if scene.forgets:
            self.forget_dead_runs()
        scene.prepare(self.table)
        if scene.died_at is not None:
            self.kill(Run(), STEPS, Kill(next(filter(scene.died_at, self.passed)), scene.died))
            invariants.age(self.runs.work, self.runs.temporary)

    def finish(self, scene: Scene) -> None:
        """Have a run bring the scene to its end, and see that all is right then."""
        self._to_the_end(scene, scene.run())

    def record(self, scene: Scene) -> dict[str, list[str]]:
        """Let a run come to its end; returns the points that it passed, by step."""
        self.set(scene)
        run, crcs = scene.run(), self._crcs()
        ended = self._to_the_end(scene, run)
        assert (run.left["quiet"] > 0) == scene.quiet, run.left
        assert not (scene.quiet or scene.same_crcs) or self._crcs() == crcs
        self.passed |= dict.fromkeys(ended.points)
        return ended.passed

    def chain(self, scene: Scene, *, both: bool) -> None:
        """Kill at each point that was not killed at so far, and try the step again.

        Without `both`, points that change nothing outside of the process are killed at once only, before or after by
        turns. What only a step that is tried again passes is killed as it comes. At the points that a segment is
        published at, whole runs are killed as well, one after the other, so that runs go on with what runs left.
        """
        recorded = self.record(scene)
        self.done.append(scene.name)
        todo = {step: list(self._kills_of(recorded.get(step, ()), both=both)) for step in STEPS}
        if not any(todo.values()):
            return
        self.set(scene)
        run, missed, before = scene.run(), [], sum(self.kills.values())
        for step in STEPS:
            if step == "publish" and scene.before_publish:
                scene.before_publish(self.table)
            missed += self.time_and_again(run, step, todo[step], lambda new: self._kills_of(new, both=both))
        self._right(run, scene.name)
        for kill in missed:
            self.kill_and_run_again(scene, kill)
        published = [kill for step in ("publish", "stamp") for kill in todo[step] if _publishes(kill.point)]
        self._runs_in_a_row(scene, [kill for kill in published if kill not in missed])
        count = sum(self.kills.values()) - before
        self.tell(f"{scene.name}: {count} kills, {len(published)} of them of whole runs")

    def time_and_again(
        self,
        run: Run,
        step: str,
        kills: Sequence[Kill],
        of_new: Callable[[Sequence[str]], Iterable[Kill]],
        known: Iterable[str] = (),
    ) -> list[Kill]:
        """Kill a step, try it again, kill that, and so on, and let the last one be; returns the kills that did not come
        about. Points that nobody has known before are killed at as they come, `of_new` says how.
        """
        todo, missed, done = deque((kill, True) for kill in kills), [], False
        seen = {*self.passed, *known}
        while todo:
            kill, expected = todo.popleft()
            ended = self.kill(run, [step], kill, must=False)
            done = not ended.killed
            if done and expected:
                missed.append(kill)
            new = [point for point in ended.points if point not in seen]
            todo.extendleft((kill, False) for kill in reversed(list(of_new(new))))
            seen.update(new)
        if not done:
            self.let(run, [step])
        return missed

    def _runs_in_a_row(self, scene: Scene, kills: Sequence[Kill]) -> None:
        """Kill one run after the other, each where the one before it was killed or later, and let the last one be."""
        if scene.before_publish or not kills:
            for kill in kills:
                self.kill_and_run_again(scene, kill)
            return
        self.set(scene)
        for kill in kills:
            run = scene.run()
            if not self.kill(run, STEPS, kill, must=False).killed:
                # Earlier ones have left nothing to be done there. That was a whole run.
                self._right(run, f"it was to be {kill}")
                self.set(scene)
                self.kill(scene.run(), STEPS, kill)
        self._to_the_end(scene, scene.run(), says="killed time and again")

    def kill_and_run_again(self, scene: Scene, kill: Kill) -> None:
        """Kill a run there, and have another one come to its end."""
        self.set(scene)
        run = scene.run()
        if scene.before_publish:
            if not (ended := self.kill(run, ["find", "rebuild"], kill, must=False)).killed:
                scene.before_publish(self.table)
                ended = self.kill(run, ["publish", "stamp", "report"], kill)
        else:
            ended = self.kill(run, STEPS, kill)
        assert ended.killed, f"not passed, so not {kill}"
        self._to_the_end(scene, scene.run(), says=str(kill))

    def long(self, scene: Scene, *, only: str = "", most: int | None = None) -> int:
        """Each point that was not killed at so far, before and after, in a scene of its own; returns how many.

        `only` those with this text, and `most` so many.
        """
        recorded = self.record(scene)
        self.done.append(scene.name)
        kills = (kill for points in recorded.values() for kill in self._kills_of(points, both=True))
        todo = [kill for kill in kills if only in kill.point][:most]
        for number, kill in enumerate(todo, 1):
            self.kill_and_run_again(scene, kill)
            self.forget_dead_runs()
            self.tell(f"{scene.name}: {number} of {len(todo)}: {kill}")
        return len(todo)

    # --- processes ----------------------------------------------------------------------------------------------------

    def kill(self, run: Run, steps: Sequence[str], kill: Kill, *, must: bool = True) -> Ended:
        """Kill steps of a run there, if they come to it, as they `must`, and see that all is sound."""
        ended = self.runs.go(run, steps, kill)
        if ended.killed:
            self.killed.setdefault(kill.point, set()).add(kill.when)
            self.kills["run" if len(steps) > 1 else "step"] += 1
            self._sound(str(kill))
        else:
            assert ended.error is None, f"{kill}: {ended.error}\n{self.runs.log()}"
            assert not must, f"not passed, so not {kill}"
            self._sound(f"not passed, so not {kill}")
        self._listed(ended)
        return ended

    def let(self, run: Run, steps: Sequence[str], says: str = "nothing") -> Ended:
        """Let steps of a run come to their end. `says` what was done to it before."""
        ended = self.runs.go(run, steps)
        assert ended.error is None, f"after it was {says}: {ended.error}\n{self.runs.log()}"
        self._listed(ended)
        return ended

    # --- what has to be so -------------------------------------------------------------------------------------------

    def leftovers(self) -> list[str]:
        """What is left on the worker after one more run of the table, with all that was left before grown old."""
        scene = SCENES[0]
        invariants.age(self.runs.work, self.runs.temporary)
        self.set(scene)
        self.finish(scene)
        return invariants.leftovers(self.runs.work, self.runs.temporary)

    def killed_sites(self) -> set[Site]:
        """The sites of all points that processes were killed at."""
        return {site for point in self.killed for site in passed_sites(point, self.sites)}

    def not_killed(self) -> list[str]:
        """Points that runs pass, and that no process was killed at."""
        return sorted(self.passed.keys() - self.killed.keys())

    # --- within ------------------------------------------------------------------------------------------------------

    def _kills_of(self, points: Sequence[str], *, both: bool) -> Iterator[Kill]:
        for number, point in enumerate(points):
            done = self.killed.get(point, set())
            if both or changes(point):
                yield from (Kill(point, when) for when in WHEN if when not in done)
            elif not done:
                yield Kill(point, WHEN[number % 2])

    def _crcs(self) -> dict[str, int | None]:
        sync = self.table.sync
        return {record.name: record.crc for record in sync.services.controller.segments(sync.table)}

    def _to_the_end(self, scene: Scene, run: Run, says: str = "nothing") -> Ended:
        if scene.before_publish and not says.startswith("killed"):
            first = self.let(run, ["find", "rebuild"])
            scene.before_publish(self.table)
            second = self.let(run, ["publish", "stamp", "report"])
            ended = Ended(False, first.passed | second.passed, (), None)
        else:
            ended = self.let(run, STEPS, says)
        self._right(run, says)
        return ended

    def _right(self, run: Run, says: str) -> None:
        """A run is at its end: all is as it should be, and another one finds nothing to do."""
        assert not run.left["undone"], f"{says}: {run.left}"
        assert run.left["outcomes"].keys() <= {"synced", "stamped", "skipped"}, f"{says}: {run.left}"
        found = invariants.problems_after_run(self.table)
        assert not found, f"{says}, and at the end of the run:\n" + "\n".join(found)
        again = Run()
        self.let(again, ["find"], says)
        assert again.left["actions"] == ["skip"], f"{says}, and yet another run has work to do: {again.left}"

    def forget_dead_runs(self) -> None:
        """Remove what killed tries of runs left. It stays for `keepRuns`, and each run looks whether that is over."""
        store, settings = self.table.sync.services.store, self.table.sync.settings
        for run in store.folders(Workspace.runs_url(settings.workspace, settings.table)):
            for place in store.folders(run):
                items = [item.url for item in store.list(place)]
                if not any(url.endswith("/report.parquet") for url in items):
                    store.delete_all(items)

    def _sound(self, says: str) -> None:
        found = invariants.problems(self.table)
        assert not found, f"{says}, and then:\n" + "\n".join(found)

    @staticmethod
    def _listed(ended: Ended) -> None:
        assert not ended.unlisted, "calls that points.py does not know: " + "; ".join(ended.unlisted)


_CHANGING = frozenset(("PutObject", "CopyObject", "DeleteObject", "DeleteObjects")) | frozenset(
    ("CreateMultipartUpload", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload", "AbortMultipartUpload")
)
# Of these, what makes an object appear or change.
_SHOWS = ("PutObject", "CopyObject", "CompleteMultipartUpload")


def changes(point: str) -> bool:
    """Whether something outside of the process and its folder is changed there."""
    return point.split(" < ")[0] in _CHANGING or "push.py:push_metadata" in point or "ControllerClient.reload:" in point


def _publishes(point: str) -> bool:
    """Whether a segment is changed there, or what is kept of it."""
    operation = point.split(" < ")[0]
    return changes(point) and "_results:" not in point and operation in (*_SHOWS, "request")
