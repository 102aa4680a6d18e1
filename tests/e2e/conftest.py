"""The fixture that the end-to-end tests run on."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from tests.e2e.kit import TABLE, Sync

from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.servers import ServerClient
from deep_store_sync.services import Services
from deep_store_sync.settings import EngineSettings, TableSync
from deep_store_sync.store.deep_store import DeepStore
from pinot_sandbox import Sandbox


@pytest.fixture
def sync(sandbox: Sandbox) -> Iterator[Sync]:
    """Nothing is loaded yet: a test loads `flights` as it needs it, and it is dropped afterwards."""
    client = sandbox.s3.client()
    workspace = f"s3://{sandbox.s3.bucket}/deep-store-sync/{uuid.uuid4().hex}"
    settings = TableSync(
        table=TABLE,
        deep_store_prefixes=(sandbox.deep_store_url,),
        workspace=workspace,
        engine=EngineSettings(jars=sandbox.jars_dir),
        proof_timeout=timedelta(seconds=60),
    )
    with ControllerClient(sandbox.controller_url) as controller, ServerClient() as servers:
        yield Sync(sandbox, workspace, settings, Services(controller, servers, DeepStore(client), settings))
        for server in sandbox.servers:
            if not sandbox.is_running(server):
                sandbox.start_server(server)
        sandbox.drop_table(TABLE)
    client.close()
