"""The hash of what a segment is built for: table config and schema, as far as they can change a segment.

A stamp in ZooKeeper carries this hash. Two rules keep it honest: a setting is left out only when it is on the reviewed
lists below, so an unknown setting counts (a needless audit is cheap, a missed change is not); a value is left out only
when it is null or equals Pinot's own default for that very field, so that a controller which starts to print a default
does not move the hash. The lists are in `deep_store_sync.hashed_fields`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

from deep_store_sync.hashed_fields import INGESTION, NEEDED_FOR_BUILDING, SCHEMA, TABLE, Each, Section, Shape
from deep_store_sync.model import StampState

Json = Any


def config_for_tier(table_config: Mapping[str, Json], tier: str | None) -> dict[str, Json]:
    """The table config with the overrides of a tier applied, as Pinot applies them.

    Keys of an override replace keys of `tableIndexConfig` or of the entry in `fieldConfigList`, whole (Pinot 1.5.1,
    `TableConfigUtils.overwriteTableConfigForTier`). Without a tier, or without overrides for it, the config comes back
    as it is.
    """
    config: dict[str, Json] = deepcopy(dict(table_config))
    for section in _sections_with_overrides(config):
        override = section["tierOverwrites"].get(tier)
        if isinstance(override, dict):
            section.update(deepcopy(override))
    return config


def building_config(table_config: Mapping[str, Json]) -> dict[str, Json]:
    """The part of a table config that segments are built from: what a run has to remember, and nothing that is secret.

    Stream, task, enrichment and metadata manager settings may hold credentials, and no segment depends on them. What
    Pinot's `TableConfig` cannot do without stays. The hash is that of the whole config.
    """
    config = {
        key: value for key, value in table_config.items() if key not in TABLE.left_out or key in NEEDED_FOR_BUILDING
    }
    for section, left_out in (
        ("tableIndexConfig", {"streamConfigs"}),
        ("ingestionConfig", INGESTION.left_out),
        ("upsertConfig", {"metadataManagerConfigs"}),
        ("dedupConfig", {"metadataManagerConfigs"}),
    ):
        if isinstance(config.get(section), dict):
            config[section] = {key: value for key, value in config[section].items() if key not in left_out}
    return config


def has_tier_overrides(table_config: Mapping[str, Json], tier: str | None) -> bool:
    """Whether the table lays out segments of this tier in another way than its base config says."""
    return tier is not None and any(
        section["tierOverwrites"].get(tier) for section in _sections_with_overrides(table_config)
    )


def table_hash(table_config: Mapping[str, Json], schema: Mapping[str, Json], tier: str | None = None) -> str:
    """The hash for a segment on `tier`: `v1:` and the SHA-256 in hex of canonical JSON of table config and schema."""
    return _v1(table_config, schema, tier)


class TableHashes:
    """The hashes of one table config and schema: computed once for each tier and hash version that is asked for."""

    def __init__(self, table_config: Mapping[str, Json], schema: Mapping[str, Json]) -> None:
        self._config = table_config
        self._schema = schema
        self._known: dict[tuple[str, str | None], str] = {}

    def current(self, tier: str | None) -> str:
        """The hash that a segment on `tier` is stamped with today."""
        return self._hash(_CURRENT_VERSION, tier)

    def state(self, stamp: str | None, tier: str | None) -> StampState:
        """Hold a stamp against the table. A stamp of an older hash version is compared by that version's function."""
        if not stamp:
            return StampState.NONE
        version = stamp.partition(":")[0]
        known = version in _VERSIONS and stamp == self._hash(version, tier)
        return StampState.CURRENT if known else StampState.OUTDATED

    def _hash(self, version: str, tier: str | None) -> str:
        key = (version, tier)
        if key not in self._known:
            self._known[key] = _VERSIONS[version](self._config, self._schema, tier)
        return self._known[key]


def canonical_config(
    table_config: Mapping[str, Json], schema: Mapping[str, Json], tier: str | None
) -> dict[str, dict[str, Json]]:
    """What the hash is taken of, as `table` and `schema`: only what can change a segment on `tier`, and no defaults."""
    return {"schema": _canonical_schema(schema), "table": _canonical_table(config_for_tier(table_config, tier))}


