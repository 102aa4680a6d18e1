"""What a store must be able to do, tried out before the first overwrite, and what is done with large objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.e2e.kit import NEW_INDEXES, Sync, add_indexes, outcomes

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
