"""What a store must be able to do, tried out before the first overwrite, and what is done with large objects."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.e2e.kit import LOG, NEW_INDEXES, Sync, add_indexes, outcomes
from tests.fake_copies import fake_conditional_copies

from deep_store_sync.errors import StoreCapabilityError
from deep_store_sync.model import Outcome
from deep_store_sync.services import Services
from deep_store_sync.store.deep_store import DeepStore

SEGMENT = "flights_2013-01"
# Smaller than any segment, so that all of them count as too large for one request.
SMALL = 1000


@contextmanager
def with_store(sync: Sync, *, threshold: int | None = None, ignores: tuple[str, str] | None = None) -> Iterator[Sync]:
    """The sync with another threshold for parts, and with a fake store that ignores a condition of an operation."""
    client = sync.sandbox.s3.client()

    def ignore(request: Any, **_: Any) -> None:
        if ignores:
            del request.headers[ignores[1]]

    if ignores:
        client.meta.events.register(f"before-sign.s3.{ignores[0]}", ignore)
    store = DeepStore(client, multipart_threshold=threshold) if threshold else DeepStore(client)
    services = Services(sync.services.controller, sync.services.servers, store, sync.settings)
    yield Sync(sync.sandbox, sync.workspace, sync.settings, services)
    client.close()


@pytest.fixture
def stale(sync: Sync) -> Sync:
    sync.sandbox.load_flights(months=[1])
    add_indexes(sync.sandbox)
    return sync


@pytest.mark.parametrize(
    ("operation", "condition", "threshold"),
    [
        ("PutObject", "If-Match", None),
        ("PutObject", "If-None-Match", None),
        ("CompleteMultipartUpload", "If-Match", SMALL),
    ],
)
def test_a_fake_store_that_ignores_a_condition_is_refused_before_anything_is_written(
    stale: Sync, operation: str, condition: str, threshold: int | None
) -> None:
    if stale.sandbox.s3.kind == "moto" and operation == "CompleteMultipartUpload":
        pytest.skip("moto ignores it by itself: tests/deep_store_sync/store/test_store_probe.py")
    before = stale.look()
    with with_store(stale, threshold=threshold, ignores=(operation, condition)) as sync:
        with pytest.raises(StoreCapabilityError, match=rf"ignores {condition}.* on {operation}: .*Use a store"):
            sync.run()
        assert stale.look() == before
        assert list(stale.services.store.list(stale.workspace + "/")) == []
        # Without work nothing is overwritten, and nothing is tried out.
        sync.run(dry_run=True)
    if threshold:
        # What only large objects need is asked for only where there are some.
        with with_store(stale, ignores=(operation, condition)) as sync:
            assert outcomes(sync.run()) == {Outcome.SYNCED}
            assert sync.last is not None
            assert sync.last.plan.copies == ()


def test_objects_above_the_threshold_are_published_and_kept_in_parts(stale: Sync) -> None:
    if stale.sandbox.s3.kind == "moto":
        pytest.skip("moto ignores conditions on the completion of parts, and is refused")
    before = stale.look()[SEGMENT]
    with with_store(stale, threshold=SMALL) as sync:
        rows = sync.with_settings(backup="copy").run()
        assert outcomes(rows) == {Outcome.SYNCED}
        after = sync.look()[SEGMENT]
        assert after.etag.endswith("-1")
        assert after.etag != before.etag
        assert after.indexes >= NEW_INDEXES
        assert after.stamp
        copies = [item for item in sync.services.store.list(sync.workspace + "/") if item.url.endswith(".tar")]
        assert [(item.etag.endswith("-1"), item.size) for item in copies] == [(True, rows[SEGMENT].object_bytes)]
        assert outcomes(sync.run()) == {Outcome.SKIPPED}
        assert sync.look()[SEGMENT] == after


# --- copies inside the store -----------------------------------------------------------------------------------------


class Calls:
    """What is done to the store of a sync, by operation."""

    def __init__(self, sync: Sync) -> None:
        self.made: list[str] = []
        client: Any = sync.services.store._client
        client.meta.events.register("provide-client-params.s3", self._note)

    def _note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        place = params.get("Key", "")
        kind = "staged" if "/staged/" in place else "segment" if place.startswith("deepstore/") else "other"
        self.made.append(f"{model.name} {kind}")


@pytest.mark.parametrize("by", ["copies in parts", "whole copies", "streaming"])
def test_archives_are_copied_inside_the_store_where_it_does_that(
    stale: Sync, by: str, caplog: pytest.LogCaptureFixture
) -> None:
    if stale.sandbox.s3.kind == "moto":
        pytest.skip("moto ignores conditions on copies: tests/deep_store_sync/store/test_copying.py")
    caplog.set_level(logging.INFO, LOG.name)
    with with_store(stale) as sync:
        calls = Calls(sync)
        if by == "whole copies":
            fake_conditional_copies(sync.services.store._client)
        run = sync.with_settings(publish_by="stream") if by == "streaming" else sync
        rows = run.run()
        assert (outcomes(rows), rows[SEGMENT].proven) == ({Outcome.SYNCED}, tuple(sorted(stale.sandbox.servers)))
        assert rows[SEGMENT].uploaded_bytes == stale.services.store.head(_url(stale)).size
        written = {
            "copies in parts": ["CreateMultipartUpload", "UploadPartCopy", "CompleteMultipartUpload"],
            "whole copies": ["CopyObject"],
            "streaming": ["PutObject"],
        }[by]
        reads = ("HeadObject", "GetObject", "GetObjectAcl", "GetObjectTagging")
        assert [call for call in calls.made if call.endswith(" segment") and not call.startswith(reads)] == [
            f"{operation} segment" for operation in written
        ]
        assert ("GetObject staged" in calls.made) is (by == "streaming")
        said = {"copies in parts": "(parts)", "whole copies": "(whole, parts)"}.get(by)
        assert said is None or f"archives are published by copies inside the store {said}" in caplog.text
        assert outcomes(run.run()) == {Outcome.SKIPPED}


def _url(sync: Sync) -> str:
    (record,) = sync.services.controller.segments(sync.table)
    return str(record.url)


def test_fake_store_that_ignores_the_condition_on_copies_only_has_archives_streamed(
    stale: Sync, caplog: pytest.LogCaptureFixture
) -> None:
    """One that completes parts without a look at the condition, and has no object that is written in parts."""
    if stale.sandbox.s3.kind == "moto":
        pytest.skip("moto does so by itself")
    caplog.set_level(logging.INFO, LOG.name)
    with with_store(stale, ignores=("CompleteMultipartUpload", "If-Match")) as sync:
        calls = Calls(sync)
        assert outcomes(sync.run()) == {Outcome.SYNCED}
    assert "PutObject segment" in calls.made
    assert "UploadPartCopy segment" not in calls.made
    assert caplog.text.count("the store was not seen to honour conditions on copies") == 1
    assert stale.look()[SEGMENT].indexes >= NEW_INDEXES
