"""A simulated cluster: the simulated controller, with what publishing asks of it, and its servers' admin ports.

Nothing is stored: a push changes what controller and servers answer about its segment, and no more. With a storage
quota in the scenario, a push sizes all segments on all servers, as Pinot's does: the answers are made up and counted.

As a process: `python -m tests.benchmarks.simulated_cluster '{"segments": 1000}'`, see the simulated controller.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from tests.benchmarks.simulated_controller import SEGMENT_BYTES, TABLE, Scenario, SimulatedController


class SimulatedCluster(SimulatedController):
    """Controller and servers, each on a port of its own, in threads of this process.

    `slow_s` is how long isStale takes. `pushes` are the CRCs that were pushed, by segment; `sizes` counts what pushes
    had servers size: calls to servers, segments, and bytes of their answers.
    """

    def __init__(self, scenario: Scenario, *, slow_s: float = 0.0) -> None:
        self.scenario = scenario
        self.slow_s = slow_s
        self.pushes: dict[str, int] = {}
        self.customs: dict[str, dict[str, str]] = {}
        self.sizes = {"calls": 0, "segments": 0, "bytes": 0}
        self.pushing = self.most_pushing = 0
        self._served: dict[int, bytes] = {}
        self._lock = threading.Lock()
        self._admins = [
            ThreadingHTTPServer(("127.0.0.1", 0), _admin(self, number)) for number in range(scenario.servers)
        ]
        for admin in self._admins:
            admin.daemon_threads = True
            threading.Thread(target=admin.serve_forever, name="simulated-server", daemon=True).start()
        super().__init__(scenario)

    def close(self) -> None:
        super().close()
        for admin in self._admins:
            admin.shutdown()
            admin.server_close()

    def stale(self) -> Iterator[str]:
        time.sleep(self.slow_s)
        return self.scenario.stale_answer()

    def small(self, path: str, query: dict[str, list[str]]) -> Any:
        """The short answers of a controller with nothing at work on it; None where it knows no such call."""
        scenario, parts = self.scenario, path.strip("/").split("/")
        names = query.get("segmentNames", [""])[0]
        if path == f"/tables/{TABLE}/idealstate" and names:
            hosts = {name: scenario.hosts(_number(name)) for name in names.split(",")}
            view = {name: {scenario.server(of): "ONLINE" for of in on} for name, on in hosts.items()}
            return {"OFFLINE": None, "REALTIME": None, scenario.kind: view}
        if path == f"/tables/{TABLE}/stats":
            return {scenario.kind: {"creationTime": "20240101T000000Z"}}
        if path == f"/table/{TABLE}/jobs":
            return {}
        if path == "/tasks/tasktypes":
            return []
        if parts[0] == "instances":
            number = int(parts[1].partition("server-")[2].partition(".")[0])
            return {"hostName": "127.0.0.1", "adminPort": self._admins[number].server_address[1]}
        if parts[0] == "segments" and parts[-1] == "metadata" and len(parts) == 4:
            return self.record(unquote(parts[2]))
        if path == "/simulated/sizes":
            return self.sizes
        return None

    def record(self, name: str) -> dict[str, str]:
        fields: dict[str, str] = json.loads(self.scenario.fields(_number(name)))
        if name in self.pushes:
            fields["segment.crc"] = str(self.pushes[name])
            fields["custom.map"] = json.dumps(json.loads(fields["custom.map"]) | self.customs[name])
        return fields

    def push(self, headers: Any, body: bytes) -> dict[str, str]:
        """`POST /v2/segments`: its answer."""
        with self._lock:
            self.pushing += 1
            self.most_pushing = max(self.most_pushing, self.pushing)
        packed = body[body.index(b"\x1f\x8b") :]
        with tarfile.open(fileobj=io.BytesIO(zlib.decompressobj(31).decompress(packed))) as tar:
            member = next(member for member in tar.getmembers() if member.name.endswith("creation.meta"))
            content = tar.extractfile(member)
            assert content
            crc, name = int.from_bytes(content.read(8), "big"), member.name.partition("/")[0]
        if self.scenario.quota:
            for server in range(self.scenario.servers):
                self._size(server)
        with self._lock:
            self.pushing -= 1
            self._loaded(name, crc)
            modifier = json.loads(headers["Pinot-SegmentZKMetadataCustomMapModifier"])
            self.customs[name] = self.customs.get(name, {}) | modifier["map"]
        return {"status": "Successfully uploaded segment"}

    def _size(self, server: int) -> None:
        """`TableSizeInfo` of one server: what the controller reads of each for a push."""
        segments = self.scenario.of_server(server)
        size = sum(len(f'{{"segmentName":"{name}","diskSizeInBytes":{SEGMENT_BYTES}}},') for name in segments)
        with self._lock:
            self.sizes["calls"] += 1
            self.sizes["segments"] += len(segments)
            self.sizes["bytes"] += size

    def _loaded(self, name: str, crc: int) -> None:
        """The servers have a segment with another CRC at once."""
        before = self.pushes.get(name, self.scenario.crc(_number(name)))
        self.pushes[name] = crc
        for server in self.scenario.hosts(_number(name)):
            known, told = (f'"{name}":"{of}"'.encode() for of in (before, crc))
            self._served[server] = self.crcs(server).replace(known, told)

    def crcs(self, server: int) -> bytes:
        """A server's `GET /tables/{tableNameWithType}/segments/crc`."""
        if server not in self._served:
            names, crc = self.scenario.of_server(server), self.scenario.crc
            told = ",".join(f'"{name}":"{crc(_number(name))}"' for name in names)
            self._served[server] = f"{{{told}}}".encode()
        return self._served[server]


@contextmanager
def simulated_cluster(scenario: Scenario, *, slow_s: float = 0.0) -> Iterator[SimulatedCluster]:
    cluster = SimulatedCluster(scenario, slow_s=slow_s)
    try:
        yield cluster
    finally:
        cluster.close()


def _number(name: str) -> int:
    return int(name.rpartition("_")[2])


def _admin(cluster: SimulatedCluster, number: int) -> type[BaseHTTPRequestHandler]:
    class Admin(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = cluster.crcs(number)
            cluster.calls[self.path] += 1
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Admin


def main() -> None:
    with simulated_cluster(Scenario(**json.loads(sys.argv[1]))) as cluster:
        print(cluster.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
