from __future__ import annotations

import os
from pathlib import Path

import pytest

from deep_store_sync.errors import EngineError
from deep_store_sync.jvm.jars import find_jars, normalize

_ALL = ("pinot-segment-local", "pinot-segment-spi", "pinot-spi", "pinot-core")


def folder_with(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    return folder


def maven(folder: Path, version: str) -> Path:
    return folder_with(folder, *(f"{name}-{version}.jar" for name in _ALL), "guava-33.5.0-jre.jar")


def distribution(folder: Path, version: str) -> Path:
    folder_with(folder / "lib", f"pinot-all-{version}-jar-with-dependencies.jar")
    folder_with(folder / "plugins" / "pinot-json", f"pinot-json-{version}-shaded.jar")
    return folder


def test_first_place_that_is_given_counts(tmp_path: Path) -> None:
    given = maven(tmp_path / "given", "1.1.0")
    home = distribution(tmp_path / "home", "1.3.0")
    cache = tmp_path / "xdg" / "pinot-deep-store-sync" / "jars"
    maven(cache / "1.4.0-abc", "1.4.0")
    environ = {"XDG_CACHE_HOME": str(tmp_path / "xdg")}
    assert find_jars(None, environ=environ).version == "1.4.0"
    environ["PINOT_HOME"] = str(home)
    assert find_jars(None, environ=environ).version == "1.3.0"
    environ["DEEP_STORE_SYNC_PINOT_JARS"] = str(maven(tmp_path / "variable", "1.2.0"))
    assert find_jars(None, environ=environ).version == "1.2.0"
    assert find_jars(None, configured=given, environ=environ).version == "1.1.0"


def test_distribution_comes_with_its_plugins_last(tmp_path: Path) -> None:
    home = distribution(tmp_path / "home", "1.5.1")
    for jars in (
        find_jars("1.5.1", environ={"PINOT_HOME": str(home)}),
        find_jars("1.5.1", configured=home, environ={}),
    ):
        assert [path.name for path in jars.paths] == [
            "pinot-all-1.5.1-jar-with-dependencies.jar",
            "pinot-json-1.5.1-shaded.jar",
        ]


def test_cache_of_the_clusters_version_newest_first(tmp_path: Path) -> None:
    cache = tmp_path / "pinot-deep-store-sync" / "jars"
    for age, name in enumerate(("1.5.10-x", "1.5.1-new", "1.5.1-old", "1.4.0-y")):
        os.utime(maven(cache / name, name.partition("-")[0]), (1000 - age, 1000 - age))
    jars = find_jars("1.5.1", environ={"XDG_CACHE_HOME": str(tmp_path)})
    assert (jars.version, jars.paths[0].parent.name) == ("1.5.1", "1.5.1-new")


def test_another_version_than_the_clusters_is_refused_unless_allowed(tmp_path: Path) -> None:
    given = maven(tmp_path / "given", "1.4.0")
    with pytest.raises(
        EngineError, match=r"cluster runs Pinot 1\.5\.1 and the jars in .* are of 1\.4\.0.*allowVersion"
    ):
        find_jars("1.5.1", configured=given)
    mismatched = find_jars("1.5.1", configured=given, allow_mismatch=True)
    assert (mismatched.version, mismatched.of_cluster) == ("1.4.0", False)
    assert find_jars("1.4.0", configured=given).of_cluster
    assert not find_jars(None, configured=given).of_cluster


def test_build_of_a_version_is_that_version(tmp_path: Path) -> None:
    commit = "020ff0d0538b2079d4cf4cb2676a191c87c95d4d"
    assert normalize(f"1.5.1-{commit}") == "1.5.1"
    assert normalize("1.6.0-SNAPSHOT") == "1.6.0-SNAPSHOT"
    assert find_jars(f"1.5.1-{commit}", configured=maven(tmp_path / "given", "1.5.1")).version == "1.5.1"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "holds no jars"),
        (("pinot-spi-1.5.1.jar", "pinot-core-1.5.1.jar"), "holds no pinot-segment-local, pinot-segment-spi"),
        (("log4j-core-2.26.0.jar",), "holds no pinot-segment-local"),
    ],
)
def test_folder_that_will_not_do(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        find_jars("1.5.1", configured=folder_with(tmp_path / "given", *names))


def test_several_versions_in_a_folder(tmp_path: Path) -> None:
    given = maven(tmp_path / "given", "1.5.1")
    (given / "pinot-core-1.5.1.jar").rename(given / "pinot-core-1.4.0.jar")
    with pytest.raises(EngineError, match=r"several Pinot versions .*pinot-core 1\.4\.0"):
        find_jars("1.5.1", configured=given)


def test_nothing_anywhere_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no jars of Pinot 1\.5\.1 found: set engine\.jars .*PINOT_HOME"):
        find_jars("1.5.1", environ={"XDG_CACHE_HOME": str(tmp_path)})
    with pytest.raises(EngineError, match=r"nowhere \(engine\.jars\) is not there"):
        find_jars("1.5.1", configured=Path("nowhere"))
