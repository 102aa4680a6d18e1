"""Numbers as a person reads them."""

from __future__ import annotations

import pytest

from deep_store_sync.spoken import spoken_pace, spoken_seconds


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (99, "99 s"),
        (100, "2 min"),
        (45 * 60, "45 min"),
        (100 * 60, "1 h 40 min"),
        (3 * 3600, "3 h"),
        (47 * 3600, "47 h"),
        (52 * 3600, "2 days 4 h"),
        (72 * 3600, "3 days"),
    ],
)
def test_seconds(seconds: float, words: str) -> None:
    assert spoken_seconds(seconds) == words


@pytest.mark.parametrize(
    ("done", "total", "seconds", "words"),
    [
        (0, 4_000_000_000, 0.0, "0 B of 4.0 GB"),
        (1_200_000_000, 4_000_000_000, 60.0, "1.2 GB of 4.0 GB, 20.0 MB/s, about 2 min left"),
        (4_000, 4_000, 2.0, "4.0 kB of 4.0 kB, 2.0 kB/s"),
        (5_000, 4_000, 2.0, "5.0 kB of 4.0 kB, 2.5 kB/s"),
        (0, 0, 5.0, "0 B of 0 B"),
    ],
)
def test_pace(done: int, total: int, seconds: float, words: str) -> None:
    assert spoken_pace(done, total, seconds) == words
