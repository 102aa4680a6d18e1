"""How a rebuilt segment may reach the cluster: quietly, by refresh, or not at all. A pure decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deep_store_sync.decide import keys_expire
from deep_store_sync.model import PlannedSegment, PublishMode, RebuildResult, Servers


def publish_mode(
    row: PlannedSegment,
    rebuilt: RebuildResult,
    *,
    servers: Servers,
    need_reload: Mapping[str, bool],
    table_config: Mapping[str, Any],
) -> PublishMode | str:
    """The mode, or the reason why neither will do.

    Quiet keeps the CRC, so no server ever downloads the new object unless it has to load the segment anyway. That is
    right only while every replica is known to have the same layout already: `servers` (what `isStale` says now) clean,
    and, for a change that `isStale` does not look at, `needReload` false on every replica. `needReload` means nothing
    where the table sets `skipSegmentPreprocess`: it is false then whatever the segment looks like (Pinot 1.5.1,
    `ImmutableSegmentLoader.needPreprocess`).

    A refresh is right in any other case, and the only way for values that were written anew, which servers can have
    from nowhere else; except on an upsert table whose keys expire: there a replaced segment loses its valid-doc
    snapshot, and rows that were superseded can come back.
    """
    finishing = rebuilt.object_crc != rebuilt.crc
    if not finishing and not rebuilt.regenerated and servers is Servers.CLEAN:
        if not rebuilt.invisible_changes:
            return PublishMode.QUIET
        skips = bool((table_config.get("tableIndexConfig") or {}).get("skipSegmentPreprocess"))
        if not skips and all(need_reload.get(server) is False for server in row.replicas):
            return PublishMode.QUIET
    if keys_expire(table_config):
        return (
            "an upsert table with metadataTTL or deletedKeysTTL: replacing the segment on servers could bring expired "
            "rows back, and a quiet publish needs every replica to be in sync: reload the table on the servers first"
        )
    return PublishMode.REFRESH
