"""What Airflow learns of this package: an entry in the navigation, a tab on DAGs, the routes behind both, run notes."""

from __future__ import annotations

from typing import Any

from airflow.sdk.plugins_manager import AirflowPlugin

from deep_store_sync_airflow.names import PAGE_ROUTE
from deep_store_sync_airflow.run_notes import RunNotes

PREFIX = "/deep-store-sync"
NAME = "Deep store sync"


class LazyApp:
    """The routes, imported by the first request: plugins are loaded by every component of Airflow."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers a request, as ASGI has it."""
        from deep_store_sync_airflow.page.api import app

        await app(scope, receive, send)


# Relative to the UI's base, which may have a path.
_PAGE = {
    "name": NAME,
    "bundle_url": f".{PREFIX}/page/bundle.js",
    "icon": f".{PREFIX}/page/icon.svg",
}


class DeepStoreSyncPlugin(AirflowPlugin):
    """The entry point `airflow.plugins`."""

    name = "deep_store_sync"
    fastapi_apps = [{"app": LazyApp(), "url_prefix": PREFIX, "name": NAME}]  # noqa: RUF012 - as Airflow has it
    react_apps = [  # noqa: RUF012
        {**_PAGE, "destination": "nav", "url_route": "deep-store-sync", "nav_top_level": True},
        {**_PAGE, "destination": "dag", "url_route": PAGE_ROUTE},
    ]
    listeners = [RunNotes()]  # noqa: RUF012
