from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep_store_sync.pinot.zk_metadata import segment_record

PUSHED = {
    "segment.crc": "2155577207",
    "segment.creation.time": "1795358133515",
    "segment.data.crc": "2152765640",
    "segment.download.url": "s3://pinot/deepstore/flights/flights_2013-01",
    "segment.end.time": "1359691200000",
    "segment.index.version": "v3",
    "segment.push.time": "1795358631369",
    "segment.refresh.time": "1795358640000",
    "segment.size.in.bytes": "427035",
    "segment.start.time": "1357034400000",
    "segment.time.unit": "MILLISECONDS",
    "segment.total.docs": "27004",
    "custom.map": '{"deepStoreSync.tableHash":"v1:ab","reason":"é"}',
}


def test_a_pushed_segment() -> None:
    record = segment_record("flights_2013-01", PUSHED)
    assert record.name == "flights_2013-01"
    assert record.crc == 2155577207
    assert record.url == "s3://pinot/deepstore/flights/flights_2013-01"
    assert (record.creation_ms, record.push_ms, record.refresh_ms) == (1795358133515, 1795358631369, 1795358640000)
    assert (record.start_ms, record.end_ms, record.rows, record.size_bytes) == (
        1357034400000,
        1359691200000,
        27004,
        427035,
    )
    assert (record.status, record.tier, record.crypter) == (None, None, None)
    assert record.custom == {"deepStoreSync.tableHash": "v1:ab", "reason": "é"}


def test_a_consuming_segment_knows_little() -> None:
    record = segment_record("f__0__0__1Z", {"segment.realtime.status": "IN_PROGRESS", "segment.crc": "-1"})
    assert record.status == "IN_PROGRESS"
    assert (record.crc, record.url, record.rows, record.start_ms, record.push_ms) == (None, None, None, None, None)
    assert record.custom == {}


def test_tier_crypter_and_names_of_older_versions() -> None:
    old = {
        "segment.tier": "cold",
        "segment.crypter": "AES",
        "segment.realtime.download.url": "s3://b/k",
        "segment.offline.push.time": "5",
        "segment.offline.refresh.time": "6",
    }
    record = segment_record("s", old)
    assert (record.tier, record.crypter, record.url, record.push_ms, record.refresh_ms) == (
        "cold",
        "AES",
        "s3://b/k",
        5,
        6,
    )


@pytest.mark.parametrize(
    ("unit", "value", "ms"), [("DAYS", 15706, 1356998400000), ("SECONDS", 5, 5000), ("NANOSECONDS", 1999999, 1)]
)
def test_times_in_other_units(unit: str, value: int, ms: int) -> None:
    assert segment_record("s", {"segment.start.time": str(value), "segment.time.unit": unit}).start_ms == ms


@pytest.mark.parametrize(
    "fields", [{"segment.start.time": "-1"}, {"segment.start.time": "0", "segment.time.unit": "DAYS"}, {}]
)
def test_no_time_range(fields: dict[str, str]) -> None:
    assert segment_record("s", fields).start_ms is None


@pytest.mark.parametrize(
    "fields", [{"segment.crc": "x"}, {"custom.map": "[1]"}, {"custom.map": "{"}, ["segment.crc"], None]
)
def test_what_is_no_metadata(fields: object) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        segment_record("s", fields)  # type: ignore[arg-type]


@given(
    st.dictionaries(st.sampled_from(sorted(PUSHED)), st.integers(-(2**63), 2**63 - 1).map(str)).filter(
        lambda f: "custom.map" not in f
    )
)
def test_numbers_are_never_negative(fields: dict[str, str]) -> None:
    record = segment_record("s", fields)
    numbers = (
        record.crc,
        record.creation_ms,
        record.push_ms,
        record.start_ms,
        record.end_ms,
        record.rows,
        record.size_bytes,
    )
    assert all(number is None or number >= 0 for number in numbers)
