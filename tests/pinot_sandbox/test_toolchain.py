from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pinot_sandbox import SandboxError, ensure_jars, toolchain
from pinot_sandbox.gateway import choose_gateway

FAKE_JAVA = """#!/bin/sh
echo 'openjdk version "{version}" 2024-01-01' >&2
"""
FAKE_MAVEN = """#!/bin/sh
for argument; do case $argument in -DoutputDirectory=*) target=${argument#*=};; esac; done
echo fetched >>"$FAKE_MAVEN_LOG"
sleep 1
touch "$target/some.jar"
"""
FAKE_MAVEN_ARGUMENTS = """#!/bin/sh
echo "$@" >"$FAKE_MAVEN_LOG"
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all there is in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


def fake(folder: Path, name: str, script: str) -> Path:
    tool = folder / name
    tool.write_text(script)
    tool.chmod(0o755)
    return tool


def test_the_version_is_the_pinned_one() -> None:
    assert toolchain.pinot_version() == "1.5.1"


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert toolchain.cache_dir() == tmp_path / "pinot-deep-store-sync"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert toolchain.cache_dir() == Path("/home/somebody/.cache/pinot-deep-store-sync")


@pytest.mark.usefixtures("tools")
def test_no_java(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match=r"No java in PATH: .*apt-get install openjdk-17-jdk-headless; macOS: brew"):
        ensure_jars(cache=tmp_path)


def test_java_home_comes_first(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tools, "java", FAKE_JAVA.format(version="21.0.1"))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(SandboxError, match=r"No java in JAVA_HOME \(.*nowhere\)"):
        toolchain.find_java()
    home = tmp_path / "jdk" / "bin"
    home.mkdir(parents=True)
    tool = fake(home, "java", FAKE_JAVA.format(version="17"))
    monkeypatch.setenv("JAVA_HOME", str(home.parent))
    assert toolchain.find_java() == tool


@pytest.mark.parametrize(("version", "major"), [("11.0.2", 11), ("1.8.0_392", 8)])
def test_java_too_old(tools: Path, version: str, major: int) -> None:
    fake(tools, "java", FAKE_JAVA.format(version=version))
    with pytest.raises(SandboxError, match=rf"java is of Java {major}: the sandbox needs a JDK, 17 or later"):
        toolchain.find_java()


def test_java_that_does_not_work(tools: Path) -> None:
    fake(tools, "java", "#!/bin/sh\necho 'Unable to locate a Java Runtime.' >&2\nexit 1\n")
    with pytest.raises(SandboxError, match="is not a working java"):
        toolchain.find_java()


def test_no_compiler(tools: Path, tmp_path: Path) -> None:
    fake(tools, "java", FAKE_JAVA.format(version="17.0.1"))
    with pytest.raises(SandboxError, match=r"No javac in PATH: .* needs a JDK"):
        toolchain.ensure_classes(tmp_path / "jars", cache=tmp_path)


def test_no_maven(tools: Path, tmp_path: Path) -> None:
    fake(tools, "java", FAKE_JAVA.format(version="17.0.1"))
    with pytest.raises(SandboxError, match=r"No mvn in PATH: .* apt-get install maven; macOS: brew install maven"):
        ensure_jars(cache=tmp_path)


def test_maven_that_fails(tools: Path, tmp_path: Path) -> None:
    fake(tools, "java", FAKE_JAVA.format(version="17.0.1"))
    fake(tools, "mvn", "#!/bin/sh\necho 'Could not transfer artifact'\nexit 1\n")
    with pytest.raises(SandboxError, match=r"(?s)Maven failed with exit code 1: .*Could not transfer artifact"):
        ensure_jars(cache=tmp_path)
    assert [path for path in (tmp_path / "jars").iterdir() if path.is_dir()] == []


def test_the_library_is_fetched_of_the_version_asked_for(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tools, "java", FAKE_JAVA.format(version="17.0.1"))
    fake(tools, "mvn", FAKE_MAVEN_ARGUMENTS)
    monkeypatch.setenv("FAKE_MAVEN_LOG", str(tmp_path / "log"))
    folder = toolchain.ensure_library("1.3.0", cache=tmp_path)
    assert folder.parent == tmp_path / "jars"
    assert folder.name.startswith("1.3.0-")
    asked = (tmp_path / "log").read_text().split()
    assert "-Dpinot.version=1.3.0" in asked
    assert Path(asked[asked.index("-f") + 1]).name == "library-pom.xml"


@pytest.mark.usefixtures("tools")
def test_without_go_the_gateway_is_moto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lines: list[str] = []
    assert choose_gateway("auto", lines.append) == ("moto", None)
    assert "moto" in lines[-1]
    assert "No go in PATH" in lines[-1]
    with pytest.raises(SandboxError, match=r"No go in PATH: .* macOS: brew install go"):
        choose_gateway("versitygw", lines.append)


@pytest.mark.usefixtures("tools")
def test_without_go_there_is_no_bad_network(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match=r"No go in PATH: it builds toxiproxy .*Ubuntu: apt-get install golang-go"):
        toolchain.ensure_toxiproxy(cache=tmp_path)


def test_binaries_are_built_of_the_pinned_version(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tools, "go", FAKE_MAVEN_ARGUMENTS)
    monkeypatch.setenv("FAKE_MAVEN_LOG", str(tmp_path / "log"))
    assert toolchain.ensure_toxiproxy(cache=tmp_path) == tmp_path / "bin" / "toxiproxy-2.5.0" / "server"
    assert (tmp_path / "log").read_text() == "install github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0\n"


def test_processes_that_need_the_same_jars_fetch_them_once(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    fake(tools, "java", FAKE_JAVA.format(version="17.0.1"))
    fake(tools, "mvn", FAKE_MAVEN)
    log = tmp_path / "log"
    script = "import sys, pathlib, pinot_sandbox; print(pinot_sandbox.ensure_jars(cache=pathlib.Path(sys.argv[1])))"
    environment = {
        "PATH": f"{tools}:/usr/bin:/bin",
        "FAKE_MAVEN_LOG": str(log),
        "PYTHONPATH": str(Path(toolchain.__file__).parents[1]),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "cache")], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    folders = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert len(folders) == 1
    assert [path.name for path in Path(folders.pop()).iterdir()] == ["some.jar"]
    assert log.read_text() == "fetched\n"


def test_the_import_is_cheap() -> None:
    script = "import sys, pinot_sandbox; print(sorted({'boto3', 'httpx', 'moto', 'pandas'} & set(sys.modules)))"
    environment = {"PYTHONPATH": str(Path(toolchain.__file__).parents[1])}
    answer = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
