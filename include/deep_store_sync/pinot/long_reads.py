"""The controller's reads whose answers grow with the table: read as streams, so that any table fits into memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TypeVar
from urllib.parse import quote

import pyarrow as pa

from deep_store_sync.errors import PinotNotFoundError
from deep_store_sync.model import SegmentRecord, ServerAnswer
from deep_store_sync.pinot import answers, long_answers
from deep_store_sync.pinot.http import Http, part
from deep_store_sync.pinot.segment_columns import segment_columns
from deep_store_sync.pinot.server_columns import ReplicaSets, ServerPart, answers_about, replica_sets, server_parts
from deep_store_sync.pinot.table_name import of_table, split_table

T = TypeVar("T")

# Grizzly, the controller's HTTP server, takes 8 KiB of request line and headers.
_LONGEST_PARAMETER = 4096


class LongReads:
    """Reads of one controller. They raise as those of `ControllerClient` do.

    Where an answer breaks off it is asked for again, and read anew from its beginning.
    """

    def __init__(self, http: Http, base_url: str) -> None:
        self._http = http
        self._base_url = base_url

    def segments(self, table: str) -> list[SegmentRecord]:
        """Every segment as ZooKeeper knows it, by name."""
        return self._segments(table, answers.segments)

    def segment_columns(self, table: str) -> pa.Table:
        """The same in columns of `segment_columns.SCHEMA`, in no order."""
        return self._segments(table, segment_columns)

    def wanted_replicas(self, table: str, segments: Collection[str] | None = None) -> ReplicaSets:
        """The ideal state, of these segments at least: Pinot 1.3 always tells all of it."""
        return of_table(self._base_url, table, lambda: self._replicas(table, "idealstate", segments))

    def seen_replicas(self, table: str) -> ReplicaSets | None:
        """The external view; None before the first server hosts a segment."""
        try:
            return self._replicas(table, "externalview")
        except PinotNotFoundError:
            return None

    def stale_of(self, table: str, segments: Collection[str] | None) -> dict[str, ServerAnswer]:
        """What each server that answers isStale says of these segments, or of all. Both take servers as long."""
        wanted = None if segments is None else frozenset(segments)
        return self.stale_parts(table, lambda parts: answers_about(parts, wanted))

    def stale_parts(self, table: str, read: Callable[[Iterator[tuple[str, ServerPart]]], T]) -> T:
        """What `read` makes of the answer to isStale: server by server, in parts. Needs Pinot 1.3.

        A server that did not answer is simply not in it, and the controller calls that a success.
        """
        path, expected = f"/segments/{part(table)}/isStale", "servers with staleSegmentList and validResponse"
        return self._read(path, lambda blocks: read(server_parts(long_answers.listed(blocks))), expected, {})

    def _segments(self, table: str, read: Callable[[Iterator[bytes]], T]) -> T:
        raw, kind = split_table(table)
        path, expected = f"/segments/{part(raw)}/zkmetadata", "an object of segment and ZooKeeper metadata"
        return of_table(
            self._base_url,
            table,
            lambda: self._read(path, lambda blocks: read(long_answers.entries(blocks)), expected, {"type": kind}),
        )

    def _replicas(self, table: str, view: str, segments: Collection[str] | None = None) -> ReplicaSets | None:
        raw, kind = split_table(table)
        path, expected = f"/tables/{part(raw)}/{view}", "an object of segment, server and state"
        params = {"tableType": kind, **_only(segments)}
        return self._read(path, lambda blocks: replica_sets(long_answers.entries_below(blocks), kind), expected, params)

    def _read(self, path: str, read: Callable[[Iterator[bytes]], T], expected: str, params: Mapping[str, str]) -> T:
        url = self._base_url + path
        seen = long_answers.Seen()
        try:
            return self._http.stream(url, params, lambda blocks: read(seen.watch(blocks)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            call = self._http.describe("GET", url)
            raise self._http.unexpected_bytes(call, expected, seen.beginning, seen.size, str(error)) from error


def _only(segments: Collection[str] | None) -> dict[str, str]:
    """The parameter that asks for some segments alone; none where they cannot be asked for by name.

    Names are parted by commas and stripped (Pinot 1.5.1, `TableViews.getIdealState`), in a URL of limited length.
    """
    if not segments or any("," in name or name != name.strip() for name in segments):
        return {}
    listed = ",".join(segments)
    return {"segmentNames": listed} if len(quote(listed)) <= _LONGEST_PARAMETER else {}
