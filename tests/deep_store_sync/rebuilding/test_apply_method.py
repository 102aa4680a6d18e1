"""What Pinot made up from other columns, through changes of these."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jpype
import pytest
from tests.deep_store_sync.pinot_segments import (
    build_segment,
    engine,
    is_stale,
    jars,
    rows,
    schema,
    table_config,
)

from deep_store_sync.errors import VerificationError
from deep_store_sync.jvm.process import EngineProcess
from deep_store_sync.rebuilding.apply_method import Applied, apply_method
from deep_store_sync.rebuilding.method import choose_method
from deep_store_sync.segment.buffer_facts import read_buffer_facts
from deep_store_sync.segment.fingerprint import take_fingerprint
from deep_store_sync.segment.segment_files import read_layout
from deep_store_sync.segment.verify import Changes, compare

Json = dict[str, Any]

ROWS = 100
TWICE, FOUR, NEW = (
    ("dimensionFieldSpecs", {"name": "twice", "dataType": "STRING"}),
    ("dimensionFieldSpecs", {"name": "four", "dataType": "STRING"}),
    ("dimensionFieldSpecs", {"name": "more", "dataType": "INT"}),
)


def deriving(*, top: Mapping[str, Any] | None = None, **indexing: Any) -> Json:
    transforms = {"twice": "concat(code, code, '-')", "four": "concat(twice, twice, '+')", "more": "plus(m, 1)"}
    configs = [{"columnName": name, "transformFunction": function} for name, function in transforms.items()]
    return table_config(top={"ingestionConfig": {"transformConfigs": configs}} | dict(top or {}), **indexing)


def m(default: Any, **more: Any) -> tuple[str, Json]:
    return "metricFieldSpecs", {"name": "m", "dataType": "INT", "defaultNullValue": default} | more


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_segment(tmp_path_factory.mktemp("built"), "s", rows(ROWS), table_config())


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    process = EngineProcess(jars(), 512 << 20, temp_dir=tmp_path_factory.mktemp("java"))
    yield process
    process.close()


@dataclass
class Bench:
    """A segment, brought to one config and schema after the other."""

    process: EngineProcess
    tmp_path: Path
    segment: Path
    count: int = 0

    def bring(self, config: Json, of: Json) -> tuple[Applied, Changes]:
        """As a batch does it, verified."""
        self.count += 1
        folder = self.tmp_path / str(self.count)
        work = Path(shutil.copytree(self.segment, folder / "s"))
        original = take_fingerprint(work)
        method = choose_method(read_layout(work), config, of, read_buffer_facts(work))
        applied = apply_method(self.process, method, work, folder, config, of, None)
        if applied.original_kept:
            assert take_fingerprint(work) == original
        regenerated, before = applied.regenerated, self.segment
        sort_by = regenerated.sorted_by if regenerated else ()
        changes = compare(
            original,
            take_fingerprint(applied.segment_dir),
            lambda columns: self.process.compare_values(before, applied.segment_dir, columns, sort_by),
            regenerated,
        )
        self.segment = applied.segment_dir
        assert is_stale(self.segment, config, of) is None
        return applied, changes


@pytest.fixture
def bench(process: EngineProcess, tmp_path: Path, built: Path) -> Bench:
    return Bench(process, tmp_path, built)


def values(segment_dir: Path, column: str) -> list[Any]:
    engine()
    load = jpype.JClass
    loader = load("org.apache.pinot.segment.local.indexsegment.immutable.ImmutableSegmentLoader")
    segment = loader.load(load("java.io.File")(str(segment_dir)), load("org.apache.pinot.spi.utils.ReadMode").mmap)
    try:
        return [str(segment.getValue(row, column)) for row in range(ROWS)]
    finally:
        segment.destroy()


def star_tree_sum(segment_dir: Path, column: str) -> float:
    """Over all rows."""
    engine()
    load = jpype.JClass
    loader = load("org.apache.pinot.segment.local.indexsegment.immutable.ImmutableSegmentLoader")
    segment = loader.load(load("java.io.File")(str(segment_dir)), load("org.apache.pinot.spi.utils.ReadMode").mmap)
    try:
        source = segment.getStarTrees()[0].getDataSource(f"sum__{column}")
        reader = source.getForwardIndex()
        context = reader.createContext()
        count = int(source.getDataSourceMetadata().getNumDocs())
        return max(float(reader.getDouble(row, context)) for row in range(count))
    finally:
        segment.destroy()


def summing(column: str) -> Json:
    tree = {"dimensionsSplitOrder": ["city"], "functionColumnPairs": [f"SUM__{column}"], "maxLeafRecords": 1}
    return {"starTreeIndexConfigs": [tree], "enableDynamicStarTreeCreation": True}


def test_derived_column_outlives_what_it_was_derived_from(bench: Bench) -> None:
    bench.bring(deriving(), schema(add=[TWICE]))
    twice = values(bench.segment, "twice")
    assert len(set(twice)) > 1
    applied, changes = bench.bring(deriving(), schema(add=[TWICE], drop=["code"]))
    assert changes == Changes(("code: column removed",), ("code: column removed",))
    assert values(bench.segment, "twice") == twice
    assert not applied.values_changed


def test_derived_column_whose_source_is_gone_is_not_made_up_of_defaults(bench: Bench) -> None:
    """Pinot would, where the column's own definition changes, too."""
    bench.bring(deriving(), schema(add=[TWICE]))
    bench.bring(deriving(), schema(add=[TWICE], drop=["code"]))
    other = ("dimensionFieldSpecs", TWICE[1] | {"defaultNullValue": "none"})
    with pytest.raises(VerificationError, match=r"column 'twice': it held \d+ values, and Pinot made it anew"):
        bench.bring(deriving(), schema(add=[other], drop=["code"]))


