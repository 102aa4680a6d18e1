"""Links on the page of a task, to where its table is looked at."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

from deep_store_sync.errors import ConfigError
from deep_store_sync.store.object_url import parse_url
from deep_store_sync_airflow.names import PAGE_ROUTE
from deep_store_sync_airflow.services import controller_hook

_CONSOLES = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}


class PinotLink(BaseOperatorLink):
    """Pinot's own page of the table: below the address of the controller, as the connection has it."""

    name = "Pinot"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The page's address; none where the connection is wrong, which the task itself says."""
        try:
            address = controller_hook(operator.settings).address()
        except ConfigError:
            return ""
        return f"{address}/#/tenants/table/{quote(operator.settings.table)}"


class PageLink(BaseOperatorLink):
    """How the table stands, on the tab of its DAG."""

    name = "Deep store sync"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The tab's address: below that of Airflow's UI, as its own links in mails and logs."""
        base_url = conf.get("api", "base_url", fallback="") or "http://localhost:8080"
        return f"{base_url.rstrip('/')}/dags/{operator.dag_id}/plugin/{PAGE_ROUTE}"


class ReportLink(BaseOperatorLink):
    """The run's report, on the object's page in the console of AWS. A store that is not AWS's has no such page."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The page's address; none where there is no report."""
        return console_page(operator.report_url, operator.settings.aws_connection) if operator.report_url else ""


def console_page(url: str, aws_connection: str) -> str:
    """The page of an object in the console of AWS, empty where the connection leads to another store."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    client: Any = S3Hook(aws_conn_id=aws_connection).get_client_type()
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    if not host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return ""
    console = _CONSOLES.get(client.meta.partition)
    bucket, key = parse_url(url)
    return f"https://{console}/s3/object/{bucket}?prefix={quote(key)}" if console else ""
