"""A real Airflow on this machine, to be started, used and thrown away. On PostgreSQL, where there is one."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal
from urllib.parse import quote

import httpx
import psutil

from pinot_sandbox.errors import SandboxError

REPOSITORY: Final = Path(__file__).resolve().parents[2]

Database = Literal["auto", "postgresql", "sqlite"]

_ENDED: Final = ("success", "failed")
_COMPONENTS: Final = ("metadatabase", "scheduler", "triggerer", "dag_processor")
_START_TIMEOUT_S: Final = 300.0
_POLL_S: Final = 0.25


class LiveAirflow:
    """Scheduler with LocalExecutor, DAG processor, triggerer and API server, on a free loopback port.

    A context manager. Everything ends with it, or when this process does, even by SIGKILL. Logs lie in `home/logs`.

    `tables` is the folder of table files, `connections` maps connection ids to URIs or JSON (they are given to
    Airflow as environment variables), `environment` is added to that of every service. `database` is PostgreSQL where
    its server is installed and else SQLite, or the named one. With `workers`, tasks run on so many Celery workers, over
    a Redis, instead of beside the scheduler; the temporary files of each lie in a folder of its own, `home/worker0`…
    `path` goes before every path of the API server, as behind a proxy: `/team-a`, for example.
    """

    def __init__(
        self,
        *,
        tables: Path,
        connections: Mapping[str, str] | None = None,
        home: Path | None = None,
        dags: Path = REPOSITORY / "dags",
        plugins: Path = REPOSITORY / "plugins",
        database: Database = "auto",
        environment: Mapping[str, str] | None = None,
        parallelism: int = 4,
        workers: int = 0,
        path: str = "",
    ) -> None:
        self._own_home = tempfile.TemporaryDirectory(prefix="live-airflow-home-") if home is None else None
        self.home: Final = Path(self._own_home.name) if self._own_home else Path(home or "")
        self._config = {
            "home": str(self.home.resolve()),
            "dags": str(dags.resolve()),
            "plugins": str(plugins.resolve()),
            "database": database,
            "parallelism": parallelism,
            "workers": workers,
            "path": path,
            "environment": {
                **(environment or {}),
                "DEEP_STORE_SYNC_TABLES": str(tables.resolve()),
                **{f"AIRFLOW_CONN_{name.upper()}": value for name, value in (connections or {}).items()},
            },
        }
        self._process: subprocess.Popen[str] | None = None
        self._environment: dict[str, str] = {}
        self._workers: list[int] = []
        self._api: httpx.Client | None = None
        self.url = ""

    def __enter__(self) -> LiveAirflow:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts everything and waits until every component reports itself healthy.

        Raises:
            SandboxError: something did not start; the message names the log.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / "live-airflow.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pinot_sandbox.live_airflow_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdin  # noqa: S101
        assert self._process.stdout  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(self._config) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "it ended at once"}
        if "error" in answer:
            raise SandboxError(f"Airflow did not start: {answer['error']} (logs in {self.logs})")
        self.url = answer["url"]
        self._environment = answer["environment"]
        self._workers = answer["workers"]
        self._api = httpx.Client(base_url=self.url, timeout=60, event_hooks={"response": [self._checked]})
        self._login()
        self.wait_until("Airflow's components are healthy", self._healthy, _START_TIMEOUT_S)

    def close(self) -> None:
        """Ends everything that was started, tasks included, and waits for it."""
        if self._api is not None:
            self._api.close()
            self._api = None
        if self._process is not None:
            assert self._process.stdin  # noqa: S101
            assert self._process.stdout  # noqa: S101
            with contextlib.suppress(OSError):
                self._process.stdin.write("end\n")  # somebody forked from this process may hold the pipe open
                self._process.stdin.flush()
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()
            self._process = None
        if self._own_home is not None:
            self._own_home.cleanup()

    def worker(self, number: int) -> list[psutil.Process]:
        """The processes of a Celery worker: its own first, then all that it has started."""
        worker = psutil.Process(self._workers[number])
        return [worker, *worker.children(recursive=True)]

    def kill_worker(self, number: int) -> None:
        """Ends a Celery worker and all that it has started by SIGKILL, as when its machine is gone."""
        for process in self.worker(number):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    @property
    def logs(self) -> Path:
        """The folder with the logs of the services, and of the tasks in its subfolder `tasks`."""
        return self.home / "logs"

    @property
    def database(self) -> str:
        """`postgresql` or `sqlite`."""
        return self._environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].partition(":")[0].partition("+")[0]

    @property
    def password_file(self) -> Path:
        """JSON of user name and password, for the login; only its owner can read it. The user is `admin`."""
        return self.home / "passwords.json"

    # --- DAGs --------------------------------------------------------------------------------------------------------

    def dag_ids(self) -> set[str]:
        """The DAGs that are there now."""
        return {dag["dag_id"] for dag in self._all("/dags", "dags")}

    def import_errors(self) -> dict[str, str]:
        """What Airflow shows for DAG files that could not be imported: file to error."""
        return {error["filename"]: error["stack_trace"] for error in self._all("/importErrors", "import_errors")}

    def wait_for_dag(self, dag_id: str, timeout_s: float = 60) -> None:
        """Waits until the DAG processor has found a DAG.

        Raises:
            SandboxError: it has not in time; the message has the import errors.
        """
        try:
            self.wait_until(f"DAG {dag_id} is there", lambda: dag_id in self.dag_ids(), timeout_s)
        except SandboxError as error:
            raise SandboxError(f"{error} Import errors: {self.import_errors() or 'none'}") from None

    def unpause(self, dag_id: str) -> None:
        """Lets a DAG run, once it is there."""
        self.wait_for_dag(dag_id)
        self._request("PATCH", f"/dags/{_part(dag_id)}", json={"is_paused": False})

    # --- runs --------------------------------------------------------------------------------------------------------

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Starts a manual run, of a DAG that is not paused, and returns its id."""
        body = {"logical_date": None, "conf": dict(conf or {})}
        run_id: str = self._request("POST", f"/dags/{_part(dag_id)}/dagRuns", json=body)["dag_run_id"]
        return run_id

    def backfill(
        self,
        dag_id: str,
        start: date | str,
        end: date | str,
        *options: str,
        conf: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Runs `airflow backfill create` over a range of dates and returns the ids of its new runs, oldest first."""
        before = {run["dag_run_id"] for run in self.dag_runs(dag_id)}
        arguments = ["--dag-id", dag_id, "--from-date", str(start), "--to-date", str(end)]
        self.cli("backfill", "create", *arguments, *options, *(["--dag-run-conf", json.dumps(conf)] if conf else []))
        runs = [run for run in self.dag_runs(dag_id) if run["dag_run_id"] not in before]
        return [
            run["dag_run_id"]
            for run in sorted(runs, key=lambda run: str(run["logical_date"]))
            if run["run_type"] == "backfill"
        ]

    def cancel_backfill(self, dag_id: str) -> None:
        """Cancels the backfill of a DAG that is under way: the runs of it that have not begun fail."""
        found = self._request("GET", "/backfills", params={"dag_id": dag_id})
        for backfill in found["backfills"]:
            if backfill["completed_at"] is None:
                self._request("PUT", f"/backfills/{backfill['id']}/cancel")

    def dag_runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The runs of a DAG, as Airflow's REST API gives them."""
        return self._all(f"/dags/{_part(dag_id)}/dagRuns", "dag_runs")

    def dag_run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """One run, as Airflow's REST API gives it."""
        run: dict[str, Any] = self._request("GET", f"/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}")
        return run

    def wait_for_run(
        self,
        dag_id: str,
        run_id: str,
        timeout_s: float = 300,
        *,
        on_poll: Callable[[dict[str, str]], None] | None = None,
    ) -> str:
        """Waits until a run has ended and returns its state. `on_poll` is given the tasks' states now and then.

        Raises:
            SandboxError: it has not ended in time; the message has the tasks' states.
        """

        def ended() -> bool:
            if on_poll is not None:
                on_poll(self.task_states(dag_id, run_id))
            return self.dag_run(dag_id, run_id)["state"] in _ENDED

        try:
            self.wait_until(f"run {run_id} of {dag_id} ends", ended, timeout_s)
        except SandboxError as error:
            raise SandboxError(f"{error} Tasks: {self.task_states(dag_id, run_id)}") from None
        state: str = self.dag_run(dag_id, run_id)["state"]
        return state

    # --- tasks -------------------------------------------------------------------------------------------------------

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The tasks of a run, as Airflow's REST API gives them."""
        return self._all(f"/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances", "task_instances")

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """State by task, mapped ones as `batch.rebuild_segment[0]`."""
        return {
            task["task_id"] + (f"[{task['map_index']}]" if task["map_index"] >= 0 else ""): str(task["state"])
            for task in self.task_instances(dag_id, run_id)
        }

    def mark(self, dag_id: str, run_id: str, task_id: str, state: str, *, map_index: int = -1) -> None:
        """Marks a task as `failed` or `success`, as somebody does by hand. One that runs is stopped."""
        path = f"/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances/{_part(task_id)}"
        self._request("PATCH", path if map_index < 0 else f"{path}/{map_index}", json={"new_state": state})

    def task_log(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1, try_number: int = 1) -> str:
        """The log of one try of a task, a line an event, with what Airflow's own log view shows of an error."""
        path = f"/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances/{_part(task_id)}/logs/{try_number}"
        content = self._request("GET", path, params={"map_index": map_index, "full_content": True})["content"]
        return "\n".join(_log_line(event) for event in content)

    # --- anything else -----------------------------------------------------------------------------------------------

    def cli(self, *arguments: str) -> str:
        """Runs an `airflow` command in this Airflow and returns what it printed.

        Raises:
            SandboxError: it failed; the message has what it printed.
        """
        command = [sys.executable, "-m", "airflow", *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SandboxError(f"airflow {' '.join(arguments[:2])} failed: {(done.stdout + done.stderr)[-3000:]}")
        return done.stdout

    def set_variable(self, key: str, value: str | None) -> None:
        """Sets an Airflow variable, or deletes it."""
        with contextlib.suppress(SandboxError):
            self._request("DELETE", f"/variables/{_part(key)}")
        if value is not None:
            self._request("POST", "/variables", json={"key": key, "value": value})

    def wait_until(self, what: str, done: Callable[[], bool], timeout_s: float) -> None:
        """Waits until something is so, which `what` says for the message.

        Raises:
            SandboxError: it is not in time, or Airflow has ended.
        """
        deadline = time.monotonic() + timeout_s
        while not done():
            if self._process is None or self._process.poll() is not None:
                raise SandboxError(f"Airflow has ended while waiting until {what}: see {self.logs}.")
            if time.monotonic() > deadline:
                raise SandboxError(f"Not within {timeout_s:.0f} s: {what}; see {self.logs}.")
            time.sleep(_POLL_S)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _healthy(self) -> bool:
        health = self._request("GET", "/monitor/health")
        return all(health[component]["status"] == "healthy" for component in _COMPONENTS)

    def _login(self) -> None:
        assert self._api is not None  # noqa: S101
        password = json.loads(self.password_file.read_text())["admin"]
        token = self._api.post("/auth/token", json={"username": "admin", "password": password}).json()["access_token"]
        self._api.headers["Authorization"] = f"Bearer {token}"

    def _request(self, method: str, path: str, *, again: bool = True, **options: Any) -> Any:
        if self._api is None:
            raise SandboxError("this Airflow is not running")
        try:
            response = self._api.request(method, f"/api/v2{path}", **options)
        except httpx.TransportError as error:
            if method == "GET" and again:  # on a machine that is busy beyond measure, an answer may take its time
                return self._request(method, path, again=False, **options)
            raise SandboxError(f"{method} {path}: Airflow gives no answer ({error}; logs in {self.logs})") from error
        return response.json() if response.content else None

    def _all(self, path: str, key: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = self._request("GET", path, params={"limit": 100, "offset": len(found)})
            found += page[key]
            if not page[key] or len(found) >= page["total_entries"]:
                return found

    def _checked(self, response: httpx.Response) -> None:
        if response.is_error:
            response.read()
            request = response.request
            raise SandboxError(
                f"{request.method} {request.url.path}: {response.status_code} {response.text[:1000]} "
                f"(logs in {self.logs})"
            )


def _part(text: str) -> str:
    return quote(text, safe="")


def _log_line(event: Any) -> str:
    if not isinstance(event, dict):
        return str(event)
    errors = [f"{error.get('exc_type')}: {error.get('exc_value')}" for error in event.get("error_detail") or ()]
    return "\n".join([str(event.get("event", "")), *errors])
