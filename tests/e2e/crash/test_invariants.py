"""The checker of the crash matrix itself: a table that is broken on purpose is found to be."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.crash.invariants import problems, problems_after_run
from tests.e2e.crash.table import LAYOUTS, CrashTable, Shape, crash_table
from tests.e2e.kit import LOG, outcomes

from deep_store_sync.model import Outcome
from deep_store_sync.publishing.segment_writes import SegmentWrites
from deep_store_sync.segment.archive import read_metadata
from deep_store_sync.segment.segment_files import CreationMeta
from deep_store_sync.stamp import HASH_KEY
from deep_store_sync.store.deep_store import parse_url
from pinot_sandbox import Sandbox


@pytest.fixture(scope="module")
def table(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashTable]:
    """Synced, with indexes."""
    with crash_table(sandbox, tmp_path_factory.mktemp("table")) as table:
        table.ask_for(indexes=LAYOUTS[1])
        # Not by copies, whose ETags tell more than the bytes: an object that is put back is to be the one it was.
        assert outcomes(table.sync.with_settings(publish_by="stream").run()) == {Outcome.SYNCED}
        yield table


@dataclass(frozen=True)
class Victim:
    """A segment's object as it is, and its place."""

    name: str
    url: str
    body: bytes
    metadata: dict[str, str]


@pytest.fixture
def victim(table: CrashTable) -> Iterator[Victim]:
    """The first segment; its object is put back afterwards."""
    assert problems_after_run(table) == []
    record = table.sync.services.controller.segments(table.sync.table)[0]
    url, store = str(record.url), table.sync.services.store
    victim = Victim(record.name, url, store.read(url), dict(store.head(url).metadata))
    yield victim
    put(table, victim, victim.body)
    assert problems_after_run(table) == []


def put(table: CrashTable, victim: Victim, body: bytes) -> None:
    bucket, key = parse_url(victim.url)
    client = table.sync.sandbox.s3.client()
    client.put_object(Bucket=bucket, Key=key, Body=body, Metadata=victim.metadata)
    client.close()


def packed_anew(body: bytes, file: str, change: Callable[[bytes], bytes]) -> bytes:
    """The archive with one of its files changed."""
    target = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(body)) as old, tarfile.open(fileobj=target, mode="w:gz") as new:
        for member in old:
            data = found.read() if (found := old.extractfile(member)) else b""
            data = change(data) if member.name.endswith(file) else data
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return target.getvalue()


@pytest.mark.parametrize("left", [0.0, 0.5, 0.999])
def test_an_archive_that_is_not_whole(table: CrashTable, victim: Victim, left: float) -> None:
    put(table, victim, victim.body[: int(len(victim.body) * left)])
    (problem,) = problems(table)
    assert problem.startswith(f"{victim.name}: its download URL leads nowhere: no whole archive")


def test_an_object_that_is_gone_and_one_of_another_segment(table: CrashTable, victim: Victim) -> None:
    table.sync.services.store.delete(victim.url)
    assert "leads nowhere" in problems(table)[0]
    other = table.sync.services.controller.segments(table.sync.table)[1]
    put(table, victim, table.sync.services.store.read(str(other.url)))
    assert "leads nowhere" in problems(table)[0]


def test_values_that_were_changed(table: CrashTable, victim: Victim) -> None:
    put(table, victim, packed_anew(victim.body, "columns.psf", lambda data: data.replace(b"city 3", b"city 4")))
    assert any("its columns city hold other values than were pushed" in problem for problem in problems(table))


def test_rows_that_are_missing(table: CrashTable, victim: Victim) -> None:
    fewer = packed_anew(victim.body, "metadata.properties", lambda data: data.replace(b"docs = 800", b"docs = 799"))
    put(table, victim, fewer)
    assert any("it has 799 rows, 800 were pushed" in problem for problem in problems(table))


def test_a_crc_that_nobody_has_told_zookeeper_of(table: CrashTable, victim: Victim) -> None:
    meta = CreationMeta(4711, table.original[victim.name].creation_ms)
    put(table, victim, packed_anew(victim.body, "creation.meta", lambda _: meta.to_bytes()))
    assert any("the object's CRC is 4711, ZooKeeper's" in problem for problem in problems(table))


def test_a_time_of_creation_that_is_not_the_segments(table: CrashTable, victim: Victim) -> None:
    meta = CreationMeta(crc_of(table, victim), 4711)
    put(table, victim, packed_anew(victim.body, "creation.meta", lambda _: meta.to_bytes()))
    assert any("its creation time is 4711" in problem for problem in problems(table))


def test_a_segment_that_a_run_should_have_stamped_and_has_not(table: CrashTable, victim: Victim) -> None:
    put(table, victim, packed_anew(victim.body, "nothing", lambda data: data))
    assert problems(table) == []
    assert any("it is not stamped for the present config" in problem for problem in problems_after_run(table))


def test_a_stamp_that_is_not_true(table: CrashTable, victim: Victim, tmp_path: Path) -> None:
    """Of the config without indexes, on an object that has them."""
    false = next(table_hash for table_hash, shape in table.shapes_of.items() if shape == Shape())
    true = table.hash
    stamp(table, victim, tmp_path, {HASH_KEY: false})
    assert any("its stamp says Shape(indexes=frozenset()" in problem for problem in problems(table))
    stamp(table, victim, tmp_path, {HASH_KEY: "v1:ffff"})
    assert any("its stamp is of no config that there was" in problem for problem in problems(table))
    stamp(table, victim, tmp_path, {HASH_KEY: true})


def test_a_segment_that_is_lost(table: CrashTable) -> None:
    """The last one here: it does not come back."""
    name = table.sync.services.controller.segments(table.sync.table)[0].name
    url = f"{table.sync.sandbox.controller_url}/segments/{table.sync.table}/{name}?retention=0d"
    httpx.delete(url, timeout=30).raise_for_status()
    deadline = time.monotonic() + 60
    while any(record.name == name for record in table.sync.services.controller.segments(table.sync.table)):
        assert time.monotonic() < deadline, "the controller takes it out of ZooKeeper when the servers have dropped it"
        time.sleep(0.1)
    found = problems(table)
    assert any(problem.startswith("the table has the segments") for problem in found)
    assert any(problem.startswith("queries answer") for problem in found)


def crc_of(table: CrashTable, victim: Victim) -> int:
    return int(table.sync.services.controller.segment(table.sync.table, victim.name).crc or 0)


def stamp(table: CrashTable, victim: Victim, folder: Path, custom: dict[str, Any]) -> None:
    archive = folder / "archive"
    archive.write_bytes(victim.body)
    meta, properties = read_metadata(archive, victim.name)
    record = table.sync.services.controller.segment(table.sync.table, victim.name)
    SegmentWrites(table.sync.services, LOG).push(
        victim.name, victim.url, record, meta=CreationMeta.from_bytes(meta), properties=properties, custom=custom
    )
