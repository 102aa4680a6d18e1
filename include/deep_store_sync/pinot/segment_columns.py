"""ZooKeeper metadata of many segments in Arrow columns, with no Python object for a segment that outlives its piece.

The same facts as `zk_metadata.segment_record` reads, as far as a plan needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.stamp import CRC_KEY, ETAG_KEY, HASH_KEY, INCURABLE_KEY
from deep_store_sync.time_units import UNIT_NS

_FEW = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("crc", pa.int64()),
        pa.field("url_folder", _FEW),
        pa.field("url_name", pa.string()),
        pa.field("status", _FEW),
        pa.field("creation_ms", pa.int64()),
        pa.field("push_ms", pa.int64()),
        pa.field("start_ms", pa.int64()),
        pa.field("end_ms", pa.int64()),
        pa.field("rows", pa.int64()),
        pa.field("size_bytes", pa.int64()),
        pa.field("tier", _FEW),
        pa.field("crypter", _FEW),
        pa.field("stamp_hash", _FEW),
        pa.field("stamp_crc", pa.string()),
        pa.field("stamp_etag", pa.string()),
        pa.field("stamp_incurable", pa.string()),
    ]
)
"""The columns. A download URL is `url_folder`, up to its last slash, and `url_name`, or the segment's name where it
is null; there is none where `url_folder` is null. `stamp_…` are null where the custom map has no such entry."""

_LATEST = 2**63 - 1
_GATHERED = 50_000


class _Fields(msgspec.Struct, gc=False):
    crc: str | None = msgspec.field(name="segment.crc", default=None)
    url: str | None = msgspec.field(name="segment.download.url", default=None)
    url_offline: str | None = msgspec.field(name="segment.offline.download.url", default=None)
    url_realtime: str | None = msgspec.field(name="segment.realtime.download.url", default=None)
    status: str | None = msgspec.field(name="segment.realtime.status", default=None)
    creation: str | None = msgspec.field(name="segment.creation.time", default=None)
    push: str | None = msgspec.field(name="segment.push.time", default=None)
    push_offline: str | None = msgspec.field(name="segment.offline.push.time", default=None)
    start: str | None = msgspec.field(name="segment.start.time", default=None)
    end: str | None = msgspec.field(name="segment.end.time", default=None)
    unit: str | None = msgspec.field(name="segment.time.unit", default=None)
    rows: str | None = msgspec.field(name="segment.total.docs", default=None)
    size: str | None = msgspec.field(name="segment.size.in.bytes", default=None)
    tier: str | None = msgspec.field(name="segment.tier", default=None)
    crypter: str | None = msgspec.field(name="segment.crypter", default=None)
    custom: str | None = msgspec.field(name="custom.map", default=None)


class _Stamp(msgspec.Struct, gc=False):
    table_hash: str | None = msgspec.field(name=HASH_KEY, default=None)
    crc: str | None = msgspec.field(name=CRC_KEY, default=None)
    etag: str | None = msgspec.field(name=ETAG_KEY, default=None)
    incurable: str | None = msgspec.field(name=INCURABLE_KEY, default=None)


_segments: Callable[[bytes], dict[str, _Fields]] = msgspec.json.Decoder(dict[str, _Fields]).decode
_stamp: Callable[[str], _Stamp] = msgspec.json.Decoder(_Stamp).decode
_NO_STAMP = _Stamp()


def segment_columns(pieces: Iterator[bytes]) -> pa.Table:
    """The segments of an answer to `GET /segments/{table}/zkmetadata`, in the answer's order.

    Raises:
        ValueError: this is not an object of segments and their metadata.
    """
    gathered, some = list[pa.Table](), list[pa.RecordBatch]()
    for piece in pieces:
        some.append(segment_batch(piece))
        if sum(map(len, some)) >= _GATHERED:
            gathered.append(_joined(some))
            some = []
            pa.default_memory_pool().release_unused()
    return pa.concat_tables([*gathered, pa.Table.from_batches(some, SCHEMA)])


def _joined(batches: list[pa.RecordBatch]) -> pa.Table:
    """Many small pieces as one: the memory of small pieces is scattered, and comes back late."""
    return pa.Table.from_batches(batches, SCHEMA).unify_dictionaries().combine_chunks()


def segment_batch(piece: bytes) -> pa.RecordBatch:
    """The same for a part of the segments."""
    try:
        found = _segments(piece)
        fields = list(found.values())
        stamps = [_stamp(one.custom) if one.custom and "deepStoreSync." in one.custom else _NO_STAMP for one in fields]
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    names = list(found)
    urls = [one.url or one.url_offline or one.url_realtime or None for one in fields]
    lasts = [url.rpartition("/")[2] if url else None for url in urls]
    unit = pa.array([one.unit for one in fields], pa.string())
    columns = {
        "name": pa.array(names, pa.string()),
        "crc": _numbers([one.crc for one in fields]),
        "url_folder": _few([url and url[: len(url) - len(last or "")] for url, last in zip(urls, lasts, strict=True)]),
        "url_name": pa.array(
            [None if last == name else last for last, name in zip(lasts, names, strict=True)], pa.string()
        ),
        "status": _few([one.status for one in fields]),
        "creation_ms": _numbers([one.creation for one in fields]),
        "push_ms": _numbers([one.push or one.push_offline for one in fields]),
        "start_ms": _times([one.start for one in fields], unit),
        "end_ms": _times([one.end for one in fields], unit),
        "rows": _numbers([one.rows for one in fields]),
        "size_bytes": _numbers([one.size for one in fields]),
        "tier": _few([one.tier or None for one in fields]),
        "crypter": _few([one.crypter or None for one in fields]),
        "stamp_hash": _few([stamp.table_hash for stamp in stamps]),
        "stamp_crc": pa.array([stamp.crc for stamp in stamps], pa.string()),
        "stamp_etag": pa.array([stamp.etag for stamp in stamps], pa.string()),
        "stamp_incurable": pa.array([stamp.incurable for stamp in stamps], pa.string()),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _few(values: list[str | None]) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode()


def _numbers(texts: list[str | None]) -> pa.Array:
    """Numbers, null where a text is absent or negative, as Pinot writes "unknown"."""
    numbers = pc.cast(pa.array(texts, pa.string()), pa.int64())
    return pc.if_else(pc.less(numbers, 0), None, numbers)


def _times(texts: list[str | None], unit: pa.Array) -> pa.Array:
    """Epoch milliseconds; null where there is no time range (see `zk_metadata`)."""
    numbers = _numbers(texts)
    times = pa.nulls(len(numbers), pa.int64())
    for name in pc.unique(unit).to_pylist():
        if name in UNIT_NS:
            of_unit = pc.and_(pc.equal(unit, name), pc.greater(numbers, 0))
            times = pc.if_else(pc.fill_null(of_unit, False), _milliseconds(numbers, UNIT_NS[name]), times)
    return times


def _milliseconds(numbers: pa.Array, unit_ns: int) -> pa.Array:
    millisecond = UNIT_NS["MILLISECONDS"]
    if unit_ns < millisecond:
        return pc.divide(numbers, millisecond // unit_ns)
    factor = unit_ns // millisecond
    # What no 64 bits hold is no time that a segment could have.
    return pc.multiply(pc.if_else(pc.greater(numbers, _LATEST // factor), None, numbers), factor)
