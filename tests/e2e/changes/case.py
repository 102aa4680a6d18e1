"""What a case of a change is, and the queries that all of them are put together from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.changes.rows import Layout, Row

from deep_store_sync.model import Outcome

Answer = list[list[Any]]
Values = Mapping[str, Callable[[Row], Any]]


@dataclass(frozen=True)
class Query:
    """`answer` computes the result from the rows. Not `kept`: the table cannot be asked so before the change."""

    sql: str
    answer: Callable[[Sequence[Row]], Answer]
    kept: bool = True


@dataclass(frozen=True)
class Case:
    """A change from `before` to `after`, to a table of one segment.

    `built` is what the segment is built for, where that is not `before`; with `synced`, a run brings it to `before`
    first. `prepare` changes the archive before it is pushed. `tier`: where the segment is; if it is synced first, it
    moves there afterwards. `stale_says` is what `isStale` says in the end, which knows no tiers.

    `changes` has to be the report's. `values` computes the columns that come out otherwise than they are in the rows,
    `old_values` those of the old table, and `order` puts the rows in the order in which they come out. `check` looks at
    the segment's folder.

    `refused`: every run fails with a message like this, and leaves everything as it was. `incurable`: a run after the
    next two at most gives the segment up, with a reason like this.
    """

    name: str
    after: Layout
    changes: tuple[str, ...] = ()
    queries: tuple[Query, ...] = ()
    before: Layout = field(default_factory=Layout)
    built: Layout | None = None
    synced: bool = False
    prepare: Callable[[Path], None] | None = None
    tier: str | None = None
    stale_says: str | None = None
    values: Values = field(default_factory=dict)
    old_values: Values = field(default_factory=dict)
    order: Callable[[Row], Any] | None = None
    time_column: str = "ts"
    outcome: Outcome = Outcome.SYNCED
    check: Callable[[Path], None] | None = None
    refused: str | None = None
    incurable: str | None = None

    def __str__(self) -> str:
        return self.name.replace(" ", "_")

    @property
    def raw_table(self) -> str:
        return "change_" + "".join(character if character.isalnum() else "_" for character in self.name)


def indexing(**settings: Any) -> Layout:
    """With settings of tableIndexConfig."""
    return Layout(indexing=settings)


def configured(name: str, encoding: str = "DICTIONARY", **settings: Any) -> Layout:
    """With an entry of fieldConfigList."""
    return Layout(fields=[{"name": name, "encodingType": encoding} | settings])


def columns(**changes: Mapping[str, Any] | None) -> Layout:
    """With other columns."""
    return Layout(columns=changes)


def count(where: str, test: Callable[[Row], bool], *, kept: bool = True) -> Query:
    """How many rows a filter finds, and which they are."""

    def answer(rows: Sequence[Row]) -> Answer:
        ids = [row["id"] for row in rows if test(row)]
        return [[len(ids), float(sum(ids))]]

    return Query(f'select count(*), sum("id") from {{t}} where {where}', answer, kept)


def groups(by: str, of: Callable[[Row], Any], *, kept: bool = True) -> Query:
    """Rows and the sum of `qty` by what an expression gives."""

    def answer(rows: Sequence[Row]) -> Answer:
        found: dict[Any, list[int]] = {}
        for row in rows:
            found.setdefault(of(row), []).append(row["qty"])
        return [[value, len(qty), float(sum(qty))] for value, qty in sorted(found.items())]

    sql = f"select {by}, count(*), sum(qty) from {{t}} group by {by} order by {by} limit 1000"
    return Query(sql, answer, kept)


def shown_city(row: Row) -> str:
    return row["city"] or "null"


CITY_3 = count("city = 'city 03'", lambda row: row["city"] == "city 03")
NULL_CITIES = count("city is null", lambda row: row["city"] is None)
CODES = count("code between 100 and 150", lambda row: 100 <= row["code"] <= 150)
BY_CODE = groups("code", lambda row: row["code"])
BIG_ONES = count("big > 1500000", lambda row: row["big"] > 1_500_000)
MEMBER_41 = count("member = 41", lambda row: row["member"] == 41)
EVERYTHING = count("id >= 0", lambda _: True)
