"""A segment's folder brought to a table config and schema, by the method chosen for it."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deep_store_sync.errors import RebuildRefusedError
from deep_store_sync.jvm.process import EngineProcess
from deep_store_sync.rebuilding.column_wishes import timestamp_columns
from deep_store_sync.rebuilding.derivations import derived_from
from deep_store_sync.rebuilding.method import Method, choose_method
from deep_store_sync.rebuilding.schema_fields import schema_fields
from deep_store_sync.segment.buffer_facts import read_buffer_facts
from deep_store_sync.segment.column_changes import definition_changes
from deep_store_sync.segment.segment_files import SegmentLayout, read_layout
from deep_store_sync.segment.spanning import star_tree_columns, text_columns
from deep_store_sync.segment.verify import Regenerated
from deep_store_sync.table_hash import config_for_tier


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of it.

    `segment_dir` is the folder that is as the config wants it: the original's own, changed in place, where
    preprocessing did everything. `changed` says whether anything had to be done, `original_kept` whether the original's
    folder is untouched, `regenerated` what was written or made anew or left out, and `values_changed` whether that is
    more than what servers do when they load the segment.
    `incurable`: why servers will call the segment stale all the same.
    """

    segment_dir: Path
    changed: bool
    original_kept: bool = False
    regenerated: Regenerated | None = None
    values_changed: bool = False
    incurable: str | None = None


def apply_method(
    engine: EngineProcess,
    method: Method,
    segment_dir: Path,
    folder: Path,
    table_config: Mapping[str, Any],
    schema: Mapping[str, Any],
    tier: str | None,
) -> Applied:
    """Bring a segment to a config and schema.

    Args:
        engine: Pinot.
        method: chosen for the segment as it is.
        segment_dir: the segment's folder.
        folder: where there is room for what is written anew.
        table_config: as the controller gives it.
        schema: as the controller gives it.
        tier: the tier that the segment is on.

    Raises:
        RebuildError: it cannot be done.
    """
    wanted = _with_star_trees(config_for_tier(table_config, tier))
    original = read_layout(segment_dir)
    gone = original.columns.keys() - schema_fields(schema).keys() - set(timestamp_columns(wanted))
    source, done, changed = segment_dir, [method], False
    if method.rewrites:
        source, changed = _regenerate(engine, method, source, folder / "regenerated", wanted, schema, tier), True
    before = read_layout(source) if method.rewrites else original
    changed |= engine.preprocess(source, wanted, schema, tier)
    after = read_layout(source)
    # Columns that only came now, as preprocessing makes them up, may have to be sorted by, or to lose a dictionary.
    more = choose_method(after, wanted, schema, read_buffer_facts(source))
    followed = _followed(before, after, wanted, gone)
    anew = followed.difference(more.columns)
    if changed and (more.rewrites or anew):
        if more.refused:
            raise RebuildRefusedError(more.refused)
        again = replace(more, removed=(*more.removed, *sorted(anew)))
        second = _regenerate(engine, again, source, folder / "regenerated again", wanted, schema, tier)
        if source != segment_dir:
            shutil.rmtree(source)
        source = second
        done.append(more)
        engine.preprocess(source, wanted, schema, tier)
        more = choose_method(read_layout(source), wanted, schema, read_buffer_facts(source))
    changed_values = {*anew, *(name for method in done for name in method.columns)}
    return Applied(
        source,
        changed,
        method.rewrites or not changed,
        _regenerated(done, anew | derived_from(original, wanted, changed_values, gone)),
        bool(anew) or any(method.regenerates for method in done),
        more.incurable,
    )


def _followed(
    before: SegmentLayout, after: SegmentLayout, table_config: Mapping[str, Any], gone: Collection[str]
) -> frozenset[str]:
    """Columns that preprocessing made anew with other values, and that something else was made from.

    It leaves that as it was, and so do servers.
    """
    found = set()
    for name, column in after.columns.items():
        old = before.columns.get(name)
        if old is None or not old.auto_generated or not definition_changes(old, column):
            continue
        spanned = any(name in of(before) & of(after) for of in (star_tree_columns, text_columns))
        if spanned or derived_from(after, table_config, {name}, gone):
            found.add(name)
    return frozenset(found)


def _regenerate(
    engine: EngineProcess,
    method: Method,
    source: Path,
    folder: Path,
    table_config: Mapping[str, Any],
    schema: Mapping[str, Any],
    tier: str | None,
) -> Path:
    folder.mkdir()
    return engine.regenerate(
        source,
        folder,
        table_config,
        schema,
        tier,
        columns=method.columns,
        removed=method.removed,
        sort_by=method.sort_by,
        time_column=method.time_column,
    )


def _regenerated(done: list[Method], made_anew: frozenset[str]) -> Regenerated | None:
    if not made_anew and not any(method.rewrites for method in done):
        return None
    return Regenerated(
        columns=frozenset(name for method in done for name in method.columns),
        removed=frozenset(name for method in done for name in method.removed),
        sorted_by=tuple(name for method in reversed(done) for name in method.sort_by),
        time_column=next((method.time_column for method in done if method.time_column), None),
        made_anew=made_anew,
    )


def _with_star_trees(table_config: Mapping[str, Any]) -> dict[str, Any]:
    """With star-trees built and removed as the config says.

    Servers do so only where it is dynamic, and call a segment stale that lacks one all the same; an ingestion job
    always does.
    """
    indexing = (table_config.get("tableIndexConfig") or {}) | {"enableDynamicStarTreeCreation": True}
    return {**table_config, "tableIndexConfig": indexing}
