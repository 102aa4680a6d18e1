"""Every kind of change that Pinot allows to a table, a case each."""

from __future__ import annotations

from tests.e2e.changes.columns import COLUMNS, NULLS, TYPES
from tests.e2e.changes.encodings import ENCODINGS
from tests.e2e.changes.indexes import INDEXES
from tests.e2e.changes.segments import SEGMENTS, TIERS

CASES = (*INDEXES, *ENCODINGS, *COLUMNS, *NULLS, *TYPES, *SEGMENTS, *TIERS)
