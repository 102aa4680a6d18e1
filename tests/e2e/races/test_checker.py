"""The races' checker finds what it is there for: each promise is broken here once, on purpose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.kit import LOG, Sync
from tests.e2e.races.actors import Ingestion
from tests.e2e.races.archive import Held
from tests.e2e.races.checker import Checker, problem_of_answer, problem_of_rows
from tests.e2e.races.events import Events
from tests.e2e.races.ledger import Between, Known, Ledger
from tests.e2e.races.race import Race
from tests.e2e.races.table import (
    SEGMENTS,
    TABLE,
    Layout,
    Sums,
    ingested,
    rows_of,
    schema,
    table_config,
)
from tests.e2e.races.user import User

from deep_store_sync.publishing.proof import ServerWatch
from deep_store_sync.segment.archive import metadata_archive, read_metadata
from deep_store_sync.stamp import stamp_map
from deep_store_sync.table_hash import table_hash

SEGMENT = SEGMENTS[0]
NO_LAYOUT = Layout(frozenset(), frozenset(), frozenset())
OLD, LOST, UNTRUE, GONE, UNFIT = SEGMENTS


def test_the_ledger_allows_what_was_pushed_and_what_is_under_way() -> None:
    ledger = Ledger()
    with ledger.push(SEGMENT):
        pass
    before = ledger.look(SEGMENT)
    assert Between.looks(before, before) == Between(1, 1, pushing=False, deleted=False)
    with ledger.push(SEGMENT):
        during = ledger.look(SEGMENT)
        assert Between.looks(before, during) == Between(1, 2, pushing=True, deleted=True)
        assert Between.looks(during, during) == Between(1, 2, pushing=True, deleted=False)
    after = ledger.look(SEGMENT)
    assert Between.looks(after, after) == Between(2, 2, pushing=False, deleted=False)
    # A whole push between the two looks is not overlooked.
    assert Between.looks(before, after) == Between(1, 2, pushing=True, deleted=True)
    with ledger.push(SEGMENT, again=True) as version:
        assert version == 2
    with ledger.deletion(SEGMENT):
        during = ledger.look(SEGMENT)
        assert Between.looks(during, during) == Between(2, 2, pushing=False, deleted=True)


def test_a_push_that_failed_stays_under_way() -> None:
    ledger = Ledger()
    with pytest.raises(OSError, match="cut"), ledger.push(SEGMENT):
        raise OSError("cut")
    assert ledger.look(SEGMENT) == Known(pushed=0, begun=1, pushing=True, changes=1)


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (rows_of(SEGMENT, 2), None),
        (rows_of(SEGMENT, 3), None),
        (rows_of(SEGMENT, 1), "the object is of an old version"),
        (rows_of(SEGMENT, 4), "the object is of an old version"),
        (rows_of(SEGMENT, 2)[1:], "rows are lost"),
        ((*rows_of(SEGMENT, 2), rows_of(SEGMENT, 2)[-1]), "rows are lost"),
        ((*rows_of(SEGMENT, 2)[:9], *rows_of(SEGMENT, 3)[9:]), "the object mixes versions"),
        ((), "the object mixes versions"),
    ],
)
def test_rows_of_an_object(rows: Any, kind: str | None) -> None:
    between = Between(2, 3, pushing=True, deleted=False)
    problem = problem_of_rows(Held(SEGMENT, 1, rows, NO_LAYOUT), SEGMENT, between)
    assert (problem and problem.kind) == kind
    foreign = problem_of_rows(Held("another", 1, rows, NO_LAYOUT), SEGMENT, between)
    assert foreign is not None


def shown(version: int) -> tuple[int, Sums]:
    return version, Sums.of(rows_of(SEGMENT, version))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ([shown(2)], None),
        ([shown(3)], None),
        ([shown(1)], "a query shows an old version"),
        ([shown(4)], "a query shows a version of nobody"),
        ([shown(2), shown(3)], "a query mixes versions"),
        ([(2, replace(shown(2)[1], count=1))], "a query shows part of a version"),
        ([(2, shown(3)[1])], "a query shows part of a version"),
        ([], "a query misses a segment"),
    ],
)
def test_an_answer(answer: Any, kind: str | None) -> None:
    between = Between(3, 3, pushing=False, deleted=False)
    problem = problem_of_answer(answer, SEGMENT, between, floor=2)
    assert (problem and problem.kind) == kind


def test_a_violation_is_told_with_the_events_before_it() -> None:
    told: list[str] = []
    events = Events(tell=told.append)
    events.note("ingestion", "begins to push version 7", SEGMENT)
    events.note("ingestion", "begins to push version 8", SEGMENTS[1])
    for _ in range(3):
        events.violate("rows are lost", "2 are missing", SEGMENT)
    text = events.summary()
    assert "begins to push version 7" in text
    assert "begins to push version 8" not in text
    assert [text.count(line) for line in told] == [1]
    assert text.count("2 are missing") == 1
    assert "3 violations\n" in text
    assert "1 kinds of violations" in text


def test_what_is_broken_in_a_cluster_is_found(sync: Sync, tmp_path: Path) -> None:
    sandbox = sync.sandbox
    race = Race(sandbox, sync, seed=1, seconds=0)
    events, ledger = race.events, race.ledger
    checker = Checker(sandbox, sync, ledger, race.layouts, events)

    def check() -> dict[str | None, set[str]]:
        """Kinds of violations by segment, of one round of all checks."""
        events.violations.clear()
        events._seen.clear()
        checker.check_objects()
        for server in (*sandbox.servers, None):
            checker.check_query(server)
        found: dict[str | None, set[str]] = {}
        for violation in events.violations:
            found.setdefault(violation.segment, set()).add(violation.kind)
        return found

    with User(sandbox) as user:
        race.load(Ingestion("ingestion", race.course(user)))
        sync.run(force=True)
        assert check() == {}
        assert events.counts["checks of a stamp"] == len(SEGMENTS)

        def built(segment: str, version: int, rows: slice = slice(None), *switches: str) -> Any:
            config, some = table_config(frozenset(switches)), ingested(segment, version)[rows]
            (archive,) = sandbox.build_segments({segment: some}, table_config=config, schema=schema(0))
            return archive

        # A version that comes back: first in the deep store alone, then on servers as well.
        with ledger.push(OLD) as version:
            assert user.push(built(OLD, version), protected=True) is None
        wait_for(sync, OLD)
        assert check() == {}
        user.put(OLD, built(OLD, version - 1))
        assert check()[OLD] == {
            "the object is of an old version",
            "object and ZooKeeper do not fit, and nobody will finish that",
        }
        assert user.push(built(OLD, version - 1), protected=True) is None
        wait_for(sync, OLD)
        assert check()[OLD] == {"the object is of an old version", "a query shows an old version"}

        # A row that is lost, in the deep store and on servers.
        assert user.push(built(LOST, 1, slice(1, None)), protected=True) is None
        wait_for(sync, LOST)
        assert check()[LOST] == {"rows are lost", "a query shows part of a version"}

        # A stamp for a layout that the object does not have, and one for a table that never was.
        config = table_config(frozenset({"city.inverted_index"}))
        race.layouts.add(config, sandbox.schema(TABLE))
        stamp(sync, UNTRUE, table_hash(config, sandbox.schema(TABLE)), tmp_path / "object")
        assert check()[UNTRUE] == {"a stamp is untrue"}
        stamp(sync, UNTRUE, "v1:0", tmp_path / "object")
        assert check()[UNTRUE] == {"a stamp is untrue"}

        # The same rows in another archive, of which ZooKeeper knows nothing.
        user.put(UNFIT, built(UNFIT, 1, slice(None), "code.bloom_filter"))
        assert check()[UNFIT] == {"object and ZooKeeper do not fit, and nobody will finish that"}

        sync.services.store.delete(str(sync.services.controller.segment(TABLE, GONE).url))
        assert check()[GONE] == {"a download URL resolves to nothing"}


def wait_for(sync: Sync, segment: str) -> None:
    """Until both servers have the segment's CRC of now."""
    crc = sync.services.controller.segment(TABLE, segment).crc
    assert crc is not None
    watch = ServerWatch(sync.services, LOG)
    assert watch.wait_loaded({segment: crc}, {segment: sync.sandbox.servers})[segment].complete


def stamp(sync: Sync, segment: str, hash_: str, archive: Path) -> None:
    """Stamp a segment as the product does, with a hash of one's own. `archive` is where the object goes meanwhile."""
    services = sync.services
    record = services.controller.segment(TABLE, segment)
    assert record.url is not None
    assert record.crc is not None
    found = services.store.download(record.url, archive)
    services.controller.push_metadata(
        TABLE,
        segment,
        archive=metadata_archive(segment, *read_metadata(archive, segment)),
        url=record.url,
        expected_crc=record.crc,
        custom=stamp_map(hash_, record.crc, found.etag, run_id="a liar", at="now"),
    )
