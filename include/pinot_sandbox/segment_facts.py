"""What can be seen of a table from outside: its segments in the deep store, on the servers' disks and in ZooKeeper."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.segment.segment_files import INDEX_MAP, parse_index_map
from deep_store_sync.stamp import read_stamp
from deep_store_sync.store.deep_store import DeepStore
from pinot_sandbox.errors import SandboxError
from pinot_sandbox.sandbox import Sandbox

STAR_TREE: Final = "star-tree"
_STAR_TREE_FILE: Final = "star_tree_index"

# Buffers that a segment has in any case, or because of its rows: no table config asks for them.
_NO_INDEXES: Final = frozenset(("dictionary", "forward_index", "nullvalue_vector"))


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """A segment as the deep store and ZooKeeper have it.

    `indexes` are those in the object, in words. `stamp` is the table hash that it is stamped with.
    """

    name: str
    etag: str
    size: int
    crc: int
    indexes: frozenset[str]
    stamp: str | None


@dataclass(frozen=True, slots=True)
class WipedStart:
    """A server's start on an empty disk: until all segments were ONLINE, the loading of all, and the indexes built."""

    seconds: float
    load_ms: int
    built: int


class TableFacts:
    """Looks at one table with type."""

    def __init__(self, sandbox: Sandbox, controller: ControllerClient, store: DeepStore, table: str) -> None:
        self._sandbox = sandbox
        self._controller = controller
        self._store = store
        self._table = table

    def segments(self) -> dict[str, SegmentFacts]:
        """Every segment of the table, read from the deep store itself."""
        facts = {}
        for record in sorted(self._controller.segments(self._table), key=lambda record: record.name):
            if record.url is None or record.crc is None:
                raise SandboxError(f"{record.name} of {self._table} has no object in the deep store.")
            found = self._store.head(record.url)
            facts[record.name] = SegmentFacts(
                name=record.name,
                etag=found.etag,
                size=found.size,
                crc=record.crc,
                indexes=archive_indexes(self._store.read(record.url)),
                stamp=read_stamp(record.custom, record.crc, found.etag).table_hash,
            )
        return facts

    def server_indexes(self, server: str) -> dict[str, frozenset[str]]:
        """By segment, the indexes in a server's local copies."""
        return {
            record.name: folder_indexes(self._sandbox.server_segment_dir(server, self._table, record.name))
            for record in self._controller.segments(self._table)
        }

    def stale(self) -> dict[str, str]:
        """What Pinot's `isStale` says: by segment that any server calls stale, the reason.

        Raises:
            SandboxError: a server did not answer.
        """
        answers = self._controller.stale(self._table)
        silent = [server for server in self._sandbox.servers if server not in answers or not answers[server].valid]
        if silent:
            raise SandboxError(f"No valid isStale answer from {', '.join(silent)}.")
        return {segment: reason for answer in answers.values() for segment, reason in answer.stale.items()}

    def downloads(self) -> dict[str, int]:
        """Downloads of the table's segments by server, since they were last reset."""
        counts = self._sandbox.downloads(self._table)
        return {server: sum(entry.count for entry in counts[server].values()) for server in self._sandbox.servers}

    def wiped_start(self, server: str, *, attempts: int = 3) -> WipedStart:
        """Restarts a server on an empty disk several times; the quickest start counts."""
        starts = [self._sandbox.restart_server(server, wipe=True) for _ in range(attempts)]
        deep_store = self.segments()
        built = sum(
            len(indexes - deep_store[segment].indexes) for segment, indexes in self.server_indexes(server).items()
        )
        return WipedStart(
            min(start.seconds for start in starts), min(sum(start.load_ms.values()) for start in starts), built
        )


def archive_indexes(archive: bytes) -> frozenset[str]:
    """The indexes in a segment's archive (a gzipped tar)."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        files = {Path(member.name).name: member for member in members if member.isfile()}
        index_map = members.extractfile(files[INDEX_MAP])
        assert index_map  # noqa: S101
        return indexes(index_map.read(), files)


def folder_indexes(segment_dir: Path) -> frozenset[str]:
    """The indexes in a segment's folder."""
    folder = segment_dir / "v3"
    return indexes((folder / INDEX_MAP).read_bytes(), [path.name for path in folder.iterdir()])


def indexes(index_map: bytes, file_names: Collection[str]) -> frozenset[str]:
    """The indexes of a segment, in words, by the content of its `index_map` and the names of its files.

    Dictionaries, forward indexes and null vectors are left out: no index is configured to get them.
    """
    words = {
        f"{index.removesuffix('_index').replace('_', ' ')} on {column}"
        for column, index in parse_index_map(index_map)
        if index not in _NO_INDEXES
    }
    return frozenset(words | ({STAR_TREE} if _STAR_TREE_FILE in file_names else set()))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What differs between two configs: `("-", "path = old")` and `("+", "path = new")`, by path."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    lines = []
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path):
            lines += [("-", f"{path} = {old[path]}")] if path in old else []
            lines += [("+", f"{path} = {new[path]}")] if path in new else []
    return lines


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Everything in a config by its path, as JSON. A list is one value, unless it holds objects."""
    if isinstance(value, Mapping) and value:
        for key, member in value.items():
            yield from _leaves(member, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(member, Mapping) for member in value):
        for number, member in enumerate(value):
            yield from _leaves(member, f"{path}[{number}]")
    else:
        yield path, json.dumps(value)
