"""What the sandbox is made of: Pinot's jars, the cluster's compiled classes, the S3 gateway's binary.

Each is fetched or built once, into a cache below ``$XDG_CACHE_HOME`` (``~/.cache``), and moved into place whole: a run
that was killed leaves nothing half done, and two runs at once wait for each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from pinot_sandbox.errors import SandboxError

Progress = Callable[[str], None]

_PACKAGE: Final = Path(__file__).parent
_POM: Final = _PACKAGE / "pom.xml"
_LIBRARY_POM: Final = _PACKAGE / "library-pom.xml"
_JAVA_SOURCES: Final = _PACKAGE / "java"
_JAVA_AT_LEAST: Final = 17
_VERSITYGW: Final = "1.8.0"
_TOXIPROXY: Final = "2.5.0"
_INSTALL_JDK: Final = (
    "Debian and Ubuntu: apt-get install openjdk-17-jdk-headless; macOS: brew install openjdk@17, and set JAVA_HOME to "
    "$(brew --prefix openjdk@17)/libexec/openjdk.jdk/Contents/Home"
)
_INSTALL_MAVEN: Final = "Debian and Ubuntu: apt-get install maven; macOS: brew install maven"
_INSTALL_GO: Final = "Debian and Ubuntu: apt-get install golang-go, or go.dev/dl; macOS: brew install go"


def pinot_version() -> str:
    """The version of Pinot that the sandbox runs, as pinned in its pom.xml."""
    found = re.search(r"<pinot\.version>(.+?)</pinot\.version>", _POM.read_text())
    assert found, f"no pinot.version in {_POM}"  # noqa: S101
    return found[1]


def cache_dir() -> Path:
    """Where everything that can be fetched or built again is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pinot-deep-store-sync"


def find_java(tool: str = "java") -> Path:
    """A tool of a JDK, 17 or later: from ``JAVA_HOME`` where it is set, else from ``PATH``.

    Raises:
        SandboxError: There is none, or an older one.
    """
    home = os.environ.get("JAVA_HOME")
    where = f"JAVA_HOME ({home})" if home else "PATH"
    found = shutil.which(tool, path=str(Path(home) / "bin") if home else None)
    if not found:
        raise SandboxError(f"No {tool} in {where}: the sandbox needs a JDK, {_JAVA_AT_LEAST} or later. {_INSTALL_JDK}.")
    answer = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r"(\d+)(?:\.(\d+))?", answer.stdout + answer.stderr)
    if answer.returncode or not version:  # macOS has a java that only tells where to get one
        raise SandboxError(
            f"{found} is not a working {tool}: the sandbox needs a JDK, {_JAVA_AT_LEAST} or later. {_INSTALL_JDK}."
        )
    major = int(version[2] or 0) if version[1] == "1" else int(version[1])
    if major < _JAVA_AT_LEAST:
        raise SandboxError(
            f"{found} is of Java {major}: the sandbox needs a JDK, {_JAVA_AT_LEAST} or later. {_INSTALL_JDK}. "
            "Where several are installed, JAVA_HOME chooses one."
        )
    return Path(found)


def ensure_jars(progress: Progress | None = None, cache: Path | None = None) -> Path:
    """The folder with Pinot's jars and all they need, resolved by Maven the first time.

    Raises:
        SandboxError: No Java, no Maven, or Maven failed; with what to do.
    """
    return _resolved(_POM, pinot_version(), "about 165 MB", progress, cache)


def ensure_library(version: str, progress: Progress | None = None, cache: Path | None = None) -> Path:
    """The folder with the segment library of any version of Pinot and all it needs, resolved by Maven the first time.

    Raises:
        SandboxError: No Java, no Maven, or Maven failed; with what to do.
    """
    return _resolved(_LIBRARY_POM, version, "about 145 MB", progress, cache)


