"""Where the command line finds the cluster and the store: in environment variables, never on its own command line.

The controller, the first of these that is set:

- `PINOT_CONTROLLER_URL`, with `PINOT_CONTROLLER_USER` and `PINOT_CONTROLLER_PASSWORD`, or `PINOT_CONTROLLER_TOKEN`, and
  where needed `PINOT_CONTROLLER_DATABASE`, `PINOT_CONTROLLER_VERIFY` (false, or the path of a CA file),
  `PINOT_CONTROLLER_CLIENT_CERT` and `PINOT_CONTROLLER_CLIENT_KEY`. Password and token can lie in a file that
  `PINOT_CONTROLLER_PASSWORD_FILE` or `PINOT_CONTROLLER_TOKEN_FILE` names.
- `AIRFLOW_CONN_<ID>` for the table's `controllerConnection`, in either form that Airflow takes: JSON or URI.

The store: boto3's own chain (`AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, a role, …; `AWS_ENDPOINT_URL_S3` for a store that is
not AWS's), and `AWS_REGION`, which boto3 does not read: as with other AWS tools, it goes before `AWS_DEFAULT_REGION`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import boto3
from botocore.exceptions import BotoCoreError

from deep_store_sync.errors import ConfigError
from deep_store_sync.pinot.access import Access, read_access
from deep_store_sync.services import Services
from deep_store_sync.settings import TableSync
from deep_store_sync.store.client_config import client_config
from deep_store_sync.store.deep_store import DeepStore

_PREFIX = "PINOT_CONTROLLER_"


@contextmanager
def open_services(settings: TableSync, environment: Mapping[str, str]) -> Iterator[Services]:
    """The core's services for a table, closed at the end.

    Raises:
        ConfigError: the environment lacks something, or has something wrong.
    """
    access = controller_access(settings.controller_connection, environment)
    with ExitStack() as stack:
        controller = stack.enter_context(access.controller(timeout_s=settings.controller_timeout.total_seconds()))
        servers = stack.enter_context(access.servers(timeout_s=settings.server_timeout.total_seconds()))
        store = stack.enter_context(open_store(settings))
        yield Services(controller, servers, store, settings)


@contextmanager
def open_store(settings: TableSync) -> Iterator[DeepStore]:
    """The deep store alone, with the workspace, closed at the end.

    Raises:
        ConfigError: the environment has something wrong.
    """
    try:
        # Of a session of its own: boto3's default one keeps the credentials that it found first.
        client = boto3.Session().client(
            "s3",
            region_name=os.environ.get("AWS_REGION") or None,
            config=client_config(settings.store_timeout.total_seconds()),
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(
            f"no S3 client could be made ({error}): check AWS_REGION, AWS_DEFAULT_REGION, AWS_PROFILE and "
            "AWS_ENDPOINT_URL_S3"
        ) from error
    with closing(client):
        yield DeepStore(client)


def controller_access(connection_id: str, environment: Mapping[str, str]) -> Access:
    """How to reach the controller of a table with this `controllerConnection`.

    Raises:
        ConfigError: nothing is set, or something wrong.
    """
    url = environment.get(_PREFIX + "URL", "").strip()
    if url:
        return _from_variables(url, environment)
    name = f"AIRFLOW_CONN_{connection_id.upper()}"
    if environment.get(name):
        return _from_airflow(name, environment[name])
    raise ConfigError(
        f"no controller: set {_PREFIX}URL to its address, such as http://pinot-controller.example.com:9000, or "
        f"{name} as for Airflow"
    )


def _from_variables(url: str, environment: Mapping[str, str]) -> Access:
    extra = {
        key: value
        for key in ("database", "verify", "client_cert", "client_key")
        if (value := environment.get(_PREFIX + key.upper()))
    }
    if token := _secret("TOKEN", environment):
        extra["token"] = token
    if "://" not in url:
        raise ConfigError(f"{_PREFIX}URL: give the whole address with http:// or https:// in front")
    return read_access(
        f"{_PREFIX}URL and what belongs to it",
        host=url,
        login=environment.get(_PREFIX + "USER"),
        password=_secret("PASSWORD", environment),
        extra=extra,
    )


def _secret(name: str, environment: Mapping[str, str]) -> str | None:
    """A secret from its variable, or from the file that another variable names."""
    variable = _PREFIX + name
    file = environment.get(variable + "_FILE")
    if not file:
        return environment.get(variable) or None
    if environment.get(variable):
        raise ConfigError(f"{variable} and {variable}_FILE are both set; keep one of them")
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{variable}_FILE: {file} cannot be read ({error.__class__.__name__})") from None


def _from_airflow(name: str, value: str) -> Access:
    """Airflow's own forms. Nothing of the value is ever shown: it holds the password."""
    try:
        fields = json.loads(value) if value.lstrip().startswith("{") else _from_uri(value)
        extra = fields.get("extra") or {}
        extra = json.loads(extra) if isinstance(extra, str) else dict(extra)
        port = int(fields["port"]) if fields.get("port") else None
    except (ValueError, TypeError, AttributeError):
        raise ConfigError(f"{name}: neither a connection in JSON nor one as a URI, as Airflow reads them") from None
    return read_access(
        name,
        host=fields.get("host"),
        port=port,
        schema=fields.get("schema"),
        login=fields.get("login"),
        password=fields.get("password"),
        extra=extra,
    )


def _from_uri(value: str) -> dict[str, Any]:
    """`type://login:password@host:port/schema?extra=…`, where the host may be a URL of its own: `type://https://host`."""
    parts = urlsplit(value)
    scheme = None
    if "://" in value.partition("://")[2].partition("?")[0]:
        scheme, value = value.partition("://")[2].split("://", 1)
        parts = urlsplit(f"//{value}")
    extra: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
    if "__extra__" in extra:
        extra = json.loads(extra["__extra__"])
    host = unquote(parts.hostname or "")
    return {
        "host": host,
        "port": parts.port,
        "schema": scheme or unquote(parts.path.strip("/")) or None,
        "login": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "extra": extra,
    }
