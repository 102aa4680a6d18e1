"""A simulated controller: it answers about tables of up to millions of segments that nobody has.

Only the answers are real, in their format (Pinot 1.5.1): the reads of the planning step. It makes them up as it sends
them, so that it stays small whatever the table is. It can also fail in the ways of a controller with a large table. On
the same port it answers as an S3 store would that is asked to list the segments.

As a process: `python -m tests.benchmarks.simulated_controller '{"segments": 1000}'` prints its port, and ends with its
standard input.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from deep_store_sync.stamp import stamp_map

TABLE = "events"
START_MS = 1_704_067_200_000
HOUR_MS = 3_600_000
SEGMENT_BYTES = 64 * 1024**2
REASON = "inverted index changed on unsorted column: user_id"
_AT_ONCE = 2_000


@dataclass(frozen=True)
class Scenario:
    """The table, and how the controller fails.

    `stale` and `stamped` are shares of the segments: the first ones are called stale by every server that has them, the
    last ones carry a stamp of the hash `stamp`. `silent` servers are left out of isStale, of `invalid` ones the answer
    could not be parsed. `fault` is about isStale: it hangs (`timeout`), or the answer ends in the middle (`cut`). With
    `metadata_fault` the metadata's ends in the middle: without its last chunk (`cut`), or as if it were whole
    (`short`).
    """

    segments: int
    kind: str = "OFFLINE"
    servers: int = 30
    replicas: int = 3
    stale: float = 0.0
    stamped: float = 0.0
    stamp: str = "v1:" + "0" * 64
    silent: int = 0
    invalid: int = 0
    fault: str = ""
    metadata_fault: str = ""
    quota: str = ""
    folder: str = f"s3://deep/store/{TABLE}"

    @property
    def table(self) -> str:
        return f"{TABLE}_{self.kind}"

    def name(self, number: int) -> str:
        return f"{TABLE}_{START_MS + number // 24 * HOUR_MS}_{number:07d}"

    def server(self, number: int) -> str:
        return f"Server_pinot-server-{number}.pinot-server-headless.pinot.svc.cluster.local_8098"

    def hosts(self, number: int) -> list[int]:
        """A segment's servers: neighbours, which makes as many sets as there are servers."""
        return sorted((number * 7 + replica) % self.servers for replica in range(self.replicas))

    def of_server(self, server: int) -> list[str]:
        """The segments of a server."""
        here = [number for number in range(self.servers) if server in self.hosts(number)]
        numbers = (first + number for first in range(0, self.segments, self.servers) for number in here)
        return [self.name(number) for number in numbers if number < self.segments]

    def table_config(self) -> dict[str, Any]:
        return {
            "tableName": self.table,
            "tableType": self.kind,
            "segmentsConfig": {"timeColumnName": "ts", "replication": str(self.replicas), "timeType": "MILLISECONDS"},
            "tenants": {"broker": "DefaultTenant", "server": "DefaultTenant"},
            "tableIndexConfig": {"invertedIndexColumns": ["user_id"], "loadMode": "MMAP"},
            "metadata": {},
            **({"quota": {"storage": self.quota}} if self.quota else {}),
        }

    def schema(self) -> dict[str, Any]:
        return {
            "schemaName": TABLE,
            "dimensionFieldSpecs": [{"name": "user_id", "dataType": "LONG"}],
            "dateTimeFieldSpecs": [
                {"name": "ts", "dataType": "LONG", "format": "EPOCH|MILLISECONDS", "granularity": "1:MILLISECONDS"}
            ],
        }

    # --- long answers, in pieces -------------------------------------------------------------------------------------

    def metadata(self) -> Iterator[str]:
        """`Map<String, Map<String, String>>` (`PinotSegmentRestletResource.getZookeeperMetadata`)."""
        return _object(f'"{self.name(number)}":{self.fields(number)}' for number in range(self.segments))

    def view(self, state: str = "ONLINE") -> Iterator[str]:
        """`TableViews.TableView`."""
        maps = [
            json.dumps({self.server(server): state for server in self.hosts(number)}, separators=(",", ":"))
            for number in range(self.servers)
        ]
        other = "REALTIME" if self.kind == "OFFLINE" else "OFFLINE"
        yield f'{{"OFFLINE":null,"{self.kind}":' if other == "OFFLINE" else f'{{"{self.kind}":'
        yield from _object(f'"{self.name(number)}":{maps[number % self.servers]}' for number in range(self.segments))
        yield ',"REALTIME":null}' if other == "REALTIME" else "}"

    def stale_answer(self) -> Iterator[str]:
        """`Map<String, TableStaleSegmentResponse>`."""
        by_set: list[list[int]] = [[] for _ in range(self.servers)]
        for number in range(self.servers):
            for server in self.hosts(number):
                by_set[server].append(number)
        stale = int(self.segments * self.stale)
        yield "{"
        for server in range(self.silent, self.servers):
            yield ("," if server > self.silent else "") + f'"{self.server(server)}":{{"staleSegmentList":'
            if server < self.silent + self.invalid:
                yield 'null,"validResponse":false,"errorMessage":"Unexpected end-of-input"}'
                continue
            entries = (
                f'{{"segmentName":"{self.name(number)}","reason":"{REASON}"}}'
                for first in range(0, stale, self.servers)
                for number in (first + offset for offset in by_set[server])
                if number < stale
            )
            yield from _listed(entries)
            yield ',"validResponse":true,"errorMessage":null}'
        yield "}"

    # --- the store ---------------------------------------------------------------------------------------------------

    def listing(self, query: dict[str, list[str]]) -> bytes:
        """A page of S3's ListObjectsV2."""
        after = query.get("continuation-token", query.get("start-after", [""]))[0]
        first = int(after.rpartition("_")[2]) + 1 if after else 0
        last = min(first + 1000, self.segments)
        prefix = self.folder.partition("://")[2].partition("/")[2]
        entries = "".join(
            f"<Contents><Key>{prefix}/{self.name(number)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&#34;{self.etag(number)}&#34;</ETag><Size>{SEGMENT_BYTES}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for number in range(first, last)
        )
        more = f"<NextContinuationToken>_{last - 1}</NextContinuationToken>" if last < self.segments else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>deep</Name>'
            f"<KeyCount>{last - first}</KeyCount><MaxKeys>1000</MaxKeys>"
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{more}{entries}</ListBucketResult>"
        ).encode()

    def fields(self, number: int) -> str:
        start = START_MS + number // 24 * HOUR_MS
        end = start + HOUR_MS - 1
        partition = (
            '{\\"columnPartitionMap\\":{\\"user_id\\":{\\"functionName\\":\\"Murmur\\",\\"numPartitions\\":24,'
            f'\\"partitions\\":[{number % 24}],\\"functionConfig\\":null}}}}}}'
        )
        custom = json.dumps(json.dumps(self._custom(number), separators=(",", ":")))
        return (
            f'{{"segment.crc":"{self.crc(number)}","segment.creation.time":"{end + 1000}",'
            f'"segment.data.crc":"{number * 40503 % 4294967291}","segment.download.url":"{self.folder}/'
            f'{self.name(number)}","segment.end.time":"{end}","segment.end.time.raw":"{end}",'
            f'"segment.index.version":"v3","segment.partition.metadata":"{partition}",'
            f'"segment.push.time":"{end + 60000}","segment.refresh.time":"{end + 90000}",'
            f'"segment.size.in.bytes":"{SEGMENT_BYTES + number % 1000}","segment.start.time":"{start}",'
            f'"segment.start.time.raw":"{start}","segment.time.unit":"MILLISECONDS",'
            f'"segment.total.docs":"{5_000_000 + number % 1000}","custom.map":{custom}}}'
        )

    def _custom(self, number: int) -> dict[str, str]:
        common = {"input.data.file.uri": f"s3://lake/events/part-{number:07d}.parquet"}
        if number < self.segments * (1 - self.stamped):
            return common
        at = "2026-01-01T00:00:00Z"
        return common | stamp_map(self.stamp, self.crc(number), self.etag(number), run_id="scheduled__1", at=at)

    def crc(self, number: int) -> int:
        return number * 2654435761 % 4294967291

    def etag(self, number: int) -> str:
        return f"{number:032x}"


