"""Clients whose requests go over clean connections or over bad ones, as a test chooses for each request.

The connections are real ones, through toxiproxy; what is chosen is only which of them a request takes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import boto3
import httpx
from botocore.config import Config
from tests.network.faults import Fault
from tests.network.toxiproxy import Proxy, Toxiproxy

from pinot_sandbox.gateway import S3Gateway

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Network:
    """The ways to one server: a clean one, and one for each fault."""

    def __init__(self, toxiproxy: Toxiproxy, server: str) -> None:
        self._toxiproxy = toxiproxy
        self._server = server
        self._lock = threading.Lock()
        self._proxies: dict[Fault | None, Proxy] = {}
        self.clean = self._proxies[None] = toxiproxy.proxy(server)

    def netloc(self, fault: Fault | None) -> str:
        """Host and port of the way with this fault."""
        with self._lock:
            if fault not in self._proxies:
                self._proxies[fault] = self._toxiproxy.proxy(self._server, *(fault.toxics if fault else ()))
            return self._proxies[fault].netloc

    def close(self) -> None:
        for proxy in self._proxies.values():
            proxy.close()


def s3_client(
    gateway: S3Gateway, network: Network, config: Config, choose: Callable[[str, str], Fault | None]
) -> S3Client:
    """A client of the gateway: `choose` is asked with operation and key before each try of each call."""
    session = boto3.Session(gateway.access_key, gateway.secret_key, region_name=gateway.region)
    ours = config.merge(Config(s3={"addressing_style": "path"}, proxies={}))
    client = session.client("s3", endpoint_url=network.clean.url, config=ours)

    def route(request: Any, operation_name: str, **_: Any) -> None:
        parts = urlsplit(request.url)
        _, _, key = unquote(parts.path).lstrip("/").partition("/")
        if fault := choose(operation_name, key):
            request.url = parts._replace(netloc=network.netloc(fault)).geturl()
            request.headers["Connection"] = "close"  # a fault is of one connection
            del request.headers["Expect"]  # else the first of an answer would be that the body may come

    client.meta.events.register("before-sign.s3", route)
    return client


class RoutingTransport(httpx.BaseTransport):
    """For a client of the server: `choose` is asked with each request."""

    def __init__(self, network: Network, choose: Callable[[httpx.Request], Fault | None]) -> None:
        self._network = network
        self._choose = choose
        self._transport = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        fault = self._choose(request)
        host, _, port = self._network.netloc(fault).rpartition(":")
        request.url = request.url.copy_with(host=host, port=int(port))
        if fault:
            request.headers["Connection"] = "close"  # a fault is of one connection
        return self._transport.handle_request(request)

    def close(self) -> None:
        self._transport.close()
