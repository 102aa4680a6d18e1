"""How boto3 clients for the store are configured: how long they wait."""

from __future__ import annotations

from botocore.config import Config

_CONNECT_S = 10.0


def client_config(timeout_s: float) -> Config:
    """The configuration for a store that may be silent for so many seconds within a call.

    How often a call is tried again is botocore's business: `AWS_MAX_ATTEMPTS` and `AWS_RETRY_MODE`, or the Airflow
    connection's `config_kwargs`.
    """
    return Config(connect_timeout=min(timeout_s, _CONNECT_S), read_timeout=timeout_s, tcp_keepalive=True)
