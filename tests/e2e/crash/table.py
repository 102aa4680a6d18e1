"""A small table that changes its shape: what is asked of a run is to bring it from one to another.

`indexes` are inverted, range and bloom filter indexes, which preprocessing adds and removes. `wide` is a column that is
LONG and not INT, which has to be written anew.
"""

from __future__ import annotations

import copy
import hashlib
import random
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.e2e.crash.segment_view import SegmentView, read_archive
from tests.e2e.kit import LOG, Sync, outcomes, syncing

from deep_store_sync.model import Outcome
from deep_store_sync.stamp import read_stamp
from deep_store_sync.table_hash import table_hash
from deep_store_sync.upkeep.unstamp import unstamp
from pinot_sandbox import Sandbox

ROWS = 800
SEGMENTS = 4


@dataclass(frozen=True)
class Shape:
    """What the table's config and schema ask for."""

    indexes: frozenset[str] = frozenset()
    wide: bool = False


Segments = dict[str, tuple[str, int, str | None]]
"""By segment what a rollback brings back: digest of the object, CRC in ZooKeeper, and hash of a stamp that is true."""

# Of four, one is always neither asked for, nor what segments have, nor what they had when their CRCs came to be.
LAYOUTS = (
    frozenset[str](),
    frozenset(("city.inverted_index", "amount.range_index", "note.bloom_filter")),
    frozenset(("amount.inverted_index", "note.bloom_filter")),
    frozenset(("city.inverted_index", "note.inverted_index")),
)
_LISTS = {
    "inverted_index": "invertedIndexColumns",
    "range_index": "rangeIndexColumns",
    "bloom_filter": "bloomFilterColumns",
}


class CrashTable:
    """The table, and what has to be true of it whatever is killed."""

    def __init__(self, sync: Sync, config: dict[str, Any], schema: dict[str, Any]) -> None:
        self.sync = sync
        self.shape = Shape()
        self.shapes_of: dict[str, Shape] = {}
        """By table hash."""
        self._config = config
        self._schema = schema
        self._indexes_of: dict[int | None, frozenset[str]] = {}
        """By CRC: those of the object that it came with."""
        self._put()
        self.original = self._views()
        self.answers = self.query()

    @property
    def hash(self) -> str:
        """Of the table as it is now."""
        controller, table = self.sync.services.controller, self.sync.table
        return table_hash(controller.table_config(table), controller.schema(table), None)

    def query(self) -> list[list[Any]]:
        """What the rows come to."""
        raw = self.sync.table.rpartition("_")[0]
        sums = "count(*), sum(amount), sum(extra), sum(ts)"
        return self.sync.sandbox.query(
            f"select city, {sums} from {raw} group by city order by city limit 100"
        ) + self.sync.sandbox.query(f"select {sums} from {raw} where city = 'city 3' and amount > 100")

    def segments(self) -> Segments:
        """As they are now."""
        found, services = {}, self.sync.services
        for record in services.controller.segments(self.sync.table):
            url = str(record.url)
            stamp = read_stamp(record.custom, record.crc, services.store.head(url).etag)
            digest = hashlib.sha256(services.store.read(url)).hexdigest()
            found[record.name] = (digest, record.crc or 0, stamp.table_hash)
        return found

    def ask_for(self, *, indexes: Collection[str] | None = None, wide: bool | None = None) -> None:
        """Give the table another shape. Its segments, which were in sync, are out of it then."""
        before = self.shape
        self._indexes_in_zookeeper()
        if indexes is not None:
            self.shape = replace(self.shape, indexes=frozenset(indexes))
        if wide is not None:
            self.shape = replace(self.shape, wide=wide)
        if self.shape != before:
            self._put()

    def reload(self) -> None:
        """Bring the servers' copies to the shape that is asked for."""
        self.sync.sandbox.reload(self.sync.table)

    # --- what a run finds --------------------------------------------------------------------------------------------

    def all_stale(self) -> None:
        """Nobody has what is asked for: indexes, and a column written anew."""
        self.ask_for(indexes=self._other_indexes(), wide=not self.shape.wide)

    def indexes_stale(self) -> None:
        """Nobody has the indexes that are asked for, and no segment has the CRC that it will have with them."""
        self.ask_for(indexes=self._other_indexes())

    def reloaded(self) -> None:
        """The servers have what is asked for, the deep store has not."""
        self.indexes_stale()
        self.reload()

    def servers_behind(self) -> None:
        """The deep store has what is asked for, and says so; the servers have not."""
        before = self.shape.indexes
        self.reloaded()
        self.ask_for(indexes=before)

    def crcs_back(self) -> None:
        """Nobody has the indexes that are asked for, and all segments have the CRC that they will have with them.

        They were refreshed, and one more was published quietly since: without it, the bytes of the refresh are back.
        Which indexes came first shows in the bytes, so those that are there already would not do.
        """
        self.indexes_stale()
        assert outcomes(self.sync.run()) == {Outcome.SYNCED}
        before = self.shape.indexes
        self.ask_for(indexes=before | {"city.bloom_filter"})
        self.reload()
        assert outcomes(self.sync.run()) == {Outcome.SYNCED}
        self.ask_for(indexes=before)

    def unstamped(self) -> None:
        """All have what is asked for, and nothing says so."""
        unstamp(self.sync.services, log=LOG)

    def _other_indexes(self) -> frozenset[str]:
        present = {view.indexes for view in self._views().values()}
        taken = {self.shape.indexes} | present | self._indexes_in_zookeeper()
        return next(indexes for indexes in LAYOUTS if indexes not in taken)

    def _views(self) -> dict[str, SegmentView]:
        services = self.sync.services
        return {
            record.name: read_archive(services.store.read(str(record.url)), record.name)
            for record in services.controller.segments(self.sync.table)
        }

    def _indexes_in_zookeeper(self) -> set[frozenset[str]]:
        """Those that objects had when ZooKeeper was told their CRCs. A CRC that is new came with what was asked for."""
        crcs = {record.crc for record in self.sync.services.controller.segments(self.sync.table)}
        return {self._indexes_of.setdefault(crc, self.shape.indexes) for crc in crcs}

    def _put(self) -> None:
        config, schema = copy.deepcopy(self._config), copy.deepcopy(self._schema)
        for index in sorted(self.shape.indexes):
            column, kind = index.split(".")
            config["tableIndexConfig"].setdefault(_LISTS[kind], []).append(column)
        for field in schema["metricFieldSpecs"]:
            if field["name"] == "extra":
                field["dataType"] = "LONG" if self.shape.wide else "INT"
        self.sync.sandbox.update_schema(schema, force=True)
        self.sync.sandbox.update_table_config(config)
        self.shapes_of[self.hash] = self.shape


