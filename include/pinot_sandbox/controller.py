"""The controller's REST API, as far as the sandbox needs it to set scenes up."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection
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

    def put_schema(self, schema: dict[str, Any], *, force: bool = False) -> None:
        """Replaces a schema, with `force` also by a backward incompatible one. Servers do not reload by themselves."""
        path = f"/schemas/{_quoted(schema['schemaName'])}"
        self.call("PUT", path, params={"force": str(force).lower()}, json=schema)

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

    def wait_until_loaded(self, table: str, timeout_s: float, servers: Collection[str] | None = None) -> None:
        """Waits until the external view shows every segment ONLINE, or CONSUMING, where the ideal state wants it so.

        Args:
            table: With type.
            timeout_s: How long at most.
            servers: Only these are looked at; without it, all of the ideal state.

        Raises:
            SandboxError: A segment is in error, or the time is over.
        """

        def loaded() -> str | None:
            ideal, seen = (
                {
                    segment: {server: state for server, state in states.items() if servers is None or server in servers}
                    for segment, states in self._states(table, view).items()
                }
                for view in ("idealstate", "externalview")
            )
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

    def force_commit(self, table: str) -> list[str]:
        """Has the servers that are seen to consume for a table commit. Returns the names of the consuming segments."""
        ideal = self._states(table, "idealstate")
        consuming = sorted(segment for segment, states in ideal.items() if "CONSUMING" in states.values())
        self.call("POST", f"/tables/{_quoted(table)}/forceCommit")
        return consuming

    def wait_until_committed(
        self, table: str, segments: Collection[str], timeout_s: float, servers: Collection[str] | None = None
    ) -> None:
        """Waits until segments are DONE in ZooKeeper, no longer meant to consume, and the external view shows it.

        Arguments are those of `wait_until_loaded`.

        Raises:
            SandboxError: A segment is in error, or the time is over.
        """
        raw = _quoted(table.rsplit("_", 1)[0])
        deadline = time.monotonic() + timeout_s

        def committed() -> str | None:
            status = {
                segment: self.call("GET", f"/segments/{raw}/{_quoted(segment)}/metadata").get("segment.realtime.status")
                for segment in segments
            }
            ideal = self._states(table, "idealstate")  # changed last
            missing = {
                segment: word
                for segment, word in status.items()
                if word not in ("DONE", "UPLOADED") or "CONSUMING" in ideal.get(segment, {}).values()
            }
            return f"segments of {table} are not committed: {missing}" if missing else None

        _wait(committed, timeout_s)
        self.wait_until_loaded(table, max(deadline - time.monotonic(), 0), servers)

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
