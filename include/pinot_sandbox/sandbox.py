"""A real Pinot cluster with an S3 deep store on this machine, to be started, used and thrown away."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

from pinot_sandbox import flights
from pinot_sandbox.errors import SandboxError
from pinot_sandbox.gateway import GatewayKind, GatewayProcess, S3Gateway, choose_gateway
from pinot_sandbox.jvm import ClusterProcess, PortTakenError
from pinot_sandbox.toolchain import Progress, ensure_classes, ensure_jars, pinot_version

if TYPE_CHECKING:
    from pinot_sandbox.controller import Controller

_START_ATTEMPTS: Final = 3
_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Downloads:
    """What a server fetched of one segment from the deep store."""

    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ServerStart:
    """How a server came up."""

    seconds: float
    """Until all its segments were ONLINE."""
    load_ms: dict[str, int]
    """By segment: downloading, where it had to, and loading, with what had to be built for it."""


class Sandbox:
    """ZooKeeper, Pinot's controller and servers over pinot-core's table data managers in one JVM, and an S3 gateway.

    Everything listens on 127.0.0.1, and ends when the sandbox is closed or this process ends, even by SIGKILL.
    """

    def __init__(
        self,
        root: Path,
        jars_dir: Path,
        gateway: GatewayProcess,
        cluster: ClusterProcess,
        controller: Controller,
        *,
        own_root: bool,
    ) -> None:
        self.root: Final = root
        self.jars_dir: Final = jars_dir
        self.s3: Final[S3Gateway] = gateway.s3
        self.controller_url: Final[str] = cluster.description["controllerUrl"]
        self.servers: Final[tuple[str, ...]] = tuple(cluster.description["servers"])
        self.deep_store_url: Final = _deep_store_url(gateway.s3)
        self._gateway = gateway
        self._cluster = cluster
        self._controller = controller
        self._own_root = own_root

    @classmethod
    def start(
        cls,
        root: Path | None = None,
        *,
        s3: Literal["auto"] | GatewayKind = "auto",
        servers: int = 2,
        progress: Progress | None = None,
    ) -> Sandbox:
        """Starts a cluster, fetching and building what it is made of the first time.

        Args:
            root: A folder for its files, empty or not there yet. Without it: a temporary one, removed in the end.
            s3: The gateway: ``auto`` is versitygw where it can be had, else moto.
            servers: How many segment servers.
            progress: Told, line by line, what is being done.

        Raises:
            SandboxError: A tool is missing or failed; with what to do.
        """
        from pinot_sandbox.controller import Controller

        tell = progress or _say_nothing
        if root and root.exists() and any(root.iterdir()):
            raise SandboxError(f"{root} is not empty: the sandbox needs a folder of its own.")
        jars = ensure_jars(tell)
        classes = ensure_classes(jars, tell)
        kind, binary = choose_gateway(s3, tell)
        own_root = root is None
        home = Path(tempfile.mkdtemp(prefix="pinot-sandbox-")) if root is None else root.absolute()
        with contextlib.ExitStack() as undo:
            if own_root:
                undo.callback(shutil.rmtree, home, ignore_errors=True)
            (home / "logs").mkdir(parents=True, exist_ok=True)
            gateway = GatewayProcess(kind, binary, home)
            undo.callback(gateway.close)
            gateway.s3.client().create_bucket(Bucket=gateway.s3.bucket)
            tell(f"starting ZooKeeper, Pinot {pinot_version()}'s controller and {servers} servers")
            cluster = _start_cluster(jars, classes, home, gateway.s3, servers, own_root=own_root)
            undo.callback(cluster.close)
            sandbox = cls(
                home, jars, gateway, cluster, Controller(cluster.description["controllerUrl"]), own_root=own_root
            )
            undo.pop_all()
        tell(f"the controller is at {sandbox.controller_url}")
        return sandbox

    def close(self) -> None:
        """Ends everything. A temporary folder is removed, one that was given stays."""
        self._controller.close()
        self._cluster.close()
        self._gateway.close()
        if self._own_root:
            shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- tables --------------------------------------------------------------------------------------------------

    def create_table(self, table_config: dict[str, Any], schema: dict[str, Any]) -> None:
        """Adds a schema and a table."""
        self._controller.add_schema(schema)
        self._controller.add_table(table_config)

    def update_table_config(self, table_config: dict[str, Any]) -> None:
        """Replaces a table's config. Servers do not reload by themselves."""
        self._controller.put_table(table_config)

    def update_schema(self, schema: dict[str, Any], *, force: bool = False) -> None:
        """Replaces a schema. Servers do not reload by themselves.

        Args:
            schema: The new one.
            force: Also where it is backward incompatible: a column dropped, or of another type.
        """
        self._controller.put_schema(schema, force=force)

    def table_config(self, table: str) -> dict[str, Any]:
        """The config of a table with type, as the controller has it."""
        return self._controller.table(table)

    def schema(self, table: str) -> dict[str, Any]:
        """The schema of a table with type, as the controller has it."""
        return self._controller.schema_of(table)

    def drop_table(self, table: str) -> None:
        """Deletes a table with type, its segments and its schema, and waits until nothing of it is left."""
        self._controller.drop_table(table)
        self._cluster.request("awaitTableGone", table=table)

    # --- streams -------------------------------------------------------------------------------------------------

    def create_stream(self, name: str, partitions: int = 1) -> dict[str, str]:
        """Makes a stream in the cluster's memory: partitions that rows are appended to, and that nothing is lost from.

        Args:
            name: Of the stream; there must be none of this name yet.
            partitions: How many. A table over a stream without any only has what is uploaded to it.

        Returns:
            The `streamConfigs` of a REALTIME table that consumes it from its beginning and commits only when asked to.
        """
        self._cluster.request("createStream", name=name, partitions=partitions)
        return {
            "streamType": "memory",
            "stream.memory.topic.name": name,
            "stream.memory.consumer.factory.class.name": "sandbox.MemoryStreamFactory",
            "stream.memory.decoder.class.name": "sandbox.JsonMessageDecoder",
            "stream.memory.consumer.prop.auto.offset.reset": "smallest",
            "realtime.segment.flush.threshold.rows": "100000",
            "realtime.segment.flush.threshold.time": "1d",
        }

    def produce(self, stream: str, rows: Iterable[Mapping[str, Any]], *, partition: int = 0) -> None:
        """Appends rows, column to value, to a partition of a stream."""
        self._cluster.request("produce", stream=stream, partition=partition, rows=list(rows))

    def wait_until_consumed(self, table: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        """Waits until the consuming segments of a table with type have read all that the stream has, on every server.

        Raises:
            SandboxError: The time is over.
        """
        self._cluster.request("awaitConsumed", table=table, timeoutMs=int(timeout_s * 1000), timeout_s=timeout_s + 60)

    def commit(self, table: str, *, timeout_s: float = _TIMEOUT_S) -> list[str]:
        """Has the consuming segments of a table with type read all there is, commits them, and waits until they are.

        Servers that are stopped are not waited for.

        Returns:
            The names of the segments that were committed, those without a row included.

        Raises:
            SandboxError: The time is over.
        """
        running = [server for server, facts in self._servers().items() if facts["running"]]
        self._controller.wait_until_loaded(table, timeout_s, running)  # else not all of them would be told
        self.wait_until_consumed(table, timeout_s=timeout_s)
        segments = self._controller.force_commit(table)
        self._controller.wait_until_committed(table, segments, timeout_s, running)
        return segments

    def wait_until_committed(self, table: str, segments: Collection[str], *, timeout_s: float = _TIMEOUT_S) -> None:
        """Waits until segments of a table with type are in the deep store, and what comes after them is consuming.

        Raises:
            SandboxError: A server could not load one, or the time is over.
        """
        self._controller.wait_until_committed(table, segments, timeout_s)

    # --- segments ------------------------------------------------------------------------------------------------

    def build_segments(
        self,
        segments: Mapping[str, Iterable[Mapping[str, Any]]],
        *,
        table_config: dict[str, Any],
        schema: dict[str, Any],
        out_dir: Path | None = None,
    ) -> list[Path]:
        """Builds segments with Pinot's own segment library, as an ingestion job does.

        Args:
            segments: By segment name, its rows: column to value. A column that a row does not have is null.
            table_config: The table's config.
            schema: Its schema.
            out_dir: Where the archives go; without it, into a folder below the root.

        Returns:
            The archives, gzipped tars, in the order given.
        """
        out = out_dir or self.root / "segments" / uuid.uuid4().hex
        out.mkdir(parents=True, exist_ok=True)
        archives = []
        for name, rows in segments.items():
            lines = out / f"{name}.jsonl"
            with lines.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            archives.append(self._build(name, lines, table_config, schema, out))
        return archives

    def push_segment(self, table: str, archive: Path) -> None:
        """Uploads a segment of a table with type. It is stored as ``<deep_store_url>/<raw table>/<segment>``."""
        self._controller.push(table, archive)

    def load_flights(
        self, *, months: Collection[int] = range(1, 13), table_config_overrides: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Makes the sample table `flights_OFFLINE`, one segment a month, and waits until it is loaded.

        Built segments are kept in the cache, with the time of their creation.

        Args:
            months: Of 2013, 1 to 12.
            table_config_overrides: Merged into the table's config; objects are merged, other values replaced.

        Returns:
            The names of the segments.
        """
        config = _merged(flights.table_config(), table_config_overrides or {})
        schema = flights.schema()
        build = partial(self.build_segments, table_config=config, schema=schema)
        archives = flights.archives(sorted(months), config, schema, build)
        self.create_table(config, schema)
        table = config["tableName"]
        for archive in archives:
            self.push_segment(table, archive)
        self.wait_until_loaded(table)
        return [flights.segment_name(month) for month in sorted(months)]

    def wait_until_loaded(self, table: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        """Waits until every segment of a table with type is ONLINE, or CONSUMING, on every server as it should be.

        Raises:
            SandboxError: A server could not load one, or the time is over.
        """
        self._controller.wait_until_loaded(table, timeout_s)

    def reload(
        self, table: str, segment: str | None = None, *, force_download: bool = False, timeout_s: float = _TIMEOUT_S
    ) -> None:
        """Has the servers reload a table with type, or one segment of it, and waits until every server has."""
        self._controller.reload(table, segment, force_download, timeout_s)

    def query(self, sql: str, *, server: str | None = None) -> list[list[Any]]:
        """The rows that Pinot's engine answers. Every segment counts once, whichever of its replicas is asked.

        Args:
            sql: The query.
            server: Asks only this server, which has to have all segments.

        Raises:
            SandboxError: The query failed, or a segment is on no running server.
        """
        rows: list[list[Any]] = self._cluster.request("query", sql=sql, server=server)
        return rows

    # --- servers -------------------------------------------------------------------------------------------------

    def server_admin_url(self, server: str) -> str:
        """Where a server's admin API is: the address that the controller's ``/instances/{server}`` gives."""
        url: str = self._server(server)["adminUrl"]
        return url

    def is_running(self, server: str) -> bool:
        """Whether a server is up."""
        running: bool = self._server(server)["running"]
        return running

    def server_segment_dir(self, server: str, table: str, segment: str) -> Path:
        """The local copy of a segment on a server's disk. Its files are below ``v3/``."""
        return Path(self._server(server)["dataDir"], table, segment)

    def downloads(self, table: str | None = None) -> dict[str, dict[str, Downloads]]:
        """By server and segment, what each server fetched from the deep store since the last reset.

        Args:
            table: Only of this table with type.
        """
        counts: dict[str, dict[str, Downloads]] = {server: {} for server in self.servers}
        for entry in self._cluster.request("downloads"):
            if table in (None, entry["table"]):
                counts[entry["server"]][entry["segment"]] = Downloads(entry["count"], entry["bytes"])
        return counts

    def reset_downloads(self) -> None:
        """Counts downloads from here on."""
        self._cluster.request("resetDownloads")

    def stop_server(self, server: str) -> None:
        """Takes a server out of the cluster and waits until the controller has noticed. Its disk stays."""
        self._cluster.request("stopServer", name=server)

    def start_server(self, server: str, *, wipe: bool = False, timeout_s: float = _TIMEOUT_S) -> ServerStart:
        """Starts a stopped server, on an empty disk if `wipe`, and waits until all its segments are ONLINE."""
        answer = self._cluster.request(
            "startServer", name=server, wipe=wipe, timeoutMs=int(timeout_s * 1000), timeout_s=timeout_s + 60
        )
        return ServerStart(answer["seconds"], answer["loadMs"])

    def restart_server(self, server: str, *, wipe: bool) -> ServerStart:
        """Stops and starts a server."""
        self.stop_server(server)
        return self.start_server(server, wipe=wipe)

    def add_s3_account(self) -> S3Gateway:
        """Another account of the S3 gateway, which may do nothing until a bucket policy permits it to its access key.

        Raises:
            SandboxError: The gateway is moto, which permits everything to everybody.
        """
        return self._gateway.add_account()

    def check_crcs(self, server: str, *, on: bool) -> None:
        """Has a running server replace segments whose CRC is not ZooKeeper's, or not, until it is stopped.

        That is `pinot.server.instance.check.crc.on.segment.load`, which is on unless an operator turns it off.
        """
        self._cluster.request("checkCrcs", name=server, on=on)

    # --- minions -------------------------------------------------------------------------------------------------

    def submit_task(self, kind: str, configs: Mapping[str, str]) -> str:
        """Submits a minion task, and returns its name. There are no minions here, so it waits until it is deleted.

        Args:
            kind: Its type, such as `MergeRollupTask`.
            configs: What a minion would be told; `tableName` with type, and `segmentName` of its input, with commas.
        """
        name: str = self._cluster.request("submitTask", type=kind, configs=dict(configs))
        return name

    def delete_tasks(self, kind: str) -> None:
        """Removes all minion tasks of a type."""
        self._cluster.request("deleteTasks", type=kind)

    # --- within --------------------------------------------------------------------------------------------------

    def _servers(self) -> dict[str, dict[str, Any]]:
        servers: dict[str, dict[str, Any]] = self._cluster.request("servers")
        return servers

    def _server(self, name: str) -> dict[str, Any]:
        servers = self._servers()
        if name not in servers:
            raise SandboxError(f"No server {name} in the sandbox: there are {', '.join(servers)}.")
        return servers[name]

    def _build(self, name: str, rows: Path, table_config: dict[str, Any], schema: dict[str, Any], out: Path) -> Path:
        try:
            return Path(
                self._cluster.request(
                    "buildSegment",
                    segmentName=name,
                    rows=str(rows),
                    tableConfig=table_config,
                    schema=schema,
                    outDir=str(out),
                )
            )
        finally:
            rows.unlink()


def _start_cluster(
    jars: Path, classes: Path, root: Path, s3: S3Gateway, servers: int, *, own_root: bool
) -> ClusterProcess:
    config = {
        "root": str(root),
        "removeRoot": own_root,
        "servers": servers,
        "s3": {
            "dataDir": _deep_store_url(s3),
            "endpointUrl": s3.endpoint_url,
            "accessKey": s3.access_key,
            "secretKey": s3.secret_key,
            "region": s3.region,
        },
    }
    for _ in range(_START_ATTEMPTS - 1):
        with contextlib.suppress(PortTakenError):
            return ClusterProcess(jars, classes, root, config)
        shutil.rmtree(root / "zookeeper", ignore_errors=True)
    return ClusterProcess(jars, classes, root, config)


def _deep_store_url(s3: S3Gateway) -> str:
    return f"s3://{s3.bucket}/deepstore"


def _merged(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overrides.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _say_nothing(line: str) -> None:
    """Where nobody wants to be told."""
