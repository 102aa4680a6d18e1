"""What Airflow finds of the page: the entry point, the routes, navigation and tab."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

from airflow.api_fastapi.core_api.datamodels.plugins import FastAPIAppResponse, ReactAppResponse
from airflow.plugins_manager import is_valid_plugin

from deep_store_sync_airflow.plugin import DeepStoreSyncPlugin


def test_airflow_finds_the_plugin_by_its_entry_point() -> None:
    (entry,) = [entry for entry in entry_points(group="airflow.plugins") if entry.name == "deep_store_sync"]
    assert entry.load() is DeepStoreSyncPlugin
    assert is_valid_plugin(DeepStoreSyncPlugin)


def test_airflow_takes_its_parts() -> None:
    apps = [ReactAppResponse.model_validate(of) for of in DeepStoreSyncPlugin.react_apps]
    assert [app.destination for app in apps] == ["nav", "dag"]
    # Two with the same route would hide one another.
    assert len({app.url_route for app in apps}) == 2
    # A path of the API server's base URL stays in front of what is relative.
    assert all(app.bundle_url.startswith("./") for app in apps)
    (routes,) = DeepStoreSyncPlugin.fastapi_apps
    assert FastAPIAppResponse.model_validate({**routes, "app": "LazyApp"}).url_prefix == "/deep-store-sync"


def test_loading_the_plugin_loads_no_routes() -> None:
    ours = "[name for name in sys.modules if name.startswith('deep_store_sync_airflow.page')]"
    code = f"import sys, deep_store_sync_airflow.plugin; print({ours})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
