"""What every folder of tests may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pinot_sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """One real cluster for all tests. Who makes a table drops it."""
    with Sandbox.start() as sandbox:
        yield sandbox
