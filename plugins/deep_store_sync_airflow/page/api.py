"""What the page asks for. Every route needs a user of Airflow, and one that may read the DAG it is about.

A sub-application of a plugin is open to everybody unless it asks itself: Airflow authenticates none of its requests.
Here the application asks for the user, and each route for the DAG, with the dependencies of Airflow's own routes.
Nothing here changes anything: runs are triggered through Airflow's REST API, which asks for itself.

Routes that are no coroutines, and dependencies, run in the threads that all of the API server shares. What asks a store
runs in threads of the page's own.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.encoders import jsonable_encoder
from fastapi.responses import FileResponse, JSONResponse

from deep_store_sync.errors import DeepStoreSyncError
from deep_store_sync.overview.overview import Overviews, Snapshot
from deep_store_sync.overview.segments import MOST_ROWS, SegmentQuery
from deep_store_sync.settings import TableSync
from deep_store_sync.states import SegmentState
from deep_store_sync.table_files import BrokenTable
from deep_store_sync_airflow.page.store_threads import LIMITS, StoreThreads
from deep_store_sync_airflow.page.tables import tables_by_dag
from deep_store_sync_airflow.services import open_store

log = logging.getLogger(__name__)

_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES = {path.name: path for path in (Path(__file__).parent / "static").iterdir() if path.suffix in _TYPES}

_RETRY_S = 15

_overviews = Overviews()
_store_threads = StoreThreads[Snapshot]()

may_read = Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.RUN))
"""The user may see the runs of the DAG in the path."""

# No generated documentation: its routes would ask nobody who they are.
app = FastAPI(
    title="Deep store sync", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(get_user)]
)


@app.exception_handler(DeepStoreSyncError)
def unavailable(_: Request, error: Exception) -> JSONResponse:
    """What a store, a connection or a table file is to blame for, is told in words."""
    log.warning("deep store sync: %s: %s", type(error).__name__, error)
    later = {"Retry-After": str(_RETRY_S)} if isinstance(error, DeepStoreSyncError) and error.transient else None
    return JSONResponse({"detail": f"{type(error).__name__}: {error}"}, 503, headers=later)


@app.get("/page/{name}")
def page_file(name: str) -> FileResponse:
    """A file of the page."""
    if name not in _FILES:
        raise HTTPException(404, "no such file")
    path = _FILES[name]
    return FileResponse(path, media_type=_TYPES[path.suffix], headers={"Cache-Control": "no-cache"})


@app.get("/tables")
def tables(request: Request, user: GetUserDep) -> JSONResponse:
    """The tables that the user may see, with what is wrong with their files."""
    found: list[dict[str, str | None]] = []
    for dag_id, table in tables_by_dag().items():
        if not _may("GET", dag_id, request, user):
            continue
        if isinstance(table, BrokenTable):
            found.append({"dag_id": dag_id, "table": table.table or table.path.name, "problem": table.message})
        else:
            found.append({"dag_id": dag_id, "table": table.settings.table, "problem": None})
    return _answer(sorted(found, key=lambda of: str(of["table"])))


def _settings(dag_id: str) -> TableSync:
    table = tables_by_dag().get(dag_id)
    if table is None:
        raise HTTPException(404, "this DAG syncs no table, or the API server does not see its table file")
    if isinstance(table, BrokenTable):
        raise HTTPException(409, f"the table file is wrong: {table.message}")
    return table.settings


def _permissions(dag_id: str, request: Request, user: GetUserDep) -> dict[str, bool]:
    """What the user may do with the DAG. Who may edit it, may unpause it."""
    return {
        "may_trigger": _may("POST", dag_id, request, user),
        "may_unpause": _may("PUT", dag_id, request, user, None),
    }


Settings = Annotated[TableSync, Depends(_settings)]
Permissions = Annotated[dict[str, bool], Depends(_permissions)]


@app.get("/dags/{dag_id}/overview", dependencies=[may_read])
async def overview(dag_id: str, settings: Settings, permissions: Permissions) -> JSONResponse:
    """How a table stands, and what the user may do with its DAG."""
    snapshot = await _look(settings)
    facts = {
        "dag_id": dag_id,
        "workspace": settings.workspace,
        "audit_budget": int(settings.audit_budget),
        **permissions,
    }
    return await run_in_threadpool(lambda: _answer({**jsonable_encoder(snapshot.overview()), **facts}))


@app.get("/dags/{dag_id}/segments", dependencies=[may_read])
async def segments(
    settings: Settings,
    state: SegmentState | None = None,
    reason: str | None = None,
    search: Annotated[str, Query(max_length=200)] = "",
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
) -> JSONResponse:
    """Some of a table's segments."""
    query = SegmentQuery(state and state.value, reason, search, offset, limit)
    snapshot = await _look(settings)
    return await run_in_threadpool(lambda: _answer(snapshot.segments.page(query)))


async def _look(settings: TableSync) -> Snapshot:
    def read() -> Snapshot:
        with open_store(settings, LIMITS) as store:
            return _overviews.look(store, settings.workspace, settings.table)

    # Stores of other tables that are silent may have all the threads.
    if fresh := _overviews.fresh(settings.workspace, settings.table):
        return fresh
    return await _store_threads.run((settings.workspace, settings.table), read)


def _may(
    method: Any, dag_id: str, request: Request, user: Any, entity: DagAccessEntity | None = DagAccessEntity.RUN
) -> bool:
    """Whether the user may do this with the DAG's runs, or the DAG: by the dependency of Airflow's own routes."""
    try:
        requires_access_dag(method=method, access_entity=entity, param_dag_id=dag_id)(request, user)
    except HTTPException:
        return False
    return True


def _answer(content: Any) -> JSONResponse:
    return JSONResponse(jsonable_encoder(content), headers={"Cache-Control": "no-store"})
