"""The long form of the races: `python -m tests.e2e.races --minutes 30 --seed 7`, from the repository's root.

It starts a sandbox of its own and needs what the tests need (`make setup`). Actors race against one small table:
ingestion that pushes new versions of segments in all ways there are, user reloads, edits of table config and schema,
deletions, servers that go down and come back, and three kinds of runs at the same time, each slowed down at random. A
checker looks all the while (`checker.py` says at what). In the end comes a last run and a check of everything.

It prints the seed, each kind of violation with the events before it, and in the end what was done, with the outcomes of
the runs, and what was checked. It ends with 0 when there was no violation, else with 1. The seed repeats what actors
choose and not how the machine interleaves them, so that a violation may need several tries, or more minutes, to come
back.
"""

from __future__ import annotations

import argparse
import secrets
import sys

from tests.e2e.kit import syncing
from tests.e2e.races.events import Events
from tests.e2e.races.race import Race
from tests.e2e.races.table import TABLE

from pinot_sandbox import Sandbox


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.races", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="how long to race; the end takes a minute more")
    parser.add_argument("--seed", type=int, default=None, help="of all random choices; one is made up without it")
    arguments = parser.parse_args()
    seed = secrets.randbelow(10**6) if arguments.seed is None else arguments.seed
    print(f"races: seed {seed}, {arguments.minutes:g} minutes", flush=True)
    with Sandbox.start() as sandbox, syncing(sandbox, TABLE) as sync:
        race = Race(sandbox, sync, seed, arguments.minutes * 60, Events(tell=lambda text: print(text, flush=True)))
        race.run()
        print(race.summary(), flush=True)
    return 1 if race.events.violations else 0


if __name__ == "__main__":
    sys.exit(main())
