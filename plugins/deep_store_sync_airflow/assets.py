"""The deep store of a table as an asset: an event for each run that changed it, and how far it is as its state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import Asset, AssetAlias, Context

from deep_store_sync.model import Outcome, RunRequest
from deep_store_sync.settings import TableSync
from deep_store_sync_airflow.run_facts import changes, last_run, looked_at_all, table_status

if TYPE_CHECKING:
    from deep_store_sync.report import RunReport

TABLE_STATE, LAST_RUN_STATE = "table", "last_run"
"""Keys of the asset's state store. A run of a part of the table says nothing of the whole, so these are two."""


def deep_store_asset(settings: TableSync) -> Asset:
    """The deep store of a table."""
    return Asset(name=f"deep store of {settings.table}", uri=f"deep-store-sync://table/{quote(settings.table)}")


def changed_alias(settings: TableSync) -> AssetAlias:
    """What the last task of a run has for an outlet.

    An asset as an outlet would get an event from each green run. Through an alias it gets one from those that have
    overwritten something, and none from a dry run.
    """
    return AssetAlias(name=f"changed deep store of {settings.table}")


def tell_asset(context: Context, settings: TableSync, request: RunRequest, report: RunReport) -> None:
    """Keep how far the table is as its asset's state, and make an event if its deep store was changed.

    Airflow drops events of a task that fails. State is kept whatever becomes of it; Airflow has it from 3.3 on.
    """
    asset = deep_store_asset(settings)
    variables: Any = context
    if "asset_state_store" in variables:
        state = variables["asset_state_store"][asset]
        state.set(LAST_RUN_STATE, last_run(report, request.run_id))
        if looked_at_all(request):
            state.set(TABLE_STATE, table_status(report, request.run_id))
    if report.counts.get(Outcome.SYNCED):
        variables["outlet_events"][changed_alias(settings)].add(asset, extra=changes(report))
