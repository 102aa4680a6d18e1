"""Segments with odd names, objects with attributes, objects in an archive, and time ranges that Pinot does not take."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.kit import Sync, add_indexes, outcomes, syncing

from deep_store_sync.model import Outcome, PublishMode
from deep_store_sync.services import Services
from deep_store_sync.store.deep_store import DeepStore, ObjectInfo, parse_url
from pinot_sandbox import Sandbox

ODD = "odd_OFFLINE"
# "a b" and "a+b" would be one and the same object. Pinot builds none with a colon, but takes one that is pushed.
NAMES = ["a b", "c+d", "100%25", "é ü", "x&y=z", "n:m"]
SCHEMA: dict[str, Any] = {
    "schemaName": "odd",
    "dimensionFieldSpecs": [{"name": "a", "dataType": "STRING"}],
    "dateTimeFieldSpecs": [
        {"name": name, "dataType": "LONG", "format": "1:MILLISECONDS:EPOCH", "granularity": "1:MILLISECONDS"}
        for name in ("pushed", "born")
    ],
}
CONFIG: dict[str, Any] = {
    "tableName": ODD,
    "tableType": "OFFLINE",
    "segmentsConfig": {"replication": "2", "timeColumnName": "pushed"},
    "tenants": {},
    "tableIndexConfig": {"loadMode": "MMAP"},
    "metadata": {},
}
ROWS = [{"a": text, "pushed": 1357000000000 + number, "born": number} for number, text in enumerate("abcab")]


def renamed(archive: Path, name: str) -> Path:
    """A segment's archive under another name, as another tool might have built it."""
    target = archive.with_name("renamed.tar.gz")
    with tarfile.open(archive) as old, tarfile.open(target, "w:gz") as new:
        for member in old:
            content = old.extractfile(member).read() if member.isfile() else b""  # type: ignore[union-attr]
            if member.name.endswith("metadata.properties"):
                content = content.replace(b"segment.name = placeholder", f"segment.name = {name}".encode())
            member.name = name + member.name.removeprefix("placeholder")
            member.size = len(content)
            new.addfile(member, io.BytesIO(content) if member.isfile() else None)
    return target


@pytest.fixture
def odd(sandbox: Sandbox) -> Iterator[Sync]:
    with syncing(sandbox, ODD) as sync:
        sandbox.create_table(CONFIG, SCHEMA)
        yield sync


def push(sync: Sync, *names: str) -> None:
    build = {"placeholder" if ":" in name else name: ROWS for name in names}
    archives = sync.sandbox.build_segments(build, table_config=CONFIG, schema=SCHEMA)
    for name, archive in zip(names, archives, strict=True):
        sync.sandbox.push_segment(ODD, renamed(archive, name) if ":" in name else archive)
    sync.sandbox.wait_until_loaded(ODD)


def change_config(sync: Sync, **changes: Any) -> None:
    config = sync.sandbox.table_config(ODD)
    for section, values in changes.items():
        config[section] = {**(config.get(section) or {}), **values}
    sync.sandbox.update_table_config(config)


def test_segments_whatever_they_are_called_and_objects_whatever_they_carry(odd: Sync) -> None:
    sandbox, controller = odd.sandbox, odd.services.controller
    push(odd, *NAMES)
    urls = {record.name: str(record.url) for record in controller.segments(ODD)}
    assert set(urls) == set(NAMES)
    s3 = sandbox.s3.client()
    bucket, key = parse_url(urls["c+d"])
    carried = {"ContentType": "application/x-tar", "CacheControl": "no-store", "ContentDisposition": "attachment"}
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata={"owner": "ops"}, Tagging="team=air&q=a%20b", **carried)

    change_config(odd, tableIndexConfig={"invertedIndexColumns": ["a"]})
    sandbox.reset_downloads()
    rows = odd.run()
    assert {name: (row.outcome, row.mode) for name, row in rows.items()} == dict.fromkeys(
        NAMES, (Outcome.SYNCED, PublishMode.REFRESH)
    )
    assert all(set(row.proven) == set(sandbox.servers) for row in rows.values())
    assert {record.name: str(record.url) for record in controller.segments(ODD)} == urls
    after = odd.look()
    assert all("a.inverted_index" in view.indexes and view.stamp for view in after.values())
    assert odd.downloads() == dict.fromkeys(sandbox.servers, len(NAMES))

    found = s3.head_object(Bucket=bucket, Key=key)
    assert {name: found[name] for name in carried} == carried  # type: ignore[literal-required]
    assert found["Metadata"]["owner"] == "ops"
    tags = s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "air", "q": "a b"}
    s3.close()

    assert outcomes(odd.run()) == {Outcome.SKIPPED}
    sandbox.restart_server(sandbox.servers[0], wipe=True)
    assert sandbox.query("select count(*) from odd where a = 'a'") == [[2 * len(NAMES)]]


def test_a_time_range_that_pinot_refuses_has_the_old_object_put_back(sandbox: Sandbox) -> None:
    """One before 1971, of a table that did without the check of time ranges until now."""
    unchecked: dict[str, Any] = {
        **CONFIG,
        "segmentsConfig": {**CONFIG["segmentsConfig"], "timeColumnName": "born"},
        "ingestionConfig": {"segmentTimeValueCheck": False},
    }
    with syncing(sandbox, ODD) as odd:
        sandbox.create_table(unchecked, SCHEMA)
        (archive,) = sandbox.build_segments({"s": ROWS}, table_config=unchecked, schema=SCHEMA)
        sandbox.push_segment(ODD, archive)
        sandbox.wait_until_loaded(ODD)
        before = odd.look()["s"]
        index = {"invertedIndexColumns": ["a"]}
        change_config(odd, ingestionConfig={"segmentTimeValueCheck": True}, tableIndexConfig=index)
        rows = odd.run()
        after = odd.look()["s"]
        assert outcomes(rows) == {Outcome.FAILED}
        assert "Invalid segment start/end time" in rows["s"].message
        assert "The old object was put back" in rows["s"].message
        assert "failed" in odd.reports[-1].undone[0]
        assert (after.content, after.crc, after.stamp) == (before.content, before.crc, None)
        change_config(odd, ingestionConfig={"segmentTimeValueCheck": False})
        assert outcomes(odd.run()) == {Outcome.SYNCED}
        assert "a.inverted_index" in odd.look()["s"].indexes


class FakeArchive(DeepStore):
    """The real store, but the deep store's objects are in GLACIER, which the gateway does not have."""

    def head(self, url: str, *, version_id: str | None = None) -> ObjectInfo:
        found = super().head(url, version_id=version_id)
        archived = "/deepstore/" in url
        return replace(found, archived=archived, storage_class="GLACIER" if archived else None)


def test_an_archived_object_is_left_alone_and_named(sync: Sync) -> None:
    sync.sandbox.load_flights(months=[1])
    add_indexes(sync.sandbox)
    before = sync.look()
    services = Services(
        sync.services.controller, sync.services.servers, FakeArchive(sync.sandbox.s3.client()), sync.settings
    )
    run = Sync(sync.sandbox, sync.workspace, sync.settings, services)
    rows = run.run()
    assert outcomes(rows) == {Outcome.NOT_ELIGIBLE}
    assert "archived storage class GLACIER: restore it first" in rows["flights_2013-01"].message
    assert run.reports[-1].undone == ()
    assert sync.look() == before
    # Restored, it is one like any other.
    assert outcomes(sync.run()) == {Outcome.SYNCED}
