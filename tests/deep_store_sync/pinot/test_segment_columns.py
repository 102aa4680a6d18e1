"""Columns of segments say what the records of the same segments say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_store_sync.pinot.segment_columns import segment_batch, segment_columns
from deep_store_sync.pinot.zk_metadata import segment_record
from deep_store_sync.stamp import CRC_KEY, ETAG_KEY, HASH_KEY, INCURABLE_KEY

numbers = st.none() | st.sampled_from(["-1", "0", "1", "1795358133515", "9223372036854775807"])
urls = st.none() | st.sampled_from(["", "s3://b/d/s", "s3://b/d/other", "s", "s3://b/d/", "http://host/a?b=c/d"])
stamps = st.dictionaries(
    st.sampled_from([HASH_KEY, CRC_KEY, ETAG_KEY, INCURABLE_KEY, "mine"]), st.text(max_size=5), max_size=4
)
metadata = st.fixed_dictionaries(
    {},
    optional={
        "segment.crc": numbers,
        "segment.download.url": urls,
        "segment.offline.download.url": urls,
        "segment.realtime.download.url": urls,
        "segment.realtime.status": st.sampled_from(["DONE", "IN_PROGRESS"]),
        "segment.creation.time": numbers,
        "segment.push.time": numbers,
        "segment.offline.push.time": numbers,
        "segment.start.time": numbers,
        "segment.end.time": numbers,
        "segment.time.unit": st.sampled_from(["MILLISECONDS", "DAYS", "NANOSECONDS", "MICROSECONDS", "null", "HOURS"]),
        "segment.total.docs": numbers,
        "segment.size.in.bytes": numbers,
        "segment.tier": st.sampled_from(["", "cold"]),
        "segment.crypter": st.sampled_from(["", "Crypter"]),
        "custom.map": stamps.map(json.dumps) | st.just(""),
        "segment.index.version": st.just("v3"),
    },
).map(lambda fields: {key: value for key, value in fields.items() if value is not None})


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["s", "t", "other", "é"]), metadata, max_size=4))
def test_columns_and_records_agree(body: dict[str, dict[str, str]]) -> None:
    rows = segment_batch(json.dumps(body).encode()).to_pylist()
    assert [row["name"] for row in rows] == list(body)
    for row in rows:
        record = segment_record(row["name"], body[row["name"]])
        same = (
            "crc",
            "status",
            "creation_ms",
            "push_ms",
            "start_ms",
            "end_ms",
            "rows",
            "size_bytes",
            "tier",
            "crypter",
        )
        assert {name: row[name] for name in same} == {name: getattr(record, name) for name in same}
        folder, last = row["url_folder"], row["url_name"]
        assert (None if folder is None else folder + (row["name"] if last is None else last)) == record.url
        assert (row["stamp_hash"], row["stamp_crc"], row["stamp_etag"], row["stamp_incurable"]) == tuple(
            record.custom.get(key) for key in (HASH_KEY, CRC_KEY, ETAG_KEY, INCURABLE_KEY)
        )


def test_pieces_make_one_table() -> None:
    pieces = [json.dumps({f"s{number}": {"segment.crc": str(number)}}).encode() for number in range(3)]
    table = segment_columns(iter([*pieces, b"{}"]))
    assert table.column("name").to_pylist() == ["s0", "s1", "s2"]
    assert table.column("crc").to_pylist() == [0, 1, 2]


@pytest.mark.parametrize(
    "body",
    ["[]", '{"s": "x"}', '{"s": {"segment.crc": 7}}', '{"s": {"segment.crc": "seven"}}', '{"s": {', "", "<html>"],
)
def test_what_is_no_metadata(body: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        segment_batch(body.encode())
