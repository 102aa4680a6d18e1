"""What the steps of a run work with: the controller, the servers, the deep store, and the table's settings."""

from __future__ import annotations

from dataclasses import dataclass

from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.servers import ServerClient
from deep_store_sync.settings import TableSync
from deep_store_sync.store.deep_store import DeepStore


@dataclass(frozen=True, slots=True)
class Services:
    """Clients for one table. They are made where they are used: nothing of this travels between tasks."""

    controller: ControllerClient
    servers: ServerClient
    store: DeepStore
    settings: TableSync
