"""A controller that says what a test wants it to say."""

from __future__ import annotations

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeController:
    """An HTTP server that answers as it is told (path to status and JSON), where a real one cannot be made to."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, tuple[int, Any]] = {
            "/version": (200, {"pinot-controller": "1.5.1-abc"}),
            "/tables/flights/stats": (200, {"OFFLINE": {"creationTime": "19700101T000000Z"}}),
            "/segments/flights/lineage": (200, {}),
            "/tasks/tasktypes": (200, []),
            "/rebalances of flights": (200, {}),
        }
        self.requests: list[tuple[str, dict[str, str]]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                if "jobTypes=TABLE_REBALANCE" in query:
                    path = "/rebalances of flights"
                if path == "/tables":
                    path = f"/tables of {query.partition('type=')[2].upper()}"
                fake.requests.append((path, {name.lower(): value for name, value in self.headers.items()}))
                status, body = fake.answers.get(path, (404, {"code": 404, "error": f"no {path}"}))
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that refuses the certificate
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the last request."""
        return self.requests[-1][1]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
