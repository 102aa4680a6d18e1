"""The hash against Pinot's own config classes: every field is classified, and moves the hash where it matters."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from tests.deep_store_sync.config_fields import (
    DOES_NOT_MATTER,
    EXAMPLE_SCHEMA,
    EXAMPLE_TABLE,
    MATTERING,
    OTHER_VALUES,
    reach,
)
from tests.deep_store_sync.pinot_config import ConfigFields, another_value, printed_schema, printed_table

from deep_store_sync.table_hash import building_config, table_hash


def test_the_classification_contradicts_itself_nowhere() -> None:
    assert not MATTERING & DOES_NOT_MATTER.keys()
    assert all(DOES_NOT_MATTER.values())


def why_not(path: str) -> str | None:
    """The reason that the nearest section above has for a field not to matter."""
    found = [key for key in DOES_NOT_MATTER if path == key or path.startswith((f"{key}.", f"{key}[", f"{key}{{"))]
    return DOES_NOT_MATTER[max(found, key=len)] if found else None


def test_every_field_of_pinots_is_classified(fields: ConfigFields) -> None:
    unclassified = [path for path in fields.leaves if path not in MATTERING and not why_not(path)]
    assert not unclassified, f"does a segment depend on them? {unclassified}"
    known = fields.leaves.keys() | fields.sections
    gone = [path for path in (*MATTERING, *DOES_NOT_MATTER) if path not in known]
    assert not gone, f"Pinot has them no more: {gone}"


def test_the_hash_moves_with_just_the_fields_that_matter(variants: dict[str, Variant]) -> None:
    wrong = []
    for path, (before, after) in variants.items():
        matters = path in MATTERING
        if matters and before == after:
            wrong.append(f"{path}: no other value was set")
        elif (table_hash(*before) != table_hash(*after)) is not matters:
            wrong.append(f"{path}: {'does not move' if matters else 'moves'} the hash")
    assert not wrong


def test_what_a_run_remembers_is_hashed_as_the_whole(variants: dict[str, Variant]) -> None:
    for path, (_, (table, schema)) in variants.items():
        assert table_hash(building_config(table), schema) == table_hash(table, schema), path


Documents = tuple[dict[str, Any], dict[str, Any]]
Variant = tuple[Documents, Documents]


@pytest.fixture(scope="module")
def fields() -> ConfigFields:
    return ConfigFields()


@pytest.fixture(scope="module")
def variants(fields: ConfigFields) -> dict[str, Variant]:
    """For each field, table config and schema as a controller prints them, without and with another value of it."""
    return {path: variant(path, java_type) for path, java_type in fields.leaves.items()}


def variant(path: str, java_type: Any) -> Variant:
    in_schema = path.startswith("schema.")
    table, schema = deepcopy(EXAMPLE_TABLE), deepcopy(EXAMPLE_SCHEMA)
    *parents, last = path.removeprefix("schema.").split(".")
    reach(schema if in_schema else table, parents)
    before = printed_table(table), printed_schema(schema)
    now = reach(deepcopy(before[in_schema]), parents).get(last)
    value = OTHER_VALUES[path] if path in OTHER_VALUES else another_value(java_type, now)
    reach(schema if in_schema else table, parents)[last] = value
    return before, (printed_table(table), printed_schema(schema))
