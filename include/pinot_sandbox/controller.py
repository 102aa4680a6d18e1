"""The controller's REST API, as far as the sandbox needs it to set scenes up."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx

from pinot_sandbox.errors import SandboxError

_POLL_S: Final = 0.05


class Controller:
    """Calls to one controller. Any answer other than 2xx is a `SandboxError` with Pinot's own words."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def call(self, method: str, path: str, **request: Any) -> Any:
        """The answer to a request, as JSON where it is JSON, else as text."""
        return _json(self._http.request(method, path, **request))

    def add_schema(self, schema: dict[str, Any]) -> None:
        """Adds a schema."""
        self.call("POST", "/schemas", json=schema)

    def put_schema(self, schema: dict[str, Any]) -> None:
        """Replaces a schema. Servers do not reload by themselves."""
        self.call("PUT", f"/schemas/{_quoted(schema['schemaName'])}", json=schema)

    def add_table(self, config: dict[str, Any]) -> None:
        """Adds a table."""
        self.call("POST", "/tables", json=config)

    def put_table(self, config: dict[str, Any]) -> None:
        """Replaces a table's config. Servers do not reload by themselves."""
        self.call("PUT", f"/tables/{_quoted(config['tableName'])}", json=config)

    def table(self, table: str) -> dict[str, Any]:
        """The config of a table with type."""
        raw, kind = table.rsplit("_", 1)
        config: dict[str, Any] = self.call("GET", f"/tables/{_quoted(raw)}", params={"type": kind})[kind]
        return config

    def schema_of(self, table: str) -> dict[str, Any]:
        """The schema of a table with type."""
        schema: dict[str, Any] = self.call("GET", f"/tables/{_quoted(table)}/schema")
        return schema

    def drop_table(self, table: str) -> None:
        """Deletes a table with its segments and its schema."""
        raw, kind = table.rsplit("_", 1)
        self.call("DELETE", f"/tables/{_quoted(raw)}", params={"type": kind.lower(), "retention": "0d"})
        self.call("DELETE", f"/schemas/{_quoted(raw)}")

    def push(self, table: str, archive: Path) -> None:
        """Uploads a segment; the controller puts it into the deep store."""
        raw, kind = table.rsplit("_", 1)
        with archive.open("rb") as file:
            self.call(
                "POST",
                "/v2/segments",
                params={"tableName": raw, "tableType": kind, "enableParallelPushProtection": "true"},
                headers={"UPLOAD_TYPE": "SEGMENT"},
                files={"segment": (archive.name, file)},
            )

    def wait_until_loaded(self, table: str, timeout_s: float) -> None:
        """Waits until the external view shows every segment ONLINE where the ideal state wants it so.

        Raises:
            SandboxError: A segment is in error, or the time is over.
        """

        def loaded() -> str | None:
            ideal, seen = self._states(table, "idealstate"), self._states(table, "externalview")
            missing = {segment: seen.get(segment) for segment in ideal if seen.get(segment) != ideal[segment]}
            failed = [segment for segment, states in missing.items() if "ERROR" in (states or {}).values()]
            if failed:
                raise SandboxError(f"Servers could not load {', '.join(sorted(failed))} of {table}.")
            return (
                f"{len(missing)} of {len(ideal)} segments of {table} are not loaded yet: {missing}" if missing else None
            )

        _wait(loaded, timeout_s)

    def _states(self, table: str, view: str) -> dict[str, dict[str, str]]:
        """By segment and server. There is no external view before the first segment has come up."""
        answer = self._http.get(f"/tables/{_quoted(table)}/{view}")
        if answer.status_code == httpx.codes.NOT_FOUND and view == "externalview":
            return {}
        return _json(answer).get(table.rsplit("_", 1)[1]) or {}

    def reload(self, table: str, segment: str | None, force_download: bool, timeout_s: float) -> None:
        """Has all servers reload a table or one segment, and waits until they have.

        Raises:
            SandboxError: A server failed to, or the time is over.
        """
        path = f"/segments/{_quoted(table)}" + (f"/{_quoted(segment)}" if segment else "") + "/reload"
        answer = json.dumps(self.call("POST", path, params={"forceDownload": str(force_download).lower()}))
        job = re.search(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer)
        if not job:
            raise SandboxError(f"No reload job in the controller's answer: {answer}")

        def reloaded() -> str | None:
            status = self.call("GET", f"/segments/segmentReloadStatus/{job[0]}")
            if status.get("failureCount"):
                raise SandboxError(f"Reload of {segment or table} failed: {status}")
            done = status["totalServerCallsFailed"] == 0 and status["successCount"] == status["totalSegmentCount"]
            return None if done else f"reload of {segment or table} is not done: {status}"

        _wait(reloaded, timeout_s)


def _json(answer: httpx.Response) -> Any:
    """The answer as JSON, where it is JSON, else as text."""
    if answer.is_error:
        call = f"{answer.request.method} {answer.request.url.path}"
        raise SandboxError(f"{call} on the sandbox's controller: HTTP {answer.status_code}: {answer.text}")
    try:
        return answer.json()
    except ValueError:
        return answer.text


def _wait(missing: Callable[[], str | None], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while what := missing():
        if time.monotonic() > deadline:
            raise SandboxError(f"After {timeout_s:.0f} s, {what}.")
        time.sleep(_POLL_S)


def _quoted(name: str) -> str:
    return quote(name, safe="")
