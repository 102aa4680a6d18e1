"""The table of the races, for tests that race step by step."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.kit import Sync, syncing
from tests.e2e.races.table import TABLE

from pinot_sandbox import Sandbox


@pytest.fixture
def sync(sandbox: Sandbox) -> Iterator[Sync]:
    """Of the races' table, which is yet to be made."""
    with syncing(sandbox, TABLE) as sync:
        yield sync
