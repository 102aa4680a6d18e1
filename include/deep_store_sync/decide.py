"""What to do with one segment: the decision table, as pure functions.

Two questions, in this order: may the segment be touched at all (`ineligible`), and what do stamp and servers ask for
(`decide`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from deep_store_sync.errors import ConfigError
from deep_store_sync.model import Action, Lineage, SegmentRecord, ServerAnswer, Servers, StampState
from deep_store_sync.store.object_url import parse_url, shown_url

# What a segment's archive may be called beside the segment's bare name: batch ingestion jobs that push metadata only
# leave the object under the name that they built it with.
ARCHIVE_SUFFIXES = ("", ".tar.gz", ".tgz", ".tar.zst", ".tar.lz4")


@dataclass(frozen=True, slots=True)
class Decision:
    """An action and the reason for it, in words for the report. `budgeted` work is bounded by the run's budget."""

    action: Action
    reason: str
    budgeted: bool = False


def server_state(
    segment: str, replicas: Collection[str], answers: Mapping[str, ServerAnswer], *, overrides_by_tier: bool
) -> tuple[Servers, str]:
    """What the servers of the ideal state say of a segment, and the words for it.

    Any replica that calls it stale makes it stale. It is clean only when every replica answered validly and none is
    stale. Where the table lays the segment's tier out in another way, `isStale` compares with the wrong config, so its
    answer says nothing (Pinot 1.5.1, `BaseTableDataManager.isSegmentStale`).
    """
    if overrides_by_tier:
        return (
            Servers.UNKNOWN,
            "the table overrides its config for the segment's tier, which isStale does not take into account",
        )
    silent = []
    for server in sorted(replicas):
        answer = answers.get(server)
        if answer is None or not answer.valid:
            silent.append(server)
        elif segment in answer.stale:
            return Servers.STALE, answer.stale[segment]
    if silent:
        return Servers.UNKNOWN, f"no valid isStale answer from {', '.join(silent)}"
    if not replicas:
        return Servers.UNKNOWN, "no server hosts it"
    return Servers.CLEAN, "in sync on all replicas"


def ineligible(
    record: SegmentRecord,
    replicas: Mapping[str, str],
    *,
    prefixes: Collection[str],
    shared_urls: Collection[str],
    lineage: Lineage,
    table_crypter: str | None,
) -> str | None:
    """Why a segment must not be touched, or None.

    `replicas` maps the servers of the ideal state to the wanted state. `prefixes` are the deep store's `s3://…/` URLs,
    `shared_urls` the download URLs that more than one segment has. `table_crypter` is the table config's
    `crypterClassName`.
    """
    return blocked(
        replicas.values(),
        status=record.status,
        in_progress=record.name in lineage.in_progress,
        replaced=record.name in lineage.replaced,
        crypter=record.crypter or table_crypter,
        has_crc=record.crc is not None,
        empty=record.rows == 0,
    ) or bad_url(record.name, record.url, prefixes, shared_urls)


def blocked(
    wanted: Collection[str],
    *,
    status: str | None,
    in_progress: bool,
    replaced: bool,
    crypter: str | None,
    has_crc: bool,
    empty: bool,
) -> str | None:
    """Why a segment must not be touched whatever its URL is, or None.

    `wanted` are the states that the ideal state wants it in. `in_progress` and `replaced` tell its part in segment
    lineage.
    """
    states = set(wanted)
    if "CONSUMING" in states or status == "IN_PROGRESS":
        return "consuming: it is not committed on every server yet"
    if status == "COMMITTING":
        return "committing: it has no final copy in the deep store yet"
    if not states:
        return "not in the ideal state: no server is meant to host it"
    if states <= {"OFFLINE", "DROPPED"}:
        return "offline on every server"
    if in_progress:
        return "in a segment lineage entry that is not finished"
    if replaced:
        return "replaced by other segments (segment lineage)"
    if crypter:
        return f"encrypted ({crypter})"
    if not has_crc:
        return "no CRC in ZooKeeper"
    if empty:
        return "no rows: Pinot refuses a push of an empty segment"
    return None