@contextmanager
def crash_table(sandbox: Sandbox, folder: Path) -> Iterator[CrashTable]:
    """A table of its own name, with a few segments that nothing is known of; it is dropped in the end."""
    name = f"crash{uuid.uuid4().hex[:8]}"
    config, schema = _config(name), _schema(name)
    with syncing(sandbox, f"{name}_OFFLINE") as sync:
        sandbox.create_table(config, schema)
        rows = {f"{name}_{number}": _rows(number) for number in range(SEGMENTS)}
        for archive in sandbox.build_segments(rows, table_config=config, schema=schema, out_dir=folder / "built"):
            sandbox.push_segment(sync.table, archive)
        sandbox.wait_until_loaded(sync.table)
        yield CrashTable(sync, config, schema)


def _rows(segment: int) -> Iterator[dict[str, Any]]:
    some = random.Random(segment)
    for number in range(ROWS):
        yield {
            "city": f"city {some.randrange(20)}",
            "note": hashlib.sha256(b"%d %d" % (segment, number)).hexdigest()[:16],
            "amount": some.randrange(1000),
            "extra": some.randrange(1_000_000),
            "ts": 1_700_000_000_000 + segment * 86_400_000 + number * 1000,
        }


def _schema(name: str) -> dict[str, Any]:
    return {
        "schemaName": name,
        "dimensionFieldSpecs": [{"name": column, "dataType": "STRING"} for column in ("city", "note")],
        "metricFieldSpecs": [{"name": column, "dataType": "INT"} for column in ("amount", "extra")],
        "dateTimeFieldSpecs": [
            {"name": "ts", "dataType": "LONG", "format": "1:MILLISECONDS:EPOCH", "granularity": "1:SECONDS"}
        ],
    }


def _config(name: str) -> dict[str, Any]:
    return {
        "tableName": f"{name}_OFFLINE",
        "tableType": "OFFLINE",
        "segmentsConfig": {
            "timeColumnName": "ts",
            "replication": "2",
            "segmentPushType": "APPEND",
            "schemaName": name,
        },
        "tenants": {"broker": "DefaultTenant", "server": "DefaultTenant"},
        "tableIndexConfig": {"loadMode": "MMAP"},
        "metadata": {},
    }
