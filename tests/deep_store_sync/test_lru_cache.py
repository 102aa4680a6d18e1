"""What is kept, and for how long."""

from __future__ import annotations

from deep_store_sync.lru_cache import LruCache


def test_a_value_is_made_once_and_the_least_recently_used_goes_first() -> None:
    made: list[str] = []

    def making(name: str) -> str:
        made.append(name)
        return name

    kept = LruCache[str](2)
    for name in ("a", "b", "a", "c", "a", "b"):
        assert kept.get(name, lambda name=name: making(name)) == name  # type: ignore[misc]
    assert made == ["a", "b", "c", "b"]


def test_weight_counts_and_the_last_one_stays_whatever_it_weighs() -> None:
    kept = LruCache[str](5, weight=len)
    kept.get(1, lambda: "xxx")
    kept.get(2, lambda: "xxxxxxxxx")
    assert kept.get(2, lambda: "new") == "xxxxxxxxx"
    assert kept.get(1, lambda: "new") == "new"


def test_what_is_no_longer_good_is_made_anew() -> None:
    kept = LruCache[int](2)
    assert kept.get("a", lambda: 1) == 1
    assert kept.get("a", lambda: 2, good=lambda value: value > 1) == 2
    assert kept.get("a", lambda: 3) == 2
