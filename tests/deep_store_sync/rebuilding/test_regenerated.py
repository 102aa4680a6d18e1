"""A batch whose segments need more than preprocessing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.deep_store_sync.pinot_segments import engine, is_stale, schema, table_config
from tests.deep_store_sync.rebuilding.kit import Batch

from deep_store_sync.model import Action, RebuildResult, Rebuilt, Servers
from deep_store_sync.segment.data_crc import compute_data_crc
from deep_store_sync.segment.segment_files import read_creation_meta, read_layout

LONG = schema(code={"dataType": "LONG"})
MODULO: dict[str, Any] = {
    "segmentPartitionConfig": {"columnPartitionMap": {"code": {"functionName": "Modulo", "numPartitions": 4}}}
}


def test_values_that_were_written_anew_are_another_segment(batch: Batch) -> None:
    """With CRCs of its own, even if no server calls the old one stale any more."""
    row = batch.add("s 0", servers=Servers.CLEAN)
    (result,) = batch.run(of=LONG)
    assert (result.status, result.message, result.regenerated) == (Rebuilt.CHANGED, "", True)
    assert {"code: data type INT → LONG", "city: inverted_index added"} <= set(result.changes)
    folder, _ = batch.staged(result)
    original = read_creation_meta(batch.built / "s 0")
    assert result.staged_crc == result.new_crc == engine().crc(folder) != row.crc
    assert result.data_crc == compute_data_crc(folder) != original.data_crc
    assert read_creation_meta(folder) == replace(original, crc=result.new_crc, data_crc=result.data_crc)
    assert is_stale(folder, table_config(invertedIndexColumns=["city"]), LONG) is None


def test_column_that_only_came_with_preprocessing_is_written_anew_after_it(batch: Batch) -> None:
    batch.add("s 0")
    of = schema(add=[("dimensionFieldSpecs", {"name": "new", "dataType": "INT"})])
    config = table_config(noDictionaryColumns=["note", "doc", "new"])
    (result,) = batch.run(config, of)
    assert (result.status, result.regenerated) == (Rebuilt.CHANGED, True), result.message
    folder, _ = batch.staged(result)
    assert not read_layout(folder).columns["new"].has_dictionary
    assert is_stale(folder, config, of) is None


def test_star_tree_is_built_whether_servers_would_or_not(batch: Batch) -> None:
    batch.add("s 0")
    tree = {"dimensionsSplitOrder": ["code"], "functionColumnPairs": ["COUNT__*"], "maxLeafRecords": 10}
    config = table_config(starTreeIndexConfigs=[tree])
    (result,) = batch.run(config)
    assert (result.changes, result.regenerated) == (("star-tree added",), False)
    assert is_stale(batch.staged(result)[0], config, schema()) is None


def test_column_left_out_is_no_other_data(batch: Batch) -> None:
    batch.add("s 0", servers=Servers.CLEAN)
    (result,) = batch.run(table_config(), schema(drop=["price"]))
    assert (result.status, result.changes) == (Rebuilt.CHANGED, ("price: column removed",))
    assert not result.regenerated
    assert result.data_crc == read_creation_meta(batch.built / "s 0").data_crc
    assert "price" not in read_layout(batch.staged(result)[0]).columns


@pytest.mark.parametrize(
    ("top", "indexing", "of", "message"),
    [
        ({"upsertConfig": {"mode": "FULL", "metadataTTL": 10}}, {}, LONG, "bring expired rows back"),
        ({"upsertConfig": {"mode": "FULL"}}, {"sortedColumn": ["city"]}, schema(), "order they were ingested"),
        ({"segmentsConfig": {"replication": "1"}}, {}, schema(drop=["ts"]), "time column 'ts' is not in the schema"),
    ],
    ids=["TTL", "order", "time"],
)
def test_what_must_not_be_done_is_left_with_its_reason(
    batch: Batch, top: dict[str, Any], indexing: dict[str, Any], of: dict[str, Any], message: str
) -> None:
    batch.add("s 0")
    (result,) = batch.run(table_config(top=top, **indexing), of)
    assert (result.status, result.staged_url) == (Rebuilt.NOT_ELIGIBLE, None)
    assert message in result.message


def test_what_cannot_be_converted_fails(batch: Batch) -> None:
    batch.add("s 0")
    (result,) = batch.run(of=schema(city={"dataType": "INT"}))
    assert (result.status, result.staged_url) == (Rebuilt.FAILED, None)
    assert "city" in result.message


def partitioned(batch: Batch, **planned: Any) -> RebuildResult:
    """The answer to an object that was brought to the partition config before."""
    batch.add("s 0")
    (first,) = batch.run(table_config(**MODULO))
    assert (first.status, first.regenerated) == (Rebuilt.CHANGED, True), first.message
    assert first.staged_url
    body = batch.store.read(first.staged_url)
    batch.planned.clear()
    batch.add("s 0", body=body, crc=first.staged_crc, **planned)
    (second,) = batch.run(table_config(**MODULO))
    return second


@pytest.mark.parametrize("action", [Action.RELOAD, Action.REBUILD])
def test_segment_that_servers_call_stale_however_it_is_rebuilt(batch: Batch, action: Action) -> None:
    result = partitioned(batch, action=action)
    assert result.status is Rebuilt.INCURABLE
    assert "of 'code', and not of one" in result.message
    assert result.metadata_properties


def test_incurable_is_not_said_of_a_segment_that_nobody_calls_stale(batch: Batch) -> None:
    assert partitioned(batch, action=Action.AUDIT, servers=Servers.UNKNOWN).status is Rebuilt.UNCHANGED
