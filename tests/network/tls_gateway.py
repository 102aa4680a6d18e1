"""A gateway in front of a controller, as companies have them: TLS, a client certificate, and who may do what.

`python -m tests.network.tls_gateway` reads its configuration as a line of JSON from standard input, writes its port as
a line to standard output, and ends with its input. `accepted` are values of the header Authorization that are let
through, `limited` those that are known and may do nothing.
"""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.network.certificates import Certificates

_OF_THE_CONNECTION = {"connection", "host", "transfer-encoding", "content-length"}


@contextmanager
def tls_gateway(
    upstream: str, certificates: Certificates, *, accepted: Collection[str], limited: Collection[str] = ()
) -> Iterator[int]:
    """A gateway in a process of its own, on the port that is given."""
    configuration = {
        "upstream": upstream,
        "ca": str(certificates.ca),
        "certificate": [str(path) for path in certificates.server],
        "accepted": list(accepted),
        "limited": list(limited),
    }
    command = [sys.executable, "-m", "tests.network.tls_gateway"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(configuration) + "\n")
        process.stdin.flush()
        yield int(process.stdout.readline())
        process.stdin.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, configuration: dict[str, object]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.configuration = configuration
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(configuration["ca"]))
        certificate, key = configuration["certificate"]  # type: ignore[misc]
        context.load_cert_chain(certificate, key)
        context.verify_mode = ssl.CERT_REQUIRED
        # With TLS 1.3, a client hears of a refused certificate only after it has asked: or not at all, where the
        # connection is reset before it reads. With 1.2 it hears in the handshake.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is refused, or refuses, is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def log_message(self, *args: object) -> None:
        pass

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        given, configuration = self.headers.get("Authorization"), self.server.configuration
        if given in configuration["limited"]:  # type: ignore[operator]
            self._answer(403, b'{"code": 403, "error": "Permission is denied"}', [("Content-Type", "application/json")])
            return
        if given not in configuration["accepted"]:  # type: ignore[operator]
            self._answer(
                401, b'{"code": 401, "error": "HTTP 401 Unauthorized"}', [("Content-Type", "application/json")]
            )
            return
        upstream = http.client.HTTPConnection(urlsplit(str(configuration["upstream"])).netloc)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_THE_CONNECTION}
        try:
            upstream.request(self.command, self.path, body or None, headers)
            answer = upstream.getresponse()
            self._answer(answer.status, answer.read(), answer.getheaders())
        finally:
            upstream.close()

    def _answer(self, status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _OF_THE_CONNECTION:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serves until the input ends."""
    server = _Server(json.loads(sys.stdin.readline()))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
