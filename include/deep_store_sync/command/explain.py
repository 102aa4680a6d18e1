"""`deep-store-sync explain`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from deep_store_sync.command.connections import open_services
from deep_store_sync.command.every_table import for_every_table
from deep_store_sync.command.output import facts, heading, members, say, table
from deep_store_sync.command.progress import shown
from deep_store_sync.command.tables import meant_tables
from deep_store_sync.model import SegmentRecord
from deep_store_sync.settings import TableSync
from deep_store_sync.spoken import spoken_bytes
from deep_store_sync.upkeep.explain import Explanation, Ruling, explain

HELP = "tell all that is known of a segment, what a run would do with it, and why"

log = logging.getLogger("deep_store_sync")

_OF_RECORD = tuple(name for name in SegmentRecord.__dataclass_fields__ if name not in ("name", "url", "custom"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("name", metavar="SEGMENT", help="the segment's name")


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Explain the segment, in every table that has it; returns the exit code."""

    def look(settings: TableSync) -> Explanation:
        with (
            open_services(settings, environment) as services,
            shown(f"{settings.table}: looking at {options.name}"),
        ):
            return explain(services, options.name, log=log)

    return for_every_table(options, meant_tables(options, environment), look, tell=_tell, plain=_plain)


def _plain(found: Explanation) -> dict[str, object]:
    record = {name: getattr(found.record, name) for name in _OF_RECORD}
    return members(found) | {"record": record}


def _tell(found: Explanation) -> None:
    heading(f"{found.segment}, of {found.table}")
    facts(_known(found))
    say()
    table(
        ("SERVER", "WANTED", "SEEN", "ISSTALE", "WHY"),
        [
            (
                replica.server,
                replica.wanted or "-",
                replica.seen or "-",
                {True: "stale", False: "clean", None: "unknown"}[replica.stale],
                replica.says,
            )
            for replica in found.replicas
        ],
    )
    say()
    for name, ruling in (("A run on schedule now", found.on_schedule), ("With forceReload", found.forced)):
        heading(f"{name}: {ruling.action}")
        facts(_ruled(ruling))


def _known(found: Explanation) -> Iterator[tuple[str, str]]:
    record, stamp, object_ = found.record, found.stamp, found.object
    status = f", {record.status}" if record.status else ""
    yield "ZooKeeper", f"CRC {record.crc}{status}"
    times = {"created": record.creation_ms, "pushed": record.push_ms, "refreshed": record.refresh_ms}
    yield "", ", ".join(f"{what} {_time(ms)}" for what, ms in times.items() if ms is not None)
    rows = "?" if record.rows is None else f"{record.rows:,}"
    yield "data", f"{rows} rows, {_time(record.start_ms)} to {_time(record.end_ms)}, tier {record.tier or 'default'}"
    yield "table hash", found.table_hash
    if stamp.table_hash:
        yield "stamp", f"{stamp.state}: {stamp.table_hash}, set by {stamp.run} at {stamp.at}"
        yield "", f"of CRC {stamp.crc}, ETag {stamp.etag}"
    else:
        yield "stamp", str(stamp.state)
    if stamp.says:
        yield "", stamp.says
    if stamp.incurable:
        yield "marked", f"incurable: {stamp.incurable}"
    yield "object", object_.url or "none"
    if object_.etag:
        crc = "not read" if object_.crc is None else object_.crc
        yield "", f"{spoken_bytes(object_.bytes or 0)}, CRC {crc}, ETag {object_.etag}"
        yield "", f"written by run {object_.written_by}" if object_.written_by else "not written by a run"
    if object_.problem:
        yield "", object_.problem


def _ruled(ruling: Ruling) -> Iterator[tuple[str, str]]:
    yield "rule", ruling.rule
    yield "reason", ruling.reason
    if ruling.to_do:
        yield "to do", ruling.to_do


def _time(ms: int | None) -> str:
    return (
        "?"
        if ms is None
        else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    )