def _resolved(pom: Path, version: str, size: str, progress: Progress | None, cache: Path | None) -> Path:
    def resolve(target: Path) -> None:
        find_java()
        maven = shutil.which("mvn")
        if not maven:
            raise SandboxError(f"No mvn in PATH: the sandbox fetches Pinot's jars with Maven. {_INSTALL_MAVEN}.")
        _tell(progress, f"fetching the jars of Pinot {version} with Maven, {size}, once")
        options = [f"-Dpinot.version={version}", f"-DoutputDirectory={target}"]
        _run([maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", *options], "Maven")

    return _ensure((cache or cache_dir()) / "jars" / f"{version}-{_digest(pom.read_bytes())}", resolve)


def ensure_classes(jars: Path, progress: Progress | None = None, cache: Path | None = None) -> Path:
    """The folder with the sandbox's own classes, compiled the first time that these sources meet these jars.

    Raises:
        SandboxError: No javac, or it failed.
    """
    sources = sorted(_JAVA_SOURCES.rglob("*.java"))
    digest = _digest(
        jars.name.encode(), *(part for path in sources for part in (path.name.encode(), path.read_bytes()))
    )

    def compile_sources(target: Path) -> None:
        javac = find_java("javac")
        _tell(progress, "compiling the sandbox's Java sources")
        options = ["-nowarn", "--release", str(_JAVA_AT_LEAST), "-cp", str(jars / "*"), "-d", str(target)]
        _run([str(javac), *options, *map(str, sources)], "javac")

    return _ensure((cache or cache_dir()) / "classes" / digest, compile_sources)


def ensure_versitygw(progress: Progress | None = None, cache: Path | None = None) -> Path:
    """The binary of versitygw, a real S3 gateway over a folder, built by Go the first time.

    Raises:
        SandboxError: No Go, or it failed.
    """
    package = f"github.com/versity/versitygw/cmd/versitygw@v{_VERSITYGW}"
    what = f"versitygw {_VERSITYGW}, the S3 gateway of the sandbox"
    return _built_by_go(package, f"versitygw-{_VERSITYGW}", what, progress, cache) / "versitygw"


def ensure_toxiproxy(progress: Progress | None = None, cache: Path | None = None) -> Path:
    """The binary of toxiproxy, which breaks connections as networks do, built by Go the first time.

    Raises:
        SandboxError: No Go, or it failed.
    """
    package = f"github.com/Shopify/toxiproxy/v2/cmd/server@v{_TOXIPROXY}"
    what = f"toxiproxy {_TOXIPROXY}, the bad network of the tests"
    return _built_by_go(package, f"toxiproxy-{_TOXIPROXY}", what, progress, cache) / "server"


def _built_by_go(package: str, name: str, what: str, progress: Progress | None, cache: Path | None) -> Path:
    """The folder with the binary of a package of a pinned version, which Go checks against its checksum database."""

    def build(target: Path) -> None:
        go = shutil.which("go")
        if not go:
            raise SandboxError(f"No go in PATH: it builds {what}. {_INSTALL_GO}.")
        _tell(progress, f"building {what}, with Go, which takes a minute or two, once")
        _run([go, "install", package], "go install", GOBIN=str(target))

    return _ensure((cache or cache_dir()) / "bin" / name, build)


def log4j_config() -> Path:
    """The JVM's logging: warnings and errors, to standard error."""
    return _JAVA_SOURCES / "log4j2.xml"


def _ensure(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, made by `make` in a temporary one beside it if it is not there yet."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".", ignore_cleanup_errors=True) as parent:
                target = Path(parent, folder.name)
                target.mkdir()
                make(target)
                target.rename(folder)
    return folder


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock among processes, by a file that stays."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(command: list[str], what: str, **environment: str) -> None:
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    if answer.returncode:
        output = (answer.stdout + answer.stderr).strip()[-2000:]
        raise SandboxError(f"{what} failed with exit code {answer.returncode}: {' '.join(command[:4])} …\n{output}")


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:12]


def _tell(progress: Progress | None, line: str) -> None:
    if progress:
        progress(line)
