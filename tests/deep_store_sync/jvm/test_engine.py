from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import jpype
import pytest
from tests.deep_store_sync.pinot_segments import build_segment, engine, jars, rows, schema, table_config
from tests.deep_store_sync.processes import in_a_process

from deep_store_sync.errors import EngineError, RebuildError
from deep_store_sync.jvm.engine import SegmentEngine
from deep_store_sync.jvm.jars import JarSet
from deep_store_sync.segment.segment_files import read_creation_meta, read_index_map, read_layout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_segment(tmp_path_factory.mktemp("built"), "s", rows(500), table_config())


@pytest.fixture
def segment(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "s"))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_segment_that_is_as_it_should_be_is_not_touched(segment: Path) -> None:
    before = contents(segment)
    assert engine().preprocess(segment, table_config(), schema()) is False
    assert contents(segment) == before


@pytest.mark.parametrize("skip", [False, True])
def test_index_is_added_once(segment: Path, skip: bool) -> None:
    config = table_config(invertedIndexColumns=["city"], skipSegmentPreprocess=skip)
    assert engine().preprocess(segment, config, schema()) is True
    assert ("city", "inverted_index") in read_index_map(segment)
    assert engine().preprocess(segment, config, schema()) is False


def test_loading_it_leaves_a_segment_as_it_is(segment: Path) -> None:
    config = table_config(fields=[{"name": "note", "encodingType": "RAW", "indexTypes": ["TEXT"]}])
    engine().preprocess(segment, config, schema())
    before = contents(segment)
    engine().check_loads(segment, config, schema())
    assert contents(segment) == before
    assert [path.name for path in segment.parent.iterdir()] == ["s"]


def test_segment_that_no_server_could_load_is_an_error(segment: Path) -> None:
    columns = segment / "v3" / "columns.psf"
    columns.write_bytes(columns.read_bytes()[:1000])
    with pytest.raises(RebuildError, match="cannot load it"):
        engine().check_loads(segment, table_config(), schema())
    assert [path.name for path in segment.parent.iterdir()] == ["s"]


def test_crc_is_pinots_and_changes_with_the_indexes(segment: Path) -> None:
    meta = read_creation_meta(segment)
    assert engine().crc(segment) == meta.crc
    engine().preprocess(segment, table_config(invertedIndexColumns=["city"]), schema())
    assert engine().crc(segment) != meta.crc
    assert read_creation_meta(segment) == meta


def test_tier_decides_where_the_table_overrides_by_tier(segment: Path) -> None:
    index = {"name": "city", "encodingType": "DICTIONARY", "tierOverwrites": {"cold": {"indexes": {"inverted": {}}}}}
    config = table_config(fields=[index])
    assert engine().preprocess(segment, config, schema()) is False
    assert engine().preprocess(segment, config, schema(), "hot") is False
    assert engine().preprocess(segment, config, schema(), "cold") is True
    assert ("city", "inverted_index") in read_index_map(segment)


def test_timestamp_index_is_applied_as_by_a_server(segment: Path) -> None:
    field = {
        "name": "ts",
        "encodingType": "DICTIONARY",
        "indexTypes": ["TIMESTAMP"],
        "timestampConfig": {"granularities": ["MINUTE"]},
    }
    assert engine().preprocess(segment, table_config(fields=[field]), schema()) is True
    assert "$ts$MINUTE" in read_layout(segment).columns


def test_old_segment_format_is_converted_where_the_table_asks_for_v3(tmp_path: Path) -> None:
    segment = build_segment(tmp_path, "s", rows(20), table_config(segmentFormatVersion="v1"))
    assert read_layout(segment).version == "v1"
    assert engine().preprocess(segment, table_config(segmentFormatVersion="v3"), schema()) is True
    assert read_layout(segment).version == "v3"


def test_environment_is_not_taken_in(segment: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.deep_store_sync.pinot_segments import engine, schema, table_config\n"
        "print(engine().preprocess(Path(sys.argv[1]), table_config(invertedIndexColumns=['city']), schema()))"
    )
    # What Pinot takes for files with its own settings; a missing one makes it fail.
    done = in_a_process(script, str(segment), CONFIG_PATHS=str(tmp_path / "missing.properties"))
    assert done.stdout.splitlines()[-1:] == ["True"], done.stderr


