"""The fixture that the end-to-end tests run on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.kit import Sync, syncing

from pinot_sandbox import Sandbox


@pytest.fixture
def sync(sandbox: Sandbox) -> Iterator[Sync]:
    """Nothing is loaded yet: a test loads `flights` as it needs it, and it is dropped afterwards."""
    with syncing(sandbox) as sync:
        yield sync
