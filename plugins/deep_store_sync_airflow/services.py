"""From Airflow's connections to the core's services, and from the core's errors to Airflow's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from deep_store_sync.errors import ConfigError, DeepStoreSyncError
from deep_store_sync.quoting import quoted_error
from deep_store_sync.settings import TableSync
from deep_store_sync_airflow.hooks.pinot_controller import PinotControllerHook

if TYPE_CHECKING:
    from botocore.config import Config

    from deep_store_sync.services import Services
    from deep_store_sync.store.deep_store import DeepStore

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
    from deep_store_sync.services import Services

    hook = controller_hook(settings)
    with ExitStack() as stack:
        controller = stack.enter_context(hook.get_conn())
        servers = stack.enter_context(hook.get_server_client())
        store = stack.enter_context(open_store(settings))
        yield Services(controller=controller, servers=servers, store=store, settings=settings)


@contextmanager
def open_store(settings: TableSync, limits: Config | None = None) -> Iterator[DeepStore]:
    """The store of a table alone, by the Airflow connection that the table names, closed at the end.

    What the connection's `config_kwargs` say goes before what the table says, and `limits` before both.

    Raises:
        ConfigError: the connection is wrong.
        DeepStoreError: it gives no credentials: a role that must not be assumed, a profile that is not there.
    """
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from deep_store_sync.store.client_config import client_config
    from deep_store_sync.store.deep_store import DeepStore
    from deep_store_sync.store.store_errors import translated

    connection = settings.aws_connection
    with translated("credentials of the connection", connection):
        try:
            config = client_config(settings.store_timeout.total_seconds()).merge(S3Hook(aws_conn_id=connection).config)
            # By a hook with this configuration, which counts for the assuming of a role as well.
            client = S3Hook(aws_conn_id=connection, config=config.merge(limits) if limits else config).get_client_type()
        except (ValueError, TypeError, NotImplementedError, AirflowException) as error:
            # An endpoint that is no URL, a region that is none, what botocore does not know, an extra that is no JSON.
            raise ConfigError(f"connection {connection}: {quoted_error(error)}; correct its extra") from error
    with closing(client):
        yield DeepStore(client)


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
