"""The process around a live Airflow. It ends all of Airflow with whoever started it, however that happens.

Run as ``python -m pinot_sandbox.live_airflow_process``. The first line of standard input is the configuration; the
first line of standard output is ``{"url": …, "environment": …, "workers": [pid, …]}`` or ``{"error": …}``. The next
line of standard input, or its end, is the end of Airflow: of its services, of the tasks that they run, and of its
database.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import http.client
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from pinot_sandbox.live_redis import celery_settings, is_ready, redis_command, redis_server

_ATTEMPTS: Final = 3
_START_TIMEOUT_S: Final = 180.0
_TERM_S: Final = 4.0
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
# Servers of logs would listen on all addresses, and are not needed: all that runs here reads the same folder.
_SERVICES: Final = (("scheduler", "--skip-serve-logs"), ("dag-processor",), ("triggerer", "--skip-serve-logs"))


def main() -> None:
    """Starts Airflow, says where it listens, and waits to be told to end it."""
    config = json.loads(sys.stdin.readline())
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing but answers goes there
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started this, who then closes it
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # a task whose scheduler is gone becomes a child of this process
    airflow = _Airflow(config)
    try:
        try:
            answer = airflow.start()
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if "error" not in answer:
            sys.stdin.readline()
    finally:
        airflow.stop()


class _Airflow:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self._home = Path(config["home"])
        self._logs = self._home / "logs"
        self._database = config["database"]
        self._environment: dict[str, str] = {**_inherited(), **_settings(config), **config["environment"]}
        self._services: list[subprocess.Popen[bytes]] = []
        self._postgres: subprocess.Popen[bytes] | None = None
        self._private_dir: Path | None = None
        self._workers = int(config["workers"])
        self._path = str(config["path"])

    def start(self) -> dict[str, Any]:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = self._start_database()
        log = self._logs / "db-migrate.log"
        with log.open("ab") as output:
            command = [sys.executable, "-m", "airflow", "db", "migrate"]
            done = subprocess.run(command, env=self._environment, stdout=output, stderr=output, check=False)
        if done.returncode:
            raise RuntimeError(f"airflow db migrate failed: see {log}")
        if self._workers:
            self._environment |= self._start_redis()
        url = self._start_api_server()
        for service in _SERVICES:
            self._start_service(*service)
        workers = [self._start_worker(number) for number in range(self._workers)]
        return {"url": url, "environment": self._environment, "workers": workers}

    def stop(self) -> None:
        for process in self._services:
            process.terminate()  # tasks are told to stop, and clean up
        deadline = time.monotonic() + _TERM_S
        for process in self._services:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        if self._postgres is not None:
            self._postgres.send_signal(signal.SIGQUIT)  # killed, it would leave its shared memory behind
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._postgres.wait(_TERM_S)
        _kill_descendants()
        if self._private_dir:
            shutil.rmtree(self._private_dir, ignore_errors=True)

    # --- services ----------------------------------------------------------------------------------------------------

    def _start_service(self, *command: str) -> subprocess.Popen[bytes]:
        service = self._popen(
            [sys.executable, "-m", "airflow", *command], self._logs / f"{command[0]}.log", env=self._environment
        )
        self._services.append(service)
        return service

    def _start_worker(self, number: int) -> int:
        """A Celery worker whose temporary files lie in a folder of its own, as on a machine of its own; its pid."""
        name = f"worker{number}"
        disk = self._home / name
        disk.mkdir(parents=True, exist_ok=True)
        command = ["celery", "worker", "--celery-hostname", f"{name}@localhost", "--skip-serve-logs"]
        service = self._popen(
            [sys.executable, "-m", "airflow", *command],
            self._logs / f"{name}.log",
            env=self._environment | {"TMPDIR": str(disk)},
        )
        self._services.append(service)
        return service.pid

    def _start_api_server(self) -> str:
        for _ in range(_ATTEMPTS):
            port = _free_port()
            url = f"http://127.0.0.1:{port}{self._path}"
            self._environment["AIRFLOW__API__BASE_URL"] = url
            self._environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] = f"{url}/execution/"
            process = self._start_service("api-server", "--host", "127.0.0.1", "--port", str(port))
            if _wait(process, partial(_answers, port, self._path)):
                return url
            process.kill()
        raise RuntimeError(f"Airflow's API server did not start: see {self._logs / 'api-server.log'}")

    def _popen(
        self, command: list[str], log: Path, *, stop: signal.Signals = signal.SIGTERM, **options: Any
    ) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=lambda: _prctl(_PR_SET_PDEATHSIG, stop),
                **options,
            )

    # --- database ----------------------------------------------------------------------------------------------------

    def _start_database(self) -> str:
        binaries = _postgres_binaries()
        if self._database == "postgresql" and binaries is None:
            raise RuntimeError(
                "there is no PostgreSQL server: install one (Debian: apt-get install postgresql), or name the folder "
                "of initdb and postgres in PG_BIN"
            )
        if self._database == "sqlite" or binaries is None:
            return f"sqlite:///{self._home / 'airflow.db'}"
        return self._start_postgres(binaries)

    def _start_postgres(self, binaries: Path) -> str:
        """On a Unix socket alone, in a folder that nobody else can enter: so it needs no password and no port."""
        # Not in `home`: root's PostgreSQL runs as somebody else, who has to be able to get there, and a socket's path
        # is short.
        self._private_dir = folder = Path(tempfile.mkdtemp(prefix="live-airflow-"))
        user: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            account = _unprivileged()
            os.chown(folder, account.pw_uid, account.pw_gid)
            user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        log = self._logs / "postgresql.log"
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
        initdb = [str(binaries / "initdb"), "--pgdata", str(folder / "data"), "--username", "airflow"]
        initdb += ["--auth", "trust", "--encoding", "UTF8", "--no-sync"]
        with log.open("ab") as output:
            done = subprocess.run(
                initdb, env=environment, cwd=folder, stdout=output, stderr=output, check=False, **user
            )
        if done.returncode:
            raise RuntimeError(f"initdb failed: see {log}")
        # It lives as long as this process: it need not survive a power cut.
        settings = {"listen_addresses": "", "unix_socket_directories": str(folder), "fsync": "off"}
        settings |= {"synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "32MB"}
        command = [str(binaries / "postgres"), "-D", str(folder / "data")]
        command += [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        self._postgres = process = self._popen(command, log, stop=signal.SIGQUIT, env=environment, cwd=folder, **user)
        ready = [str(binaries / "pg_isready"), "--quiet", "--host", str(folder)]
        if not _wait(process, lambda: subprocess.run(ready, env=environment, check=False).returncode == 0):
            raise RuntimeError(f"PostgreSQL did not start: see {log}")
        return f"postgresql+psycopg2://airflow@/postgres?host={folder}"

    # --- Celery ------------------------------------------------------------------------------------------------------

    def _start_redis(self) -> dict[str, str]:
        """Redis on a Unix socket alone, as PostgreSQL; returns the settings for Celery."""
        binary = redis_server()
        if binary is None or self._private_dir is None:
            raise RuntimeError(
                "Celery needs a Redis and a PostgreSQL server: install them (Debian: apt-get install redis-server "
                "postgresql)"
            )
        folder = self._private_dir / "redis"
        folder.mkdir(mode=0o700)
        process = self._popen(redis_command(binary, folder), self._logs / "redis.log")
        self._services.append(process)
        if not _wait(process, lambda: is_ready(folder)):
            raise RuntimeError(f"Redis did not start: see {self._logs / 'redis.log'}")
        return celery_settings(folder)


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    home = Path(config["home"])
    passwords = home / "passwords.json"
    passwords.parent.mkdir(parents=True, exist_ok=True)
    with open(passwords, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        json.dump({"admin": secrets.token_urlsafe(18)}, file)
    settings = {
        "CORE__DAGS_FOLDER": config["dags"],
        "CORE__PLUGINS_FOLDER": config["plugins"],
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": str(config["parallelism"]),
        "CELERY__WORKER_CONCURRENCY": "2",
        "CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "API__SECRET_KEY": secrets.token_urlsafe(24),
        "API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "LOGGING__BASE_LOG_FOLDER": str(home / "logs" / "tasks"),
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    return {"AIRFLOW_HOME": str(home), **{f"AIRFLOW__{name}": value for name, value in settings.items()}}


def _inherited() -> dict[str, str]:
    """This process's environment, without what would configure another Airflow or hold somebody's AWS account."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "_AIRFLOW", "AWS_", "DEEP_STORE_SYNC_TABLES"))
    }


def _postgres_binaries() -> Path | None:
    """The folder of initdb and postgres: `PG_BIN`, else of the path, else the newest of Debian's."""
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: _number(path.parent.name), reverse=True)
    for folder in (os.environ.get("PG_BIN"), found and Path(found).resolve().parent, *debian):
        if folder and all((Path(folder) / name).exists() for name in ("initdb", "postgres", "pg_isready")):
            return Path(folder)
    return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("PostgreSQL does not run as root, and there is no user postgres or nobody; run as another user")


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> bool:
    """Whether a process became ready before it ended, and in time."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        if ready():
            return True
        time.sleep(0.1)
    return False


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", f"{path}/api/v2/version")
        return connection.getresponse().status == 200
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def _kill_descendants() -> None:
    """Ends whatever this process and its children have started, tasks in process groups of their own included."""
    while descendants := list(_descendants(os.getpid())):
        for pid in descendants:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.02)


def _descendants(pid: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            number, rest = stat.read_text().split(" ", 1)
            children.setdefault(int(rest.rsplit(")", 1)[1].split()[1]), []).append(int(number))
    todo = [pid]
    while todo:
        for child in children.get(todo.pop(), ()):
            todo.append(child)
            yield child


if __name__ == "__main__":
    main()
