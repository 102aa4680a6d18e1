"""Stretches of a folder: together they are all of it, and each finds its own."""

from __future__ import annotations

import json
from urllib.parse import quote

import pyarrow as pa
import pytest

from deep_store_sync.pinot.segment_columns import segment_columns
from deep_store_sync.planning.listing import stretches
from deep_store_sync.planning.table_state import column, one_chunk
from deep_store_sync.stamp import stamp_map

NAMES = [
    "b",
    "a",
    "a b",
    "a+b",
    "é",
    "z" * 50,
    "A",
    "a-",
    "a.b",
    "𝄞",
    "ü",
    *(f"events_{number:03d}" for number in range(20)),
]


def table(unstamped: str = "") -> pa.Table:
    """Segments in two folders below `d` and one outside, each stamped for an object with its name as ETag."""
    found = {}
    for number, name in enumerate(NAMES):
        folder = ("d/t", "d/u", "elsewhere")[number % 3]
        custom = {} if name == unstamped else stamp_map("v1:0", 1, name, run_id="r", at="t")
        url = f"s3://b/{folder}/{quote(name)}"
        found[name] = {"segment.crc": "1", "segment.download.url": url, "custom.map": json.dumps(custom)}
    return one_chunk(segment_columns(iter([json.dumps(found).encode()])))


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_all_that_is_stamped_in_the_deep_store_is_found_once(size: int) -> None:
    segments = table(unstamped="a")
    names, etags = (column(segments, of) for of in ("name", "stamp_etag"))
    stored = {f"{('d/t', 'd/u', 'elsewhere')[number % 3]}/{name}": name for number, name in enumerate(NAMES)}
    stored["d/t/A"], stored["d/t/nobody's"] = "another object", "nobody's"
    listed = sorted(stored, key=str.encode)
    found: list[str] = []
    looked_at: list[str] = []
    for stretch in stretches(segments, ["s3://b/d"], size):
        assert 1 <= len(stretch.names) <= size
        keys = [
            key
            for key in listed
            if key.startswith(stretch.key)
            and (stretch.after is None or key.encode() > stretch.after.encode())
            and (stretch.until is None or key.encode() <= stretch.until.encode())
        ]
        looked_at += keys
        rows = stretch.matching(pa.array(keys, pa.string()), pa.array([stored[key] for key in keys]), etags)
        found += names.take(rows).to_pylist()
    assert sorted(found) == sorted({name for number, name in enumerate(NAMES) if number % 3 < 2} - {"a", "A"})
    assert looked_at == [key for key in listed if key.startswith(("d/t/", "d/u/"))]


def test_what_nobody_stamped_is_not_listed() -> None:
    assert list(stretches(table(), ["s3://another/d"], 10)) == []
