"""The hash on configs of any make, put together from the fields of Pinot's own classes and printed by them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import jpype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deep_store_sync.config_fields import (
    EXAMPLE_SCHEMA,
    EXAMPLE_TABLE,
    MATTERING,
    ORDERED,
    OTHER_VALUES,
    SETS,
    reach,
)
from tests.deep_store_sync.pinot_config import ConfigFields, another_value, printed_schema, printed_table
from tests.deep_store_sync.processes import in_a_process

from deep_store_sync.table_hash import table_hash
from pinot_sandbox.toolchain import ensure_library

Documents = tuple[dict[str, Any], dict[str, Any]]

# Another spelling of a field, which the class reads when that one is not set.
_SPELLINGS = {path for path in MATTERING if path.endswith((".indexType", ".timeunitSize"))}
_COLUMNS = ["city", "code", "note", "tags"]


def possible(paths: frozenset[str]) -> frozenset[str]:
    """Without what does not go together: a default value of the former type, a metric with several values."""
    return frozenset(
        path
        for path in paths
        if not (path.endswith("defaultNullValue") and path.replace("defaultNullValue", "dataType") in paths)
        and not (path.endswith("singleValueField") and path.replace("singleValueField", "fieldType") in paths)
    )


combinations = st.frozensets(st.sampled_from(sorted(MATTERING - _SPELLINGS)), max_size=12).map(possible)
of_tiers = st.frozensets(
    st.sampled_from(sorted(path for path in MATTERING - _SPELLINGS if path.startswith("tableIndexConfig."))),
    max_size=5,
)
few = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module")
def fields() -> ConfigFields:
    return ConfigFields()


def with_values(fields: ConfigFields, paths: Iterable[str], *, sections_of: Iterable[str] = ()) -> Documents:
    """The example, with other values of these fields; of others, only the sections that they are in."""
    table, schema = deepcopy(EXAMPLE_TABLE), deepcopy(EXAMPLE_SCHEMA)
    others = set(sections_of)
    for path in sorted({*paths, *others}):
        *parents, last = path.removeprefix("schema.").split(".")
        section = reach(schema if path.startswith("schema.") else table, parents)
        if path in others:
            continue
        value = OTHER_VALUES.get(path, another_value(fields.leaves[path], section.get(last)))
        section[last] = deepcopy(value)
    return table, schema


def printed(documents: Documents) -> Documents:
    return printed_table(documents[0]), printed_schema(documents[1])


@few
@given(combinations)
def test_the_controllers_print_is_hashed_as_what_it_was_given(fields: ConfigFields, paths: frozenset[str]) -> None:
    # Pinot converts a default value to the column's type, and prints that.
    given = with_values(fields, (path for path in paths if not path.endswith("defaultNullValue")))
    once = printed(given)
    assert table_hash(*given) == table_hash(*once) == table_hash(*printed(once))


@few
@given(combinations, combinations)
def test_other_values_give_another_hash(fields: ConfigFields, one: frozenset[str], two: frozenset[str]) -> None:
    first, second = printed(with_values(fields, one)), printed(with_values(fields, two))
    assert (table_hash(*first) == table_hash(*second)) is (one == two)


@few
@given(combinations, st.data())
def test_what_does_not_matter_changes_nothing(fields: ConfigFields, paths: frozenset[str], data: st.DataObject) -> None:
    irrelevant = [path for path in sorted(fields.leaves.keys() - MATTERING) if not path.startswith("schema.")]
    irrelevant += ["schema.schemaName", "schema.primaryKeyColumns"]
    noise = data.draw(st.frozensets(st.sampled_from(irrelevant), max_size=12))
    assert table_hash(*with_values(fields, paths | noise)) == table_hash(*with_values(fields, paths, sections_of=noise))


@few
@given(combinations, st.randoms(use_true_random=False))
def test_order_of_keys_nulls_and_formatting_change_nothing(
    fields: ConfigFields, paths: frozenset[str], random: Random
) -> None:
    documents = printed(with_values(fields, paths))
    messed = [_messed(document, random) for document in documents]
    for section in ("segmentsConfig", "tableIndexConfig", "ingestionConfig"):
        messed[0][section]["aSettingOfTomorrow"] = None
    for section in ("dimensionFieldSpecs", "metricFieldSpecs"):
        messed[1][section][0]["aSettingOfTomorrow"] = None
    again = [json.loads(json.dumps(document, indent=random.randrange(8))) for document in messed]
    assert table_hash(*again) == table_hash(*documents)


def _messed(value: Any, random: Random) -> Any:
    if not isinstance(value, dict):
        return [_messed(member, random) for member in value] if isinstance(value, list) else value
    names = list(value)
    random.shuffle(names)
    return {name: _messed(value[name], random) for name in names}


_PRINT = """
import json, sys
from tests.deep_store_sync.pinot_config import printed_schema, printed_table
table, schema = json.load(open(sys.argv[1]))
json.dump([printed_table(table), printed_schema(schema)], open(sys.argv[1], "w"))
"""


@pytest.mark.parametrize("version", ["1.3.0", "1.4.0"])
def test_an_upgrade_of_the_controller_changes_nothing(version: str, tmp_path: Path) -> None:
    ensure_library(version)
    table, schema = deepcopy(EXAMPLE_TABLE), deepcopy(EXAMPLE_SCHEMA)
    del table["tableIndexConfig"]["multiColumnTextIndexConfig"]  # since 1.4
    documents = tmp_path / "documents.json"
    documents.write_text(json.dumps([table, schema]))
    done = in_a_process(_PRINT, str(documents), PINOT_LIBRARY=version)
    assert done.returncode == 0, done.stderr
    older = tuple(json.loads(documents.read_text()))
    newer = printed_table(table), printed_schema(schema)
    assert older != newer
    assert table_hash(*older) == table_hash(*newer)


@few
@given(st.sampled_from(SETS), st.lists(st.sampled_from(_COLUMNS), min_size=1, max_size=6), st.randoms())
def test_of_a_set_neither_order_nor_duplicates_count(path: str, members: list[str], random: Random) -> None:
    other = members + random.choices(members, k=2)
    random.shuffle(other)
    assert _hash_with(path, members) == _hash_with(path, other)
    assert _hash_with(path, members) != _hash_with(path, [*members, "another"])


@few
@given(st.sampled_from(ORDERED), st.permutations(_COLUMNS))
def test_of_a_list_the_order_counts(path: str, members: list[str]) -> None:
    assert (_hash_with(path, members) == _hash_with(path, _COLUMNS)) is (members == _COLUMNS)


def _hash_with(path: str, value: list[str]) -> str:
    table = deepcopy(EXAMPLE_TABLE)
    *parents, last = path.split(".")
    reach(table, parents)[last] = value
    return table_hash(table, EXAMPLE_SCHEMA)


@pytest.mark.parametrize(
    "empty", ["tableIndexConfig.sortedColumn", "tableIndexConfig.starTreeIndexConfigs", *SETS[3:6]]
)
def test_an_empty_list_says_as_much_as_none(empty: str) -> None:
    table = deepcopy(EXAMPLE_TABLE)
    table["tableIndexConfig"].pop("starTreeIndexConfigs")
    *parents, last = empty.split(".")
    with_empty = deepcopy(table)
    reach(with_empty, parents)[last] = []
    assert table_hash(with_empty, EXAMPLE_SCHEMA) == table_hash(table, EXAMPLE_SCHEMA)


def test_a_null_counts_where_pinot_reads_the_name_only() -> None:
    # Pinot 1.5.1, DictionaryIndexType: the column has no dictionary then.
    assert _hash_with("tableIndexConfig.noDictionaryConfig", {"note": None}) != _hash_with(  # type: ignore[arg-type]
        "tableIndexConfig.noDictionaryConfig",
        {},  # type: ignore[arg-type]
    )


@few
@given(of_tiers, of_tiers, st.booleans())
def test_only_the_overrides_of_its_own_tier_count(
    fields: ConfigFields, cold: frozenset[str], warm: frozenset[str], of_field: bool
) -> None:
    table = deepcopy(EXAMPLE_TABLE)
    overrides = {tier: _overrides(fields, paths) for tier, paths in (("cold", cold), ("warm", warm))}
    table["tableIndexConfig"]["tierOverwrites"] = overrides
    if of_field:
        table["fieldConfigList"][0]["tierOverwrites"] = {"cold": {"encodingType": "RAW", "compressionCodec": "LZ4"}}
    table = printed_table(table)
    plain = table_hash(EXAMPLE_TABLE, EXAMPLE_SCHEMA)
    for tier in (None, "hot"):
        assert table_hash(table, EXAMPLE_SCHEMA, tier) == plain
    assert (table_hash(table, EXAMPLE_SCHEMA, "warm") == plain) is (not warm)
    assert (table_hash(table, EXAMPLE_SCHEMA, "cold") == plain) is (not (cold or of_field))
    for tier in ("cold", "warm"):
        assert table_hash(table, EXAMPLE_SCHEMA, tier) == table_hash(_overwritten(table, tier), EXAMPLE_SCHEMA)


def _overrides(fields: ConfigFields, paths: Iterable[str]) -> dict[str, Any]:
    """Whole settings of `tableIndexConfig`, as an override replaces them."""
    names = {path.split(".")[1].rstrip("[]{}") for path in paths}
    section = with_values(fields, paths)[0]["tableIndexConfig"]
    return {name: section[name] for name in names}


def _overwritten(table: dict[str, Any], tier: str) -> dict[str, Any]:
    """By Pinot itself, and without the overrides."""
    load = jpype.JClass
    parsed = load("org.apache.pinot.spi.utils.JsonUtils").stringToObject(
        json.dumps(table), load("org.apache.pinot.spi.config.table.TableConfig")
    )
    utils = load("org.apache.pinot.segment.local.utils.TableConfigUtils")
    return dict(json.loads(str(utils.overwriteTableConfigForTier(parsed, tier).toJsonString())))
