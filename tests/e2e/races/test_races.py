"""The short form of the races: what `python -m tests.e2e.races` does, for a minute and a half."""

from __future__ import annotations

import os
import secrets

import pytest
from tests.e2e.kit import syncing
from tests.e2e.races.race import Race
from tests.e2e.races.table import TABLE

from pinot_sandbox import Sandbox

SEED = "DEEP_STORE_SYNC_RACES_SEED"
SECONDS = "DEEP_STORE_SYNC_RACES_SECONDS"


def test_whatever_races_nothing_is_lost_and_every_stamp_is_true(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get(SEED) or secrets.randbelow(10**6))
    seconds = float(os.environ.get(SECONDS) or 90)
    with capsys.disabled():
        print(f"\nraces: {seconds:g} s with {SEED}={seed}")
    with syncing(sandbox, TABLE) as sync:
        race = Race(sandbox, sync, seed, seconds)
        race.run()
    assert not race.events.violations, race.summary()
    happened = race.events.counts
    for what in ("pushes", "reloads", "edits", "outages", "runs, scheduled", "runs, manual", "runs, backfill"):
        assert happened[what], f"no {what} in {seconds:g} s: {race.summary()}"
    for what in ("checks of an object", "checks of a stamp", "checks of an answer", "checks of a server's answer"):
        assert happened[what], f"no {what} in {seconds:g} s: {race.summary()}"
