"""Waves: so many segments in flight and no more, and servers that do not take a refresh by themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.e2e.kit import TABLE, Sync, add_indexes, outcomes

from deep_store_sync.model import Outcome
from deep_store_sync.publishing.proof import ServerWatch
from deep_store_sync.publishing.publish_segment import SegmentPublisher


def test_a_wave_at_a_time_and_a_server_that_does_not_compare_crcs(
    sync: Sync, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    """Such a server ignores the refresh (Pinot #17233): it is made to download, and only then the next wave begins."""
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1, 2])
    add_indexes(sandbox)
    ignores = sandbox.servers[1]
    sandbox.check_crcs(ignores, on=False)
    request.addfinalizer(lambda: sandbox.check_crcs(ignores, on=True))
    sandbox.reset_downloads()
    in_flight: set[str] = set()
    most = 0
    publish, wait_loaded = SegmentPublisher.publish, ServerWatch.wait_loaded

    def written(self: SegmentPublisher, row: Any, *args: Any) -> Any:
        nonlocal most
        in_flight.add(row.segment)
        most = max(most, len(in_flight))
        return publish(self, row, *args)

    def loaded(self: ServerWatch, wanted: Any, *args: Any, **kwargs: Any) -> Any:
        proofs = wait_loaded(self, wanted, *args, **kwargs)
        in_flight.difference_update(segment for segment, proof in proofs.items() if proof.complete)
        return proofs

    monkeypatch.setattr(SegmentPublisher, "publish", written)
    monkeypatch.setattr(ServerWatch, "wait_loaded", loaded)
    rows = sync.with_settings(wave_segments=1, proof_timeout=timedelta(seconds=20)).run()
    assert outcomes(rows) == {Outcome.SYNCED}
    assert (most, in_flight) == (1, set())
    assert all(set(row.proven) == set(sandbox.servers) for row in rows.values())
    assert f"{ignores} did not take the refresh, asking for a forced download" in caplog.text
    for server in sandbox.servers:
        crcs = sync.services.servers.segment_crcs(sandbox.server_admin_url(server), TABLE)
        assert crcs == {name: row.new_crc for name, row in rows.items()}
    assert outcomes(sync.run()) == {Outcome.SKIPPED}
