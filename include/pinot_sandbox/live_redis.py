"""Redis, which a live Airflow's Celery workers get their tasks from."""

from __future__ import annotations

import shutil
from pathlib import Path


def redis_server() -> str | None:
    """The path of Redis's server, where one is installed."""
    return shutil.which("redis-server")


def redis_command(binary: str, folder: Path) -> list[str]:
    """Redis on a Unix socket alone, in a folder that nobody else can enter: so it needs no password and no port."""
    command = [binary, "--port", "0", "--unixsocket", str(_socket(folder)), "--unixsocketperm", "700"]
    return [*command, "--save", "", "--appendonly", "no", "--dir", str(folder)]


def is_ready(folder: Path) -> bool:
    """Whether the Redis of that folder listens."""
    return _socket(folder).exists()


def celery_settings(folder: Path) -> dict[str, str]:
    """What has an Airflow on PostgreSQL go by Celery and the Redis of that folder."""
    return {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CELERY__BROKER_URL": f"redis+socket://{_socket(folder)}?virtual_host=0",
        "AIRFLOW__CELERY__RESULT_BACKEND": f"redis+socket://{_socket(folder)}?virtual_host=1",
        "AIRFLOW__CELERY__SYNC_PARALLELISM": "1",
    }


def _socket(folder: Path) -> Path:
    return folder / "redis.sock"
