"""The connection type `pinot_controller`: a Pinot controller, and with the same credentials the servers' admin ports.

Fields: host (a name, or a whole URL such as `https://pinot.example.com/controller`), port, schema (`http` or
`https`), login and password for basic authentication. Extra, all optional: `token` (bearer token, instead of login
and password), `database` (sent as Pinot's `Database` header), `verify` (false, or the path of a CA file or folder;
the system's CAs otherwise), `client_cert` and `client_key` (paths of PEM files for mutual TLS).
"""

from __future__ import annotations

import base64
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from deep_store_sync.errors import ConfigError, DeepStoreSyncError
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
    """A connection, read: where the controller is, and what every call to it and to the servers carries."""

    base_url: str
    auth: httpx.Auth | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    verify: bool | str = True
    cert: Certificate | None = None


class PinotControllerHook(BaseHook):
    """Makes clients for a Pinot controller and its servers out of an Airflow connection.

    Timeouts are seconds. `retries` counts further tries of calls that only read.
    """

    conn_name_attr = "pinot_conn_id"
    default_conn_name = "pinot_controller_default"
    conn_type = "pinot_controller"
    hook_name = "Pinot Controller"

    def __init__(
        self,
        pinot_conn_id: str = default_conn_name,
        *,
        timeout_s: float = 60,
        server_timeout_s: float = 30,
        retries: int = 3,
    ) -> None:
        super().__init__()
        self.pinot_conn_id = pinot_conn_id
        self.timeout_s = timeout_s
        self.server_timeout_s = server_timeout_s
        self.retries = retries

    def get_conn(self) -> ControllerClient:
        """A client for the controller; the caller closes it.

        Raises:
            ConfigError: the connection is wrong, or names a file that cannot be read.
        """
        return self._controller(self._connection())

    async def aget_conn(self) -> ControllerClient:
        """`get_conn` for a trigger: the connection is fetched without blocking the event loop."""
        try:
            connection = await self.aget_connection(self.pinot_conn_id)
        except AirflowNotFoundException:
            raise self._missing() from None
        return self._controller(connection)

    def get_server_client(self) -> ServerClient:
        """A client for the servers' admin ports, with the controller's credentials and TLS; the caller closes it.

        Raises:
            ConfigError: the connection is wrong, or names a file that cannot be read.
        """
        access = read_connection(self._connection())
        return ServerClient(
            auth=access.auth,
            headers=access.headers,
            verify=access.verify,
            cert=access.cert,
            timeout_s=self.server_timeout_s,
        )

    def test_connection(self) -> tuple[bool, str]:
        """What Airflow's test button shows: whether a controller answers, and its version or what is wrong."""
        try:
            with self.get_conn() as controller:
                return True, f"Pinot {controller.version()} answers"
        except DeepStoreSyncError as error:
            return False, str(error)

    def _connection(self) -> Connection:
        try:
            return self.get_connection(self.pinot_conn_id)
        except AirflowNotFoundException:
            raise self._missing() from None

    def _missing(self) -> ConfigError:
        return ConfigError(
            f"connection {self.pinot_conn_id}: not found; create it with type {self.conn_type}, or set "
            "controllerConnection in the table's file to the one that is there"
        )

    def _controller(self, connection: Connection) -> ControllerClient:
        access = read_connection(connection)
        return ControllerClient(
            access.base_url,
            auth=access.auth,
            headers=access.headers,
            verify=access.verify,
            cert=access.cert,
            timeout_s=self.timeout_s,
            retries=self.retries,
        )


def read_connection(connection: Connection) -> Access:
    """Reads a connection of type `pinot_controller` and masks its secrets in logs.

    Raises:
        ConfigError: a field is missing or wrong.
    """
    where = f"connection {connection.conn_id}"
    extra: dict[str, Any] = connection.extra_dejson
    unknown = sorted(set(extra) - set(_EXTRAS))
    if unknown:
        raise ConfigError(f"{where}: extra {', '.join(unknown)}: unknown; known are {', '.join(_EXTRAS)}")
    return Access(
        base_url=_base_url(connection, where),
        auth=_auth(connection, extra.get("token"), where),
        headers={"Database": str(extra["database"])} if extra.get("database") else {},
        verify=_verify(extra),
        cert=_cert(extra, where),
    )


def _base_url(connection: Connection, where: str) -> str:
    host, scheme, path = (connection.host or "").strip(), connection.schema or "http", ""
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
    if connection.port and urlsplit(f"//{host}").port:
        raise ConfigError(f"{where}: host: has a port, and so has the field port; keep one of them")
    return f"{scheme}://{host}{f':{connection.port}' if connection.port else ''}{path}"


def _auth(connection: Connection, token: Any, where: str) -> httpx.Auth | None:
    login, password = connection.login or "", connection.password or ""
    if token:
        if login or password:
            raise ConfigError(f"{where}: gives a token and a login; keep one of them")
        mask_secret(str(token))
        return BearerAuth(str(token))
    if not login and not password:
        return None
    mask_secret(password)
    mask_secret(base64.b64encode(f"{login}:{password}".encode()).decode())
    return httpx.BasicAuth(login, password)


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