def test_columns_derived_from_derived_ones_follow(bench: Bench) -> None:
    bench.bring(deriving(), schema(add=[TWICE]))
    bench.bring(deriving(), schema(add=[TWICE, FOUR]))
    code = values(bench.segment, "code")
    assert values(bench.segment, "four") == [f"{v}-{v}+{v}-{v}" for v in code]
    applied, changes = bench.bring(deriving(), schema(add=[TWICE, FOUR], code={"dataType": "DOUBLE"}))
    code = values(bench.segment, "code")
    assert values(bench.segment, "twice") == [f"{v}-{v}" for v in code]
    assert values(bench.segment, "four") == [f"{v}-{v}+{v}-{v}" for v in code]
    assert {"twice: values derived anew", "four: values derived anew"} <= set(changes.changes)
    assert applied.values_changed


def test_derived_column_of_another_kind_follows_with_its_source(bench: Bench) -> None:
    """Pinot makes it anew by itself, and does not look at what follows it."""
    bench.bring(deriving(), schema(add=[TWICE]))
    bench.bring(deriving(), schema(add=[TWICE, FOUR]))
    multi = ("dimensionFieldSpecs", TWICE[1] | {"dataType": "JSON"})
    bench.bring(deriving(), schema(add=[multi, FOUR], code={"dataType": "DOUBLE"}))
    twice = values(bench.segment, "twice")
    assert values(bench.segment, "four") == [f"{v}+{v}" for v in twice]


@pytest.mark.parametrize("raw", [False, True])
def test_star_tree_over_a_made_up_column_follows_its_default(bench: Bench, raw: bool) -> None:
    config = table_config(noDictionaryColumns=["note", "doc", *["m"] * raw], **summing("m"))
    bench.bring(config, schema(add=[m(1)]))
    assert star_tree_sum(bench.segment, "m") == ROWS
    applied, changes = bench.bring(config, schema(add=[m(5)]))
    assert star_tree_sum(bench.segment, "m") == 5 * ROWS
    assert set(changes.changes) == {"m: default value '1' → '5'", "star-tree rebuilt"}
    assert applied.values_changed
    assert not bench.bring(config, schema(add=[m(5)]))[0].changed


def test_text_index_over_a_made_up_column_follows_its_default(bench: Bench) -> None:
    config = table_config(multiColumnTextIndexConfig={"columns": ["note", "word"]})
    word = {"name": "word", "dataType": "STRING", "defaultNullValue": "old"}
    bench.bring(config, schema(add=[("dimensionFieldSpecs", word)]))
    of = schema(add=[("dimensionFieldSpecs", word | {"defaultNullValue": "new"})])
    applied, changes = bench.bring(config, of)
    assert set(changes.changes) == {"word: default value 'old' → 'new'", "multi-column text index rebuilt"}
    assert applied.values_changed


def test_derived_column_follows_a_default(bench: Bench) -> None:
    bench.bring(deriving(), schema(add=[m(1)]))
    bench.bring(deriving(), schema(add=[m(1), NEW]))
    assert values(bench.segment, "more") == ["2"] * ROWS
    applied, changes = bench.bring(deriving(), schema(add=[m(5), NEW]))
    assert values(bench.segment, "more") == ["6"] * ROWS
    assert set(changes.changes) == {"m: default value '1' → '5'", "more: values derived anew"}
    assert applied.values_changed


def test_made_up_column_of_another_kind_of_field_takes_what_follows_it_along(bench: Bench) -> None:
    """Pinot cannot change the kind: the column is left out, and what follows it has to wait for it."""
    bench.bring(deriving(), schema(add=[m(1)]))
    bench.bring(deriving(**summing("more")), schema(add=[m(1), ("metricFieldSpecs", NEW[1])]))
    assert star_tree_sum(bench.segment, "more") == 2 * ROWS
    of = schema(add=[("dimensionFieldSpecs", m(5)[1]), ("metricFieldSpecs", NEW[1])])
    applied, _ = bench.bring(deriving(**summing("more")), of)
    assert values(bench.segment, "m") == ["5"] * ROWS
    assert values(bench.segment, "more") == ["6"] * ROWS
    assert star_tree_sum(bench.segment, "more") == 6 * ROWS
    assert applied.values_changed


def test_default_that_nothing_follows_is_left_to_preprocessing(bench: Bench) -> None:
    config = table_config(**summing("price"))
    bench.bring(config, schema(add=[m(1)]))
    applied, changes = bench.bring(config, schema(add=[m(5)]))
    assert changes.changes == ("m: default value '1' → '5'",)
    assert applied.regenerated is None
    assert not applied.values_changed
