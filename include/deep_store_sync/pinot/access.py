"""How to reach a cluster: the fields of a connection, read into what every call to controller and servers carries.

A connection has a host (a name, or a whole URL such as `https://pinot.example.com/controller`), a port, a schema
(`http` or `https`), login and password for basic authentication, and in its extra, all optional: `token` (bearer token,
instead of login and password), `database` (sent as Pinot's `Database` header), `verify` (false, or the path of a CA
file or folder; the system's CAs otherwise), `client_cert` and `client_key` (paths of PEM files for mutual TLS).
"""

from __future__ import annotations

import base64
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from deep_store_sync.errors import ConfigError
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.http import Certificate
from deep_store_sync.pinot.servers import ServerClient

_EXTRAS = ("token", "database", "verify", "client_cert", "client_key")


class BearerAuth(httpx.Auth):
    """`Authorization: Bearer <token>` on every request."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Adds the header."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


@dataclass(frozen=True, slots=True)
class Access:
    """A connection, read: where the controller is, and what every call to it and to the servers carries.

    `secrets` are the strings that must never be shown.
    """

    base_url: str
    auth: httpx.Auth | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    verify: bool | str = True
    cert: Certificate | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def controller(self, *, timeout_s: float, retries: int = 3) -> ControllerClient:
        """A client for the controller; the caller closes it.

        Raises:
            ConfigError: a TLS file cannot be read.
        """
        return ControllerClient(
            self.base_url,
            auth=self.auth,
            headers=self.headers,
            verify=self.verify,
            cert=self.cert,
            timeout_s=timeout_s,
            retries=retries,
        )

    def servers(self, *, timeout_s: float) -> ServerClient:
        """A client for the servers' admin ports, with the same credentials and TLS; the caller closes it.

        Raises:
            ConfigError: a TLS file cannot be read.
        """
        return ServerClient(
            auth=self.auth, headers=self.headers, verify=self.verify, cert=self.cert, timeout_s=timeout_s
        )


def read_access(
    where: str,
    *,
    host: str | None,
    port: int | None = None,
    schema: str | None = None,
    login: str | None = None,
    password: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Access:
    """Reads the fields of a connection. `where` names it in messages.

    Raises:
        ConfigError: a field is missing or wrong.
    """
    extra = extra or {}
    unknown = sorted(set(extra) - set(_EXTRAS))
    if unknown:
        raise ConfigError(f"{where}: extra {', '.join(unknown)}: unknown; known are {', '.join(_EXTRAS)}")
    auth, secrets = _auth(login or "", password or "", extra.get("token"), where)
    return Access(
        base_url=_base_url((host or "").strip(), port, schema or "http", where),
        auth=auth,
        headers={"Database": str(extra["database"])} if extra.get("database") else {},
        verify=_verify(extra),
        cert=_cert(extra, where),
        secrets=secrets,
    )


def _base_url(host: str, port: int | None, scheme: str, where: str) -> str:
    path = ""
    if "://" in host:
        parts = urlsplit(host)
        scheme, host, path = parts.scheme, parts.netloc, parts.path.rstrip("/")
    if not host:
        raise ConfigError(f"{where}: host: not given; give the controller's host name")
    if scheme not in ("http", "https"):
        raise ConfigError(f"{where}: schema: {scheme!r} is neither http nor https")
    if "@" in host or "/" in host:
        raise ConfigError(f"{where}: host: give a host name, or a URL without credentials in it")
    if host.count(":") > 1 and not host.startswith("["):
        host = f"[{host}]"  # a bare IPv6 address
    if port and urlsplit(f"//{host}").port:
        raise ConfigError(f"{where}: host: has a port, and so has the field port; keep one of them")
    return f"{scheme}://{host}{f':{port}' if port else ''}{path}"


def _auth(login: str, password: str, token: Any, where: str) -> tuple[httpx.Auth | None, tuple[str, ...]]:
    if token:
        if login or password:
            raise ConfigError(f"{where}: gives a token and a login; keep one of them")
        return BearerAuth(str(token)), (str(token),)
    if not login and not password:
        return None, ()
    return httpx.BasicAuth(login, password), (password, base64.b64encode(f"{login}:{password}".encode()).decode())


def _verify(extra: Mapping[str, Any]) -> bool | str:
    """`verify` as JSON or the connection form gives it: a boolean, the word for one, or a path."""
    verify = extra.get("verify")
    words = {"true": True, "false": False, "": True}
    if verify is None or isinstance(verify, bool):
        return verify is not False
    return words.get(str(verify).strip().lower(), str(verify))


def _cert(extra: Mapping[str, Any], where: str) -> Certificate | None:
    cert, key = extra.get("client_cert"), extra.get("client_key")
    if key and not cert:
        raise ConfigError(f"{where}: client_key: needs client_cert beside it")
    if not cert:
        return None
    return (str(cert), str(key)) if key else str(cert)
