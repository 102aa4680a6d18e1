"""A StatsD server that keeps what it is sent of this package."""

from __future__ import annotations

import socket
import threading
from types import TracebackType


class StatsdServer:
    """Listens on a free UDP port. `values` has every value of each name, as it came: `12|c`."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self.values: dict[str, list[str]] = {}

    def __enter__(self) -> StatsdServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    @property
    def environment(self) -> dict[str, str]:
        """What has Airflow send its metrics here."""
        host, port = self._socket.getsockname()
        settings = {"STATSD_ON": "True", "STATSD_HOST": host, "STATSD_PORT": str(port)}
        return {f"AIRFLOW__METRICS__{name}": value for name, value in settings.items()}

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                name, _, value = self._socket.recv(65536).decode().partition(":")
            except TimeoutError:
                continue
            if "deep_store_sync." in name:
                self.values.setdefault(name, []).append(value)
