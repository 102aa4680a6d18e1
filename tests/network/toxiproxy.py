"""toxiproxy (https://github.com/Shopify/toxiproxy) as a real bad network: proxies between us and a server."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import httpx

_ATTEMPTS = 5
_START_TIMEOUT_S = 20.0

# Ends toxiproxy when its standard input does, which is when we end, however that happens.
_GUARDED = 'exec 3<&0; "$@" & child=$!; { cat <&3 >/dev/null; kill -9 "$child" 2>/dev/null; } & wait "$child"'

_ATTRIBUTES = {
    "reset_peer": "timeout",
    "timeout": "timeout",
    "limit_data": "bytes",
    "latency": "latency",
    "slow_close": "delay",
}

Direction = Literal["upstream", "downstream"]


@dataclass(frozen=True, slots=True)
class Toxic:
    """What is done to the bytes of a connection: `upstream` to those of requests, `downstream` to those of answers.

    Types, and what their `value` is: `reset_peer` (ms until then), `timeout` (nothing gets through; ms until the
    connection is closed, 0: never), `limit_data` (bytes that get through before it is closed), `latency` (ms),
    `slow_close` (ms). Each connection counts by itself.
    """

    type: Literal["reset_peer", "timeout", "limit_data", "latency", "slow_close"]
    direction: Direction
    value: int


class Proxy:
    """A way to a server. It is clean unless it has toxics."""

    def __init__(self, api: httpx.Client, name: str, address: str) -> None:
        self._api = api
        self._name = name
        self.netloc = address
        self.url = f"http://{address}"

    def add(self, toxic: Toxic) -> str:
        """Adds a toxic, also to the connections that are open; returns its name."""
        name = uuid.uuid4().hex
        self._api.post(
            f"/proxies/{self._name}/toxics",
            json={
                "name": name,
                "type": toxic.type,
                "stream": toxic.direction,
                "attributes": {_ATTRIBUTES[toxic.type]: toxic.value},
            },
        ).raise_for_status()
        return name

    @contextmanager
    def toxic(self, toxic: Toxic) -> Iterator[None]:
        """A toxic for as long as this lasts."""
        name = self.add(toxic)
        try:
            yield
        finally:
            self._api.delete(f"/proxies/{self._name}/toxics/{name}").raise_for_status()

    def close(self) -> None:
        """Ends it with its connections."""
        self._api.delete(f"/proxies/{self._name}").raise_for_status()


class Toxiproxy:
    """A running toxiproxy. It ends with `close`, or when this process does."""

    def __init__(self, binary: Path, log: Path) -> None:
        for _ in range(_ATTEMPTS):
            port = _free_port()
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    ["sh", "-c", _GUARDED, "sh", str(binary), "-host", "127.0.0.1", "-port", str(port)],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    env=os.environ | {"LOG_LEVEL": "warn"},
                    start_new_session=True,
                )
            self._api = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30)
            if self._answers():
                return
            self.close()
        raise RuntimeError(f"toxiproxy did not start: {log.read_text(errors='replace')[-1000:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def proxy(self, upstream: str, *toxics: Toxic) -> Proxy:
        """A new proxy on a free port before the server that has this URL."""
        answer: dict[str, Any] = (
            self._api.post(
                "/proxies",
                json={"name": uuid.uuid4().hex, "listen": "127.0.0.1:0", "upstream": urlsplit(upstream).netloc},
            )
            .raise_for_status()
            .json()
        )
        proxy = Proxy(self._api, answer["name"], answer["listen"])
        for toxic in toxics:
            proxy.add(toxic)
        return proxy

    def close(self) -> None:
        """Ends it and waits for it."""
        self._api.close()
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)

    def _answers(self) -> bool:
        """Whether toxiproxy (and nobody else on that port) answers before it exits."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                return "x-toxiproxy-request-id" in self._api.get("/version").headers
            except httpx.TransportError:
                time.sleep(0.02)
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
