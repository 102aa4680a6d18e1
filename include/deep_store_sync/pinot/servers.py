"""The REST API of Pinot's servers, on their admin port: only a server itself knows what it has loaded."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from types import TracebackType

import httpx

from deep_store_sync.errors import PinotNotFoundError
from deep_store_sync.pinot.http import Certificate, Http, part


class ServerClient:
    """Asks segment servers what they hold. One client serves all of a cluster, and several threads."""

    def __init__(
        self,
        *,
        auth: httpx.Auth | None = None,
        headers: Mapping[str, str] | None = None,
        verify: bool | str | ssl.SSLContext = True,
        cert: Certificate | None = None,
        timeout_s: float = 30,
        retries: int = 2,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = Http(
            "server",
            auth=auth,
            headers=headers,
            verify=verify,
            cert=cert,
            timeout_s=timeout_s,
            retries=retries,
            transport=transport,
            sleep=sleep,
        )

    def __enter__(self) -> ServerClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def segment_crcs(self, admin_url: str, table: str) -> dict[str, int]:
        """The CRC of every segment that a server has loaded (Pinot 1.5.1, `TablesResource.getCrcMetadataForTable`).

        `admin_url` is the server's, as `ControllerClient.instance_admin_url` gives it. Consuming segments have no CRC
        and are left out; a server that has nothing of the table gives an empty answer.

        Raises:
            PinotUnavailableError: the server cannot be reached from here, or fails.
            PinotError: it answers something else.
        """
        url = f"{admin_url.rstrip('/')}/tables/{part(table)}/segments/crc"
        try:
            body = self._http.get(url)
        except PinotNotFoundError:
            return {}
        if not isinstance(body, dict):
            raise self._http.unexpected(self._http.describe("GET", url), "an object of segment and CRC", body)
        return {segment: int(crc) for segment, crc in body.items() if _is_crc(crc)}


def _is_crc(value: object) -> bool:
    return isinstance(value, str | int) and str(value).isdecimal()
