"""What the page asks for. Every route needs a user of Airflow, and one that may read the DAG it is about.

A sub-application of a plugin is open to everybody unless it asks itself: Airflow authenticates none of its requests.
Here the application asks for the user, and each route for the DAG, with the dependencies of Airflow's own routes.
Nothing here changes anything: runs are triggered through Airflow's REST API, which asks for itself.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import FileResponse, JSONResponse

from deep_store_sync.errors import DeepStoreSyncError
from deep_store_sync.overview.overview import Overviews
from deep_store_sync.overview.segments import MOST_ROWS, SegmentQuery
from deep_store_sync.settings import BrokenTable, TableSync
from deep_store_sync.states import SegmentState
from deep_store_sync_airflow.page.tables import open_store, tables_by_dag

log = logging.getLogger(__name__)

_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES = {path.name: path for path in (Path(__file__).parent / "static").iterdir() if path.suffix in _TYPES}

_overviews = Overviews()

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
    return JSONResponse({"detail": f"{type(error).__name__}: {error}"}, 503)


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


@app.get("/dags/{dag_id}/overview", dependencies=[may_read])
def overview(dag_id: str, request: Request, user: GetUserDep) -> JSONResponse:
    """How a table stands, and whether the user may trigger its DAG."""
    settings = _settings(dag_id)
    with open_store(settings) as store:
        found = _overviews.overview(store, settings.workspace, settings.table)
    return _answer(
        {
            **jsonable_encoder(found),
            "dag_id": dag_id,
            "workspace": settings.workspace,
            "audit_budget": int(settings.audit_budget),
            "may_trigger": _may("POST", dag_id, request, user),
        }
    )


@app.get("/dags/{dag_id}/segments", dependencies=[may_read])
def segments(
    dag_id: str,
    state: SegmentState | None = None,
    reason: str | None = None,
    search: Annotated[str, Query(max_length=200)] = "",
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
) -> JSONResponse:
    """Some of a table's segments."""
    settings = _settings(dag_id)
    query = SegmentQuery(state and state.value, reason, search, offset, limit)
    with open_store(settings) as store:
        return _answer(_overviews.segments(store, settings.workspace, settings.table, query))


def _settings(dag_id: str) -> TableSync:
    table = tables_by_dag().get(dag_id)
    if table is None:
        raise HTTPException(404, "this DAG syncs no table, or the API server does not see its table file")
    if isinstance(table, BrokenTable):
        raise HTTPException(409, f"the table file is wrong: {table.message}")
    return table.settings


def _may(method: Any, dag_id: str, request: Request, user: Any) -> bool:
    """Whether the user may do this with the DAG's runs: by the dependency that Airflow's own routes have."""
    try:
        requires_access_dag(method=method, access_entity=DagAccessEntity.RUN, param_dag_id=dag_id)(request, user)
    except HTTPException:
        return False
    return True


def _answer(content: Any) -> JSONResponse:
    return JSONResponse(jsonable_encoder(content), headers={"Cache-Control": "no-store"})
