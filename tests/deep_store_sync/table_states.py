"""Table states for tests: from records and dictionaries, by way of the JSON that a controller answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from deep_store_sync.model import Lineage, SegmentRecord, ServerAnswer
from deep_store_sync.pinot.long_answers import entries, entries_below, listed
from deep_store_sync.pinot.segment_columns import segment_columns
from deep_store_sync.pinot.server_columns import replica_sets, server_parts
from deep_store_sync.planning.table_state import TableState, column, one_chunk, replicas, stale_segments
from deep_store_sync.stamp import ETAG_KEY

_NUMBERS = {
    "segment.crc": "crc",
    "segment.creation.time": "creation_ms",
    "segment.push.time": "push_ms",
    "segment.refresh.time": "refresh_ms",
    "segment.start.time": "start_ms",
    "segment.end.time": "end_ms",
    "segment.total.docs": "rows",
    "segment.size.in.bytes": "size_bytes",
}
_TEXTS = {
    "segment.download.url": "url",
    "segment.realtime.status": "status",
    "segment.tier": "tier",
    "segment.crypter": "crypter",
}


def zk_fields(record: SegmentRecord) -> dict[str, str]:
    """A record as the controller prints it."""
    fields = {key: getattr(record, name) for key, name in {**_NUMBERS, **_TEXTS}.items()}
    found = {key: str(value) for key, value in fields.items() if value is not None}
    found["segment.time.unit"] = "MILLISECONDS"
    if record.custom:
        found["custom.map"] = json.dumps(record.custom)
    return found


def segment_table(records: Iterable[SegmentRecord]) -> pa.Table:
    """The columns of these segments."""
    body = {record.name: zk_fields(record) for record in records}
    return one_chunk(segment_columns(entries(_blocks(body))))


@dataclass(frozen=True)
class DescribedTable:
    """A table in dictionaries; `etags` are those of the objects, by URL."""

    records: Sequence[SegmentRecord]
    ideal_state: Mapping[str, Mapping[str, str]]
    answers: Mapping[str, ServerAnswer]
    table_config: Mapping[str, Any]
    schema: Mapping[str, Any]
    etags: Mapping[str, str]
    lineage: Lineage = field(default_factory=Lineage)
    external_view: Mapping[str, Mapping[str, str]] | None = None

    @property
    def state(self) -> TableState:
        """The same in columns."""
        segments = segment_table(self.records)
        names = column(segments, "name")
        ideal_state = {"OFFLINE": self.ideal_state, "REALTIME": None}
        seen = {"OFFLINE": None, "REALTIME": self.external_view}
        return TableState(
            table="t_OFFLINE",
            table_config=self.table_config,
            schema=self.schema,
            segments=segments,
            wanted=replicas(replica_sets(entries_below(_blocks(ideal_state)), "OFFLINE"), names),
            seen=None
            if self.external_view is None
            else replicas(replica_sets(entries_below(_blocks(seen)), "REALTIME"), names),
            stale=stale_segments(server_parts(listed(_blocks(_answers(self.answers)))), names),
            lineage=self.lineage,
            as_stamped=pa.array(
                [
                    ETAG_KEY in record.custom and record.custom[ETAG_KEY] == self.etags.get(record.url or "")
                    for record in self.records
                ],
                pa.bool_(),
            ),
        )


def _answers(answers: Mapping[str, ServerAnswer]) -> dict[str, Any]:
    return {
        server: {
            "staleSegmentList": [{"segmentName": name, "reason": reason} for name, reason in answer.stale.items()],
            "validResponse": answer.valid,
            "errorMessage": answer.error,
        }
        for server, answer in answers.items()
    }


def _blocks(body: Any) -> Iterator[bytes]:
    yield json.dumps(body).encode()
