"""Quiet, refresh, or neither."""

from __future__ import annotations

from typing import Any

import pytest

from deep_store_sync.model import Action, PlannedSegment, PublishMode, RebuildResult, Rebuilt, Servers, StampState
from deep_store_sync.publishing.publish_mode import publish_mode

ROW = PlannedSegment("s", Action.REBUILD, "", "v1:0", Servers.CLEAN, StampState.NONE, crc=1, replicas=("a", "b"))
IN_SYNC = {"a": False, "b": False}
TTL = {"upsertConfig": {"mode": "FULL", "metadataTTL": 86400.0}}
SKIP = {"tableIndexConfig": {"skipSegmentPreprocess": True}}


def mode(
    servers: Servers = Servers.CLEAN,
    *,
    invisible: bool = False,
    object_crc: int = 1,
    need_reload: dict[str, bool] | None = None,
    config: dict[str, Any] | None = None,
    regenerated: bool = False,
) -> PublishMode | str:
    rebuilt = RebuildResult(
        "s",
        Rebuilt.CHANGED,
        crc=1,
        object_crc=object_crc,
        new_crc=2,
        changes=("x",),
        invisible_changes=("x",) * invisible,
        regenerated=regenerated,
    )
    return publish_mode(
        ROW,
        rebuilt,
        servers=servers,
        need_reload=IN_SYNC if need_reload is None else need_reload,
        table_config=config or {},
    )


def test_quiet_only_where_every_replica_is_known_to_be_in_sync() -> None:
    assert mode() is PublishMode.QUIET
    assert mode(Servers.STALE) is PublishMode.REFRESH
    assert mode(Servers.UNKNOWN) is PublishMode.REFRESH


def test_values_that_were_written_anew_reach_servers_by_refresh_only() -> None:
    assert mode(regenerated=True) is PublishMode.REFRESH
    assert "expired" in mode(regenerated=True, config=TTL)


@pytest.mark.parametrize("need_reload", [{"a": False, "b": True}, {"a": False}, {}])
def test_a_change_that_isstale_does_not_see_needs_the_servers_own_word(need_reload: dict[str, bool]) -> None:
    assert mode(invisible=True) is PublishMode.QUIET
    assert mode(invisible=True, need_reload=need_reload) is PublishMode.REFRESH
    assert mode(invisible=False, need_reload=need_reload) is PublishMode.QUIET


def test_where_preprocessing_is_skipped_that_word_means_nothing() -> None:
    assert mode(invisible=True, config=SKIP) is PublishMode.REFRESH
    assert mode(invisible=False, config=SKIP) is PublishMode.QUIET


def test_a_push_of_ours_that_was_cut_short_is_finished_as_the_refresh_it_was() -> None:
    assert mode(object_crc=2) is PublishMode.REFRESH


@pytest.mark.parametrize("upsert", [{"metadataTTL": 1}, {"deletedKeysTTL": 0.5}])
def test_a_table_with_expiring_keys_is_never_refreshed(upsert: dict[str, float]) -> None:
    config = {"upsertConfig": upsert}
    assert mode(config=config) is PublishMode.QUIET
    refusal = mode(Servers.STALE, config=config)
    assert "expired rows" in refusal
    assert mode(Servers.STALE, config={"upsertConfig": {"metadataTTL": 0}}) is PublishMode.REFRESH
