"""The long form of the crash matrix: each point before and after, each in a run of its own, and the next run finishes.

So are commands: each point in a command of its own, after a run of its own, and the same command finishes.

    python -m tests.e2e.crash [--scene TEXT] [--point TEXT] [--most N]

It starts a sandbox of its own, and takes about two hours on two cores. `--scene` takes the scenes and commands with
this text in their names, `--point` the points with this text in the calls that lead there, `--most` so many kills of
each of them. A kill that breaks a promise ends it with what was seen, and exit code 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.crash import invariants
from tests.e2e.crash.commands import COMMANDS, Given
from tests.e2e.crash.matrix import Matrix
from tests.e2e.crash.never_passed import uncovered
from tests.e2e.crash.runs import Runs
from tests.e2e.crash.scenes import SCENES
from tests.e2e.crash.table import crash_table

from pinot_sandbox import Sandbox


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.crash", description="The long form of the crash matrix.")
    parser.add_argument("--scene", default="", help="only scenes and commands with this text in their names")
    parser.add_argument("--point", default="", help="only points with this text, as in publish_segment.py")
    parser.add_argument("--most", type=int, help="so many kills of each scene at most")
    asked = parser.parse_args()
    started, broken = time.monotonic(), 0
    with (
        tempfile.TemporaryDirectory(prefix="crash-") as folder,
        Sandbox.start(progress=print) as sandbox,
        crash_table(sandbox, Path(folder)) as table,
        Runs(table.sync, Path(folder)) as runs,
    ):
        matrix = Matrix(table, runs, tell=lambda line: print(f"{time.monotonic() - started:6.0f} s {line}", flush=True))
        for scene in SCENES:
            if asked.scene in scene.name:
                matrix.long(scene, only=asked.point, most=asked.most)
            elif scene.died_at is None:
                matrix.record(scene)  # what its points are, others may have to know
        for command in COMMANDS:
            if asked.scene in command.name:
                Given(matrix, command).long(only=asked.point, most=asked.most)
        print(f"left on the worker: {matrix.leftovers() or 'nothing'}")
        print(f"multipart uploads left open: {len(invariants.unfinished_uploads(table))}")
        kills = sum(matrix.kills.values())
        print(f"{kills} kills at {len(matrix.killed)} points, {time.monotonic() - started:.0f} s, no promise broken")
        if not (asked.scene or asked.point or asked.most):
            for site in uncovered(matrix.sites, matrix.killed_sites()):
                broken += 1
                print(f"never killed at: {site.name}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
