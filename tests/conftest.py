"""What every folder of tests may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from tests.network.toxiproxy import Toxiproxy

from pinot_sandbox import Sandbox, SandboxError
from pinot_sandbox.toolchain import ensure_toxiproxy

# How long an example takes says what else the machine was doing, and nothing about the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """One real cluster for all tests. Who makes a table drops it."""
    with Sandbox.start() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def toxiproxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toxiproxy]:
    """A bad network. Without Go there is none."""
    try:
        binary = ensure_toxiproxy(print)
    except SandboxError as error:
        pytest.skip(str(error))
    with Toxiproxy(binary, tmp_path_factory.mktemp("toxiproxy") / "log") as toxiproxy:
        yield toxiproxy
