from __future__ import annotations

from collections.abc import Iterator

import pytest

from pinot_sandbox import Sandbox

FLIGHTS = "flights_OFFLINE"


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """One real cluster for all tests. Who makes a table drops it."""
    with Sandbox.start() as sandbox:
        yield sandbox


@pytest.fixture
def two_months(sandbox: Sandbox) -> Iterator[list[str]]:
    """The sample table with January and February alone: the names of its segments."""
    segments = sandbox.load_flights(months=[1, 2])
    sandbox.reset_downloads()
    yield segments
    for server in sandbox.servers:
        if not sandbox.is_running(server):
            sandbox.start_server(server)
    sandbox.drop_table(FLIGHTS)
