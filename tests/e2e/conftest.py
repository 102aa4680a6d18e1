"""The fixture that the end-to-end tests run on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.kit import Sync, syncing

from pinot_sandbox import Sandbox


@pytest.fixture(autouse=True)
def newest_data_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one hour of four, a run begins elsewhere in its table: what a test sees is not to depend on the hour."""
    monkeypatch.setattr("deep_store_sync.plan.turn", lambda created_ms: None)


@pytest.fixture
def sync(sandbox: Sandbox) -> Iterator[Sync]:
    """Nothing is loaded yet: a test loads `flights` as it needs it, and it is dropped afterwards."""
    with syncing(sandbox) as sync:
        yield sync
