from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deep_store_sync.rebuilding.derivations import derived_from
from deep_store_sync.segment.segment_files import SegmentLayout, parse_layout

TRANSFORMS = {
    "twice": "plus(code, code)",
    "four": "concat(twice, twice, '-')",
    "shout": 'upper("city")',
    "both": "Groovy({code + price}, code, price)",
    "other": "upper(code_name)",
    "ingested": "plus(code, 1)",
    "self": "plus(self, 1)",
}
CONFIG: dict[str, Any] = {
    "ingestionConfig": {
        "transformConfigs": [{"columnName": name, "transformFunction": text} for name, text in TRANSFORMS.items()]
    },
    "fieldConfigList": [{"name": "ts", "timestampConfig": {"granularities": ["DAY"]}}],
}


def layout(made_up: set[str]) -> SegmentLayout:
    names = [*TRANSFORMS, "$ts$DAY"]
    lines = ["segment.name = s", "segment.total.docs = 1", f"segment.dimension.column.names = {','.join(names)}"]
    for name in names:
        lines += [f"column.{name}.dataType = INT", f"column.{name}.columnType = DIMENSION",
                  f"column.{name}.cardinality = 2"]  # fmt: skip
    found = parse_layout("\n".join(lines).encode())
    columns = {name: replace(column, auto_generated=name in made_up) for name, column in found.columns.items()}
    return replace(found, columns=columns)


@pytest.mark.parametrize(
    ("sources", "removed", "expected"),
    [
        ({"code"}, set(), {"twice", "four", "both"}),
        ({"code"}, {"price"}, {"twice", "four"}),
        ({"city"}, set(), {"shout"}),
        ({"twice"}, set(), {"four"}),
        ({"ts"}, set(), {"$ts$DAY"}),
        ({"self"}, set(), set()),
        (set(), {"code"}, set()),
    ],
)
def test_columns_that_follow_others(sources: set[str], removed: set[str], expected: set[str]) -> None:
    found = layout({*TRANSFORMS, "$ts$DAY"} - {"ingested"})
    assert derived_from(found, CONFIG, sources, removed) == expected
