"""Indexes over several columns of a segment: star-trees and the multi-column text index.

Pinot compares how they are defined, never what they were built from: where a column gets other values, they stay as
they were (Pinot 1.5.1, SegmentPreProcessor.processStarTrees and processMultiColTextIndex).
"""

from __future__ import annotations

from deep_store_sync.segment.segment_files import SegmentLayout, split_list


def star_tree_columns(layout: SegmentLayout) -> frozenset[str]:
    """Columns that a star-tree splits by, or aggregates."""
    found: set[str] = set()
    for key, value in layout.properties.items():
        if key.startswith("startree.v2."):
            if key.endswith((".split.order", ".column.name")):
                found.update(split_list(value))
            elif key.endswith(".function.column.pairs"):
                found.update(pair.partition("__")[2] for pair in split_list(value))
    return frozenset(found)


def text_columns(layout: SegmentLayout) -> frozenset[str]:
    """Columns of the multi-column text index."""
    return frozenset(split_list(layout.properties.get("multicolumntext.columns", "")))
