"""From Airflow's connections to the core's services, and from the core's errors to Airflow's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowFailException

from deep_store_sync.errors import ConfigError, DeepStoreSyncError
from deep_store_sync.settings import TableSync
from deep_store_sync_airflow.hooks.pinot_controller import PinotControllerHook

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from botocore.config import Config
    from mypy_boto3_s3 import S3Client

    from deep_store_sync.services import Services

log = logging.getLogger("deep_store_sync")
"""What the core logs to: it reaches the task's log."""

STOP_VARIABLE = "deep_store_sync_stop"


def controller_hook(settings: TableSync) -> PinotControllerHook:
    """The hook for a table's controller, with the table's timeouts."""
    return PinotControllerHook(
        settings.controller_connection,
        timeout_s=settings.controller_timeout.total_seconds(),
        server_timeout_s=settings.server_timeout.total_seconds(),
    )


@contextmanager
def open_services(settings: TableSync) -> Iterator[Services]:
    """The core's services for a table, closed at the end.

    Raises:
        ConfigError: a connection is wrong.
        DeepStoreError: it gives no credentials: a role that must not be assumed, a profile that is not there.
    """
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from deep_store_sync.services import Services
    from deep_store_sync.store.client_config import client_config
    from deep_store_sync.store.deep_store import DeepStore
    from deep_store_sync.store.store_errors import translated

    hook = controller_hook(settings)
    with ExitStack() as stack:
        controller = stack.enter_context(hook.get_conn())
        servers = stack.enter_context(hook.get_server_client())
        with translated("credentials of the connection", settings.aws_connection):
            s3 = S3Hook(aws_conn_id=settings.aws_connection)
            # What the connection's config_kwargs say goes before what the table says.
            config = client_config(settings.store_timeout.total_seconds()).merge(s3.config)
            client = _client(s3, config, settings.aws_connection)
        yield Services(controller=controller, servers=servers, store=DeepStore(client), settings=settings)


def _client(s3: S3Hook, config: Config, connection: str) -> S3Client:
    try:
        return s3.get_client_type(config=config)
    except ValueError as error:  # an endpoint that is no URL, a region that is none
        raise ConfigError(f"connection {connection}: {error}; correct its extra") from error


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Lets an error that may pass through, to be tried again; any other fails the task for good with its message."""
    try:
        yield
    except DeepStoreSyncError as error:
        if error.transient:
            raise
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error


def stop_reason(table: str) -> str | None:
    """Why nothing of a table may be published now, or None: the kill switch.

    It is an Airflow variable, `deep_store_sync_stop` for all tables or `deep_store_sync_stop__<table with type>` for
    one. Any value but an empty one, `0`, `false`, `no` or `off` stops; the value is shown, so it can say why.
    """
    for name in (STOP_VARIABLE, f"{STOP_VARIABLE}__{table}"):
        value = str(Variable.get(name, default="") or "").strip()
        if value.lower() not in ("", "0", "false", "no", "off"):
            return f"the Airflow variable {name} is set to {value!r}; delete it to go on"
    return None


@contextmanager
def log_group(title: str) -> Iterator[None]:
    """Folds what is logged inside, in Airflow's log view."""
    log.info("::group::%s", title)
    try:
        yield
    finally:
        log.info("::endgroup::")
