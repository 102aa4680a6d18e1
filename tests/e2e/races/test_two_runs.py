"""Two runs on one segment at the same time, step by step, where the dice would need long to find the step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.kit import LOG, Sync
from tests.e2e.races.actors import Ingestion
from tests.e2e.races.checker import Checker
from tests.e2e.races.race import Race
from tests.e2e.races.table import SEGMENTS, TABLE, table_config
from tests.e2e.races.user import User

from deep_store_sync.model import Outcome, StampState
from deep_store_sync.publishing.publish_segment import SegmentPublisher
from deep_store_sync.upkeep.verify_table import verify_table

SEGMENT = SEGMENTS[0]


@pytest.fixture
def race(sync: Sync) -> Iterator[Race]:
    """The table, loaded, with an index that no segment has."""
    race = Race(sync.sandbox, sync, seed=1, seconds=0)
    with User(sync.sandbox) as user:
        race.load(Ingestion("ingestion", race.course(user)))
        switch(race, "city.inverted_index")
        yield race


def switch(race: Race, *on: str) -> None:
    race.sandbox.update_table_config(table_config(frozenset(on)))
    race.layouts.add(race.sandbox.table_config(TABLE), race.sandbox.schema(TABLE))


def test_a_run_that_rebuilds_what_another_is_about_to_announce_is_finished_by_the_next(
    race: Race, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has written the object. The other takes it for a push that died, rebuilds it for a config that is newer still
    and writes it again; only then does the first tell ZooKeeper, so that the second cannot any more.
    """
    sync, push = race.sync, SegmentPublisher._push
    announce: list[Any] = []
    rows: dict[str, Any] = {}

    def one_within_the_other(publisher: SegmentPublisher, *args: Any, **kwargs: Any) -> None:
        if publisher.run_id == "first":
            announce.append(lambda: push(publisher, *args, **kwargs))
            switch(race, "city.inverted_index", "code.bloom_filter")
            rows.update(sync.run(run_id="second", force=True, segments=(SEGMENT,)))
        elif publisher.run_id == "second":
            announce[0]()
            push(publisher, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentPublisher, "_push", one_within_the_other)
        first = sync.run(run_id="first", force=True, segments=(SEGMENT,))
    assert first[SEGMENT].outcome is rows[SEGMENT].outcome is Outcome.LOST_RACE
    assert "run second overwrote the object" in first[SEGMENT].message
    checker = Checker(race.sandbox, sync, race.ledger, race.layouts, race.events)
    checker.check_objects()
    assert not race.events.violations, race.summary()
    written = sync.look()[SEGMENT].etag

    after = sync.run(run_id="third", force=True, segments=(SEGMENT,))[SEGMENT]
    assert (after.outcome, after.etag, after.uploaded_bytes) == (Outcome.SYNCED, written, 0)
    check = verify_table(sync.services, globs=(SEGMENT,), log=LOG)
    assert [row.stamp for row in check.segments] == [StampState.CURRENT]
    checker.check_objects()
    assert not race.events.violations, race.summary()