def decide(
    stamp: StampState,
    servers: Servers,
    *,
    force: bool,
    servers_say: str,
    incurable: str | None = None,
    servers_cannot_tell: bool = False,
) -> Decision:
    """The decision table.

    `servers_say` are the words of `server_state`, `incurable` the reason of a mark that was set for the current hash.
    `servers_cannot_tell` says that no answer of theirs could mean anything for this segment: there is nothing to wait
    for then.
    """
    if stamp is StampState.CURRENT:
        if servers is not Servers.STALE:
            return Decision(Action.SKIP, "stamped for the current config")
        if incurable:
            return Decision(Action.INCURABLE, incurable)
        return Decision(
            Action.RELOAD, f"built for the current config, but servers still have the old one: {servers_say}"
        )
    if servers is Servers.STALE:
        return Decision(Action.REBUILD, f"stale on servers: {servers_say}")
    if stamp is StampState.OUTDATED:
        return Decision(Action.REBUILD, f"built for an older config; servers: {servers_say}", budgeted=not force)
    if force:
        return Decision(Action.REBUILD, f"never stamped, forced; servers: {servers_say}")
    if servers is Servers.CLEAN:
        return Decision(Action.AUDIT, "never stamped; servers are in sync, the deep store may not be", budgeted=True)
    if servers_cannot_tell:
        return Decision(Action.AUDIT, f"never stamped; {servers_say}", budgeted=True)
    return Decision(Action.DEFER, f"never stamped, and the servers' state is unknown: {servers_say}")


def online_servers(states: Mapping[str, str]) -> tuple[str, ...]:
    """The servers that are to have a segment loaded, by what the ideal state says of it (server to state)."""
    return tuple(sorted(server for server, state in states.items() if state == "ONLINE"))


def lies_in(url: str, prefixes: Collection[str]) -> bool:
    """Whether a download URL lies below one of the deep store's `s3://…/` URLs."""
    return any(url.startswith(prefix.rstrip("/") + "/") for prefix in prefixes)


def keys_expire(table_config: Mapping[str, Any]) -> bool:
    """Whether keys of the table's upsert metadata expire: then a server must never replace a segment by another one.

    A replaced segment loses its valid-doc snapshot, and rows that were superseded can come back.
    """
    upsert = table_config.get("upsertConfig") or {}
    return any(float(upsert.get(key) or 0) > 0 for key in ("metadataTTL", "deletedKeysTTL"))


def bad_url(segment: str, url: str | None, prefixes: Collection[str], shared_urls: Collection[str]) -> str | None:
    """Why what lies at a segment's download URL must not be touched, or None; arguments as in `ineligible`."""
    if not segment.isprintable() or "/" in segment or "\\" in segment or segment in ("", ".", ".."):
        return "its name is none that a segment may have: it holds a slash, or signs that cannot be printed"
    if not url:
        return "no download URL: servers hold the only copies"
    if url in shared_urls:
        return f"another segment has the same download URL {shown_url(url)}"
    if not lies_in(url, prefixes):
        return f"its download URL {shown_url(url)} lies outside deepStorePrefixes"
    if not url.isascii():
        return f"its download URL {shown_url(url)} has characters that a push cannot carry: percent-encode them"
    try:
        _, key = parse_url(url)
    except ConfigError as error:
        return f"its download URL cannot be used: {error}"
    last = key.rsplit("/", 1)[-1]
    # The controller writes a space in a segment's name as "+" (Java's URLEncoder), which is no escape in a path.
    names = {segment, segment.replace(" ", "+")}
    if last not in {name + suffix for name in names for suffix in ARCHIVE_SUFFIXES}:
        return f"its download URL {shown_url(url)} does not end in the segment's name"
    return None