def _v1(table_config: Mapping[str, Json], schema: Mapping[str, Json], tier: str | None) -> str:
    canonical = canonical_config(table_config, schema, tier)
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return "v1:" + hashlib.sha256(text.encode()).hexdigest()


_VERSIONS: Mapping[str, Callable[[Mapping[str, Json], Mapping[str, Json], str | None], str]] = {"v1": _v1}
_CURRENT_VERSION = "v1"


def _canonical_table(config: Mapping[str, Json]) -> dict[str, Json]:
    fields = config.get("fieldConfigList")
    if isinstance(fields, list):
        config = {**config, "fieldConfigList": [_with_index_types(field) for field in fields]}
    return _canonical_section({**config, **_row_order(config)}, TABLE)


def _row_order(config: Mapping[str, Json]) -> dict[str, Json]:
    """Of upsert and dedup only whether there is any: the rows of such a table must stay in their order.

    No segment looks any other for it. But a run that was planned before must not publish what it sorted.
    """
    mode = _setting(config, "upsertConfig", "mode", "FULL")
    dedup = _setting(config, "dedupConfig", "dedupEnabled", True)
    return {
        "upsertConfig": None if mode in (None, "NONE") else {"mode": mode},
        "dedupConfig": {"dedupEnabled": dedup} if dedup else None,
    }


def _setting(config: Mapping[str, Json], section: str, name: str, default: Json) -> Json:
    """A setting of a section, Pinot's default where it is not set, and None where there is no such section."""
    settings = config.get(section)
    if not isinstance(settings, dict):
        return None
    value = settings.get(name)
    return default if value is None else value


def _with_index_types(field: Json) -> Json:
    # `indexType` is the older spelling of a list of one (Pinot's FieldConfig reads it so).
    if isinstance(field, dict) and field.get("indexTypes") is None and field.get("indexType") is not None:
        return {**field, "indexTypes": [field["indexType"]]}
    return field


def _canonical_schema(schema: Mapping[str, Json]) -> dict[str, Json]:
    return _canonical_section(schema, SCHEMA)


def _canonical_section(settings: Mapping[str, Json], section: Section) -> dict[str, Json]:
    result = {}
    for name, value in settings.items():
        if value is None or name in section.left_out:
            continue
        found = _canonical(value, section.members.get(name))
        if name in section.sets:
            found = _as_set(found)
        if name in section.unset_if_empty and found in ([], {}):
            continue
        if name not in section.defaults or not _same(found, section.defaults[name]):
            result[name] = found
    return result


def _canonical(value: Json, shape: Shape) -> Json:
    if isinstance(shape, Section) and isinstance(value, dict):
        return _canonical_section(value, shape)
    if isinstance(shape, Each) and isinstance(value, dict):
        return {name: _canonical(member, shape.member) for name, member in value.items()}
    if isinstance(shape, Each) and isinstance(value, list):
        members = [_canonical(member, shape.member) for member in value]
        return members if shape.sort_by is None else _sorted(members, shape.sort_by)
    if isinstance(value, dict):
        return {name: _canonical(member, None) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_canonical(member, None) for member in value]
    # 1.0 and 1 are the same number to Pinot, and a controller prints either.
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _same(value: Json, default: Json) -> bool:
    # False == 0 in Python, not in a config.
    return type(value) is type(default) and bool(value == default)


def _as_set(value: Json) -> Json:
    if isinstance(value, list) and all(isinstance(member, str) for member in value):
        return sorted(set(value))
    return value


def _sorted(members: Iterable[Json], name: str) -> list[Json]:
    return sorted(members, key=lambda member: str(member.get(name)) if isinstance(member, dict) else "")


def _sections_with_overrides(config: Mapping[str, Json]) -> list[dict[str, Json]]:
    fields = config.get("fieldConfigList")
    candidates = [config.get("tableIndexConfig"), *(fields if isinstance(fields, list) else [])]
    return [
        section
        for section in candidates
        if isinstance(section, dict) and isinstance(section.get("tierOverwrites"), dict)
    ]