class SimulatedController:
    """The controller, on a port of its own, in threads of this process."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.calls: Counter[str] = Counter()
        self.hanging = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(scenario, self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="simulated-controller")
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stale(self) -> Iterator[str]:
        return self._scenario.stale_answer()

    def small(self, path: str, query: dict[str, list[str]]) -> Any:
        """A short answer to a call that is none of planning; None where there is no such call."""
        return None

    def push(self, headers: Any, body: bytes) -> dict[str, str]:
        raise NotImplementedError

    def close(self) -> None:
        self.hanging.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def simulated(scenario: Scenario) -> Iterator[SimulatedController]:
    controller = SimulatedController(scenario)
    try:
        yield controller
    finally:
        controller.close()


def _handler(scenario: Scenario, owner: SimulatedController) -> type[BaseHTTPRequestHandler]:
    table = scenario.table

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path == "/simulated/calls":
                self._json(owner.calls)
                return
            if "list-type=2" in self.path:
                self._send(scenario.listing(parse_qs(urlsplit(self.path).query)), kind="application/xml")
                return
            owner.calls[path] += 1
            if (answer := owner.small(path, parse_qs(urlsplit(self.path).query))) is not None:
                self._json(answer)
            elif path == f"/tables/{TABLE}":
                self._json({scenario.kind: scenario.table_config()})
            elif path == f"/tables/{TABLE}/schema":
                self._json(scenario.schema())
            elif path == f"/segments/{TABLE}/zkmetadata":
                self._stream(scenario.metadata(), scenario.metadata_fault)
            elif path in (f"/tables/{TABLE}/idealstate", f"/tables/{TABLE}/externalview"):
                self._stream(scenario.view())
            elif path == f"/segments/{table}/isStale":
                if scenario.fault == "timeout":
                    owner.hanging.wait()
                self._stream(owner.stale(), scenario.fault)
            elif path == f"/segments/{TABLE}/lineage":
                self._send(b"")
            elif path == f"/segments/{table}/needReload":
                self._json({"needReload": False, "serverToSegmentsCheckReloadList": {}})
            elif path == "/version":
                self._json({"pinot-controller": "1.5.1-simulated"})
            else:
                self._json({"code": 404, "error": "HTTP 404 Not Found"}, 404)

        def do_POST(self) -> None:
            owner.calls[urlsplit(self.path).path] += 1
            self._json(owner.push(self.headers, self.rfile.read(int(self.headers["Content-Length"]))))

        def _json(self, body: Any, status: int = 200) -> None:
            self._send(json.dumps(body).encode(), status)

        def _send(self, body: bytes, status: int = 200, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, pieces: Iterator[str], fault: str = "") -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            last = b""
            for piece in pieces:
                self._chunk(last)
                last = piece.encode()
            if not fault:
                self._chunk(last)
            if fault == "cut":
                self._chunk(last[: len(last) // 2])
                self.close_connection = True
                return
            if fault == "short":
                self._chunk(last[: len(last) // 2])
            self.wfile.write(b"0\r\n\r\n")

        def _chunk(self, piece: bytes) -> None:
            if piece:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _object(members: Iterator[str]) -> Iterator[str]:
    return _enclosed("{", members, "}")


def _listed(items: Iterator[str]) -> Iterator[str]:
    return _enclosed("[", items, "]")


def _enclosed(opening: str, items: Iterator[str], closing: str) -> Iterator[str]:
    """The items in some thousands at a time."""
    some: list[str] = []
    text = opening
    for item in items:
        some.append(item)
        if len(some) == _AT_ONCE:
            yield text + ",".join(some)
            text, some = ",", []
    if text == "," and not some:
        yield closing
    else:
        yield text + ",".join(some) + closing


def main() -> None:
    with simulated(Scenario(**json.loads(sys.argv[1]))) as controller:
        print(controller.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
