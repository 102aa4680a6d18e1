"""What Airflow learns of this package as a provider: the connection type, with its form."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any


def _text(label: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": ["string", "null"], **schema}}


def get_provider_info() -> dict[str, Any]:
    """The entry point `apache_airflow_provider`."""
    package = "deep_store_sync_airflow"
    return {
        "package-name": "pinot-deep-store-sync",
        "name": "Pinot deep store sync",
        "description": "Keeps the deep store of Apache Pinot tables in sync with their config and schema.",
        "versions": [version("pinot-deep-store-sync")],
        "integrations": [
            {
                "integration-name": "Apache Pinot",
                "external-doc-url": "https://docs.pinot.apache.org/",
                "tags": ["apache"],
            }
        ],
        "hooks": [{"integration-name": "Apache Pinot", "python-modules": [f"{package}.hooks.pinot_controller"]}],
        "operators": [
            {
                "integration-name": "Apache Pinot",
                "python-modules": [
                    f"{package}.operators.{module}"
                    for module in (
                        "find_stale_segments",
                        "rebuild_segment",
                        "upload_and_refresh",
                        "stamp_hash",
                        "report",
                        "list_tables",
                    )
                ],
            }
        ],
        "sensors": [
            {"integration-name": "Apache Pinot", "python-modules": [f"{package}.sensors.no_active_server_reload"]}
        ],
        "triggers": [
            {"integration-name": "Apache Pinot", "python-modules": [f"{package}.triggers.no_active_server_reload"]}
        ],
        "connection-types": [
            {
                "connection-type": "pinot_controller",
                "hook-class-name": f"{package}.hooks.pinot_controller.PinotControllerHook",
                "hook-name": "Pinot Controller",
                "ui-field-behaviour": {
                    "hidden-fields": [],
                    "relabeling": {"schema": "Scheme", "login": "User"},
                    "placeholders": {
                        "host": "pinot-controller.example.com",
                        "port": "9000",
                        "schema": "http or https",
                    },
                },
                "conn-fields": {
                    "token": _text("Bearer token", "Instead of user and password.", format="password"),
                    "database": _text(
                        "Database", "Pinot database of the tables, sent as a header. Empty: the default one."
                    ),
                    "verify": _text(
                        "Trusted CA", "Path of a CA file or folder. Empty: the system's CAs. 'false': trust anybody."
                    ),
                    "client_cert": _text("Client certificate", "Path of a PEM file, for mutual TLS."),
                    "client_key": _text("Client key", "Path of the certificate's key, where it is a file of its own."),
                },
            }
        ],
    }
