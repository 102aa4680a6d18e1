"""Airflow reads its environment when it is imported: so it is set here, before any test of this folder is."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deep_store_sync_airflow.fake_controller import FakeController

from deep_store_sync.settings import TableSync

_HOME = tempfile.mkdtemp(prefix="airflow-home-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)

for name in [name for name in os.environ if name.startswith(("AIRFLOW_", "DEEP_STORE_SYNC_"))]:
    del os.environ[name]
os.environ.update(
    {
        "AIRFLOW_HOME": _HOME,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(_HOME) / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(Path(_HOME) / "plugins"),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
)

FLIGHTS = {
    "table": "flights_OFFLINE",
    "deepStorePrefixes": ["s3://pinot/deepstore"],
    "workspace": "s3://pinot/deep-store-sync",
}


@pytest.fixture
def settings() -> TableSync:
    """Settings of the sample table, all defaults."""
    return TableSync.model_validate(FLIGHTS)


@pytest.fixture
def controller() -> Iterator[FakeController]:
    """A fake controller, to which the connection `pinot_controller_default` leads."""
    fake = FakeController()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "AIRFLOW_CONN_PINOT_CONTROLLER_DEFAULT",
            json.dumps({"conn_type": "pinot_controller", "host": "127.0.0.1", "port": fake.port}),
        )
        yield fake
    fake.close()
