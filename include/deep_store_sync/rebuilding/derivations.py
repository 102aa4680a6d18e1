"""Which columns follow others: Pinot derives a column that the segment lacks from those that its transform names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from deep_store_sync.rebuilding.column_wishes import timestamp_columns
from deep_store_sync.segment.segment_files import SegmentLayout


def derived_from(
    layout: SegmentLayout,
    table_config: Mapping[str, Any],
    sources: Collection[str],
    removed: Collection[str] = (),
) -> frozenset[str]:
    """Columns that Pinot made up and whose transforms name some of `sources`, or a column that follows them.

    Transforms are not parsed: what is spelled like a column is taken for one. Those that name a column of `removed` do
    not count, since nothing can be derived by them any more.
    """
    transforms = {
        name: function
        for name, function in _transforms(table_config)
        if name in layout.columns
        and layout.columns[name].auto_generated
        and not any(_names(function, column) for column in removed)
    }
    found: set[str] = set()
    new = set(sources)
    while new:
        new = {
            name
            for name, function in transforms.items()
            if name not in found and any(column != name and _names(function, column) for column in new)
        }
        found |= new
    return frozenset(found)


def _transforms(table_config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for transform in (table_config.get("ingestionConfig") or {}).get("transformConfigs") or ():
        yield str(transform.get("columnName")), str(transform.get("transformFunction"))
    for name in timestamp_columns(table_config):
        yield name, name[1:].rpartition("$")[0]


def _names(function: str, column: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(column)}(?!\w)", function) is not None
