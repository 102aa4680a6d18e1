from __future__ import annotations

from typing import Any

import pytest

from deep_store_sync.pinot.storage_quota import quota_words, storage_quota


@pytest.mark.parametrize(
    ("config", "quota"),
    [
        ({}, None),
        ({"quota": None}, None),
        ({"quota": {"maxQueriesPerSecond": "10"}}, None),
        ({"quota": {"storage": None}}, None),
        ({"quota": {"storage": "10T"}}, "10T"),
    ],
)
def test_the_quota_of_a_table(config: dict[str, Any], quota: str | None) -> None:
    assert storage_quota(config) == quota


def test_the_warning_names_what_it_costs_and_the_remedy() -> None:
    said = quota_words("10T", 300_000)
    assert "10T" in said
    assert "300000 segments" in said
    assert "quota.storage" in said