def test_failure_comes_with_pinots_words(segment: Path) -> None:
    columns = segment / "v3" / "columns.psf"
    columns.write_bytes(bytes(8) + columns.read_bytes()[8:])  # the marker of the first buffer
    with pytest.raises(RebuildError, match="RuntimeException: Inconsistent data read") as caught:
        engine().preprocess(segment, table_config(), schema())
    assert "\tat " not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_star_tree_that_pinot_leaves_out_in_silence_is_an_error(segment: Path) -> None:
    tree = {"dimensionsSplitOrder": ["code"], "functionColumnPairs": ["SUM__city"], "maxLeafRecords": 10}
    config = table_config(starTreeIndexConfigs=[tree], enableDynamicStarTreeCreation=True)
    with pytest.raises(RebuildError, match="left something undone: an index"):
        engine().preprocess(segment, config, schema())


def test_heap_that_is_too_small_is_named(built: Path) -> None:
    with (
        pytest.raises(
            RebuildError, match=r"OutOfMemoryError: Java heap space; the heap is limited to 512 MiB: raise engine\.heap"
        ),
        engine().java(RebuildError, "x"),
    ):
        jpype.JArray(jpype.JLong)(100_000_000)
    assert engine().crc(built)  # and the next segment goes on


def test_one_set_of_jars_a_process() -> None:
    assert SegmentEngine.start(jars(), 1) is engine()
    other = JarSet("1.4.0", (Path("other.jar"),), "elsewhere")
    with pytest.raises(EngineError, match=r"already runs Pinot .* cannot change to 1\.4\.0 from elsewhere"):
        SegmentEngine.start(other, 512 << 20)


def test_fork_of_a_process_with_a_jvm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    engine()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(EngineError, match="parent process"):
        SegmentEngine.start(jars(), 512 << 20)


_START = """
from deep_store_sync.errors import EngineError
from tests.deep_store_sync.pinot_segments import engine, jars
try:
    {0}
except EngineError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import jpype; jpype.startJVM(); engine()", "another library already started a JVM"),
        (
            "import jpype; jpype.getDefaultJVMPath = lambda: '/nowhere/libjvm.so'; engine()",
            "Java at /nowhere/libjvm.so could",
        ),
        (
            "from dataclasses import replace; from deep_store_sync.jvm.engine import SegmentEngine as E; j = jars(); "
            "E.start(replace(j, paths=tuple(p for p in j.paths if 'segment-local' not in p.name)), 1 << 28)",
            "does not work: ",
        ),
    ],
)
def test_engine_that_does_not_start_says_why(script: str, message: str) -> None:
    done = in_a_process(_START.format(script))
    assert message in done.stdout, done.stderr


def test_signals_stay_pythons_own() -> None:
    script = (
        "import os, signal; from tests.deep_store_sync.pinot_segments import engine\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('handled')); engine(); os.kill(os.getpid(), signal.SIGTERM)"
    )
    done = in_a_process(script)
    assert done.stdout.splitlines() == ["handled"], done.stderr
    assert done.returncode == 0


def test_process_ends_though_the_thread_that_started_java_is_gone(segment: Path) -> None:
    script = (
        "import sys, threading; from pathlib import Path\n"
        "from tests.deep_store_sync.pinot_segments import SegmentEngine, jars, schema, table_config\n"
        "def start(): SegmentEngine.start(jars(), 512 << 20)\n"
        "def use():\n"
        "    of = schema(add=[('dimensionFieldSpecs', {'name': 'up', 'dataType': 'STRING'})])\n"
        "    derived = {'transformConfigs': [{'columnName': 'up', 'transformFunction': 'upper(city)'}]}\n"
        "    start()\n"
        "    SegmentEngine._running.preprocess(Path(sys.argv[1]), table_config(top={'ingestionConfig': derived}), of)\n"
        "for step in (start, use):\n"
        "    thread = threading.Thread(target=step); thread.start(); thread.join()\n"
        "print('end')"
    )
    done = in_a_process(script, str(segment))
    assert (done.stdout, done.returncode) == ("end\n", 0), done.stderr
    # Pinot found its functions in a thread that did not start it.
    assert read_layout(segment).columns["up"].cardinality == read_layout(segment).columns["city"].cardinality


def test_pinot_logs_errors_only_and_to_stderr(segment: Path) -> None:
    script: Any = (
        "import sys; from pathlib import Path; from tests.deep_store_sync.pinot_segments import *\n"
        "tree = {'dimensionsSplitOrder': ['code'], 'functionColumnPairs': ['SUM__city'], 'maxLeafRecords': 10}\n"
        "config = table_config(starTreeIndexConfigs=[tree], enableDynamicStarTreeCreation=True)\n"
        "try: engine().preprocess(Path(sys.argv[1]), config, schema())\n"
        "except Exception: print('refused')"
    )
    done = in_a_process(script, str(segment))
    assert done.stdout == "refused\n"
    assert "Failed to build star-tree" in done.stderr
    assert len(done.stderr.splitlines()) < 10, done.stderr
