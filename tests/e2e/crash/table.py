"""A small table between two shapes: what is asked of a run is to bring it from one to the other and back.

`indexes` are inverted, range and bloom filter indexes, which preprocessing adds and removes. `wide` is a column that is
LONG and not INT, which has to be written anew.
"""

from __future__ import annotations

import copy
import hashlib
import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.e2e.crash.segment_view import SegmentView, read_archive
from tests.e2e.kit import LOG, Sync, syncing

from deep_store_sync.table_hash import table_hash
from deep_store_sync.upkeep.unstamp import unstamp
from pinot_sandbox import Sandbox

ROWS = 800
SEGMENTS = 4


@dataclass(frozen=True)
class Shape:
    """What the table's config and schema ask for."""

    indexes: bool = False
    wide: bool = False


INDEXES = frozenset(("city.inverted_index", "amount.range_index", "note.bloom_filter"))


class CrashTable:
    """The table, and what has to be true of it whatever is killed."""

    def __init__(self, sync: Sync, config: dict[str, Any], schema: dict[str, Any]) -> None:
        self.sync = sync
        self.shape = Shape()
        self.shapes_of: dict[str, Shape] = {}
        """By table hash."""
        self._config = config
        self._schema = schema
        self._put()
        self.original: dict[str, SegmentView] = {
            record.name: read_archive(sync.services.store.read(str(record.url)), record.name)
            for record in sync.services.controller.segments(sync.table)
        }
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

    def ask_for(self, *, indexes: bool | None = None, wide: bool | None = None) -> None:
        """Give the table another shape. Its segments are out of sync then."""
        before = self.shape
        if indexes is not None:
            self.shape = replace(self.shape, indexes=indexes)
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
        self.ask_for(indexes=not self.shape.indexes, wide=not self.shape.wide)

    def indexes_stale(self) -> None:
        """Nobody has the indexes that are asked for."""
        self.ask_for(indexes=not self.shape.indexes)

    def reloaded(self) -> None:
        """The servers have what is asked for, the deep store has not."""
        self.indexes_stale()
        self.reload()

    def servers_behind(self) -> None:
        """The deep store has what is asked for, and says so; the servers have not."""
        self.reloaded()
        self.indexes_stale()

    def unstamped(self) -> None:
        """All have what is asked for, and nothing says so."""
        unstamp(self.sync.services, log=LOG)

    def _put(self) -> None:
        config, schema = copy.deepcopy(self._config), copy.deepcopy(self._schema)
        if self.shape.indexes:
            config["tableIndexConfig"] |= {
                "invertedIndexColumns": ["city"],
                "rangeIndexColumns": ["amount"],
                "bloomFilterColumns": ["note"],
            }
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
