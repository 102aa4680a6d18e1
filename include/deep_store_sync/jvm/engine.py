"""Pinot's own segment library, in a JVM inside this process, which is one of its own (`deep_store_sync.jvm.process`).

`SegmentEngine.preprocess` does to a segment's folder what a Pinot server does on reload: it adds, changes and removes
only what the table config and the schema ask for. Pinot 1.5.1: BaseTableDataManager.fetchIndexLoadingConfig,
ImmutableSegmentLoader.preprocess, SegmentPreProcessor. Where older versions differ, the class at hand is asked, never
the version.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import jpype

from deep_store_sync.errors import DeepStoreSyncError, EngineError, RebuildError
from deep_store_sync.jvm.jars import JarSet
from deep_store_sync.jvm.library_features import LibraryFeatures
from deep_store_sync.jvm.start_java import start_java

_SOURCE = re.compile(r"\s+at \[Source: [^\]]*\]")  # Jackson's place in the JSON, which nobody sees
_REMEDY = (
    "rebuild with the jars of the version that the cluster runs, and of the index plug-ins that it has "
    "(docs/pinot-jars.md), or take it out of the table config or schema"
)


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
        self._class_loader = start_java(jars, heap_bytes)
        what = f"Pinot's segment library of {jars.source} does not work"
        with self.java(EngineError, what):
            try:
                self._load_classes()
            except TypeError as error:  # a class that is not there
                raise EngineError(
                    f"{what}: {error}; resolve Pinot's jars with all they depend on (docs/pinot-jars.md)"
                ) from None
            self.features = LibraryFeatures(of_cluster=jars.of_cluster)

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
            RebuildError: Pinot failed, ran out of heap, left something undone, or does not know what is asked for.
            SegmentError: the segment's small files cannot be read.
        """
        self.check_known(segment_dir, table_config, schema, tier)
        loading = self._loading_config(table_config, schema, tier)
        with self.java(RebuildError, "Pinot could not rebuild the segment"):
            changed = self._convert_format(segment_dir, loading)
            undone = ""
            with self._preprocessor(segment_dir, loading) as preprocessor:
                wanted = bool(preprocessor.needProcess())
            if wanted:
                with self._preprocessor(segment_dir, loading) as preprocessor:
                    preprocessor.process()
                with self._preprocessor(segment_dir, loading) as preprocessor:
                    undone = self._undone(segment_dir, loading) if preprocessor.needProcess() else ""
            left_out = () if undone or self.jars.of_cluster else self._left_out(segment_dir, loading)
        if undone:
            raise RebuildError(
                f"Pinot rebuilt the segment without an error and left something undone: {undone}. Its own log (stderr) "
                "names the cause; a server that reloads the segment would meet the same"
            )
        if left_out:
            raise self._unknown("does not build", left_out)
        return changed or wanted

    def check_loads(
        self, segment_dir: Path, table_config: Mapping[str, Any], schema: Mapping[str, Any], tier: str | None = None
    ) -> None:
        """Load the segment as a server does that has just downloaded it, to see that it can; arguments as above.

        Raises:
            RebuildError: it cannot, and no server could.
        """
        loading = self._loading_config(table_config, schema, tier)
        # Over links: loading adds files of its own beside a text index.
        with TemporaryDirectory(dir=segment_dir.parent, prefix="load-") as folder:
            view = Path(folder) / "segment"
            shutil.copytree(segment_dir.absolute(), view, copy_function=os.symlink)
            with self.java(RebuildError, "Pinot rebuilt the segment without an error, and cannot load it"):
                loading.setReadMode(self._read_mode.mmap)
                self._segment_loader.load(self.file(view), loading, False).destroy()

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

    def check_known(
        self, segment_dir: Path, table_config: Mapping[str, Any], schema: Mapping[str, Any], tier: str | None
    ) -> None:
        """Hold what is asked for, and what the segment holds already, against what the library knows.

        Raises:
            RebuildError: it does not know something, and would leave it out in silence.
            SegmentError: the segment's small files cannot be read.
        """
        with self.java(RebuildError, "Pinot's segment library could not be asked what it knows"):
            asked = self.features.unknown_in_config(table_config, schema, tier)
            held = self.features.unknown_in_segment(segment_dir)
        if asked:
            raise self._unknown("does not know, and would leave out,", asked)
        if held:
            raise self._unknown("does not know what the segment holds:", held)

    def file(self, path: Path) -> Any:
        """A `java.io.File`."""
        return self._file(str(path.absolute()))

    def attach(self) -> None:
        """Make this thread fit for Pinot, which finds plug-ins and functions by the thread's class loader."""
        jpype.JClass("java.lang.Thread").currentThread().setContextClassLoader(self._class_loader)

    @contextmanager
    def java(self, error: type[DeepStoreSyncError], what: str, remedy: str = "") -> Iterator[None]:
        """Java's exceptions as ours, with Pinot's words and without its stack trace."""
        try:
            self.attach()
            yield
        except jpype.JException as exception:
            text = _describe(exception)
            if "OutOfMemoryError" in text:
                text += f"; the heap is limited to {self.heap_bytes >> 20} MiB: raise engine.heap in the table's file"
            elif remedy:
                text += f": {remedy}"
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
        self._segment_loader = load(f"{local}.indexsegment.immutable.ImmutableSegmentLoader")
        self._loader_context = load("org.apache.pinot.segment.spi.loader.SegmentDirectoryLoaderContext$Builder")
        self._segment_metadata = load("org.apache.pinot.segment.spi.index.metadata.SegmentMetadataImpl")
        self._index_service = load("org.apache.pinot.segment.spi.index.IndexService")
        self._converters = load(f"{local}.segment.index.converter.SegmentFormatConverterFactory")
        self._crc_utils = load(f"{local}.utils.CrcUtils")

    def _loading_config(self, table_config: Mapping[str, Any], schema: Mapping[str, Any], tier: str | None) -> Any:
        # Applies the timestamp index to config and schema, as a server's does. Both are made anew, since it changes
        # them.
        what = f"{self._library()} cannot take the table config or schema"
        with self.java(RebuildError, what, _REMEDY):
            loading = self._loading(
                self._json.stringToObject(json.dumps(table_config), self._table_config),
                self._schema.fromString(json.dumps(schema)),
            )
            loading.setSegmentTier(tier)
            loading.refreshIndexConfigs()
        return loading

    def _unknown(self, how: str, what: Iterable[str]) -> RebuildError:
        return RebuildError(f"{self._library()} {how} {', '.join(what)}: {_REMEDY}")

    def _library(self) -> str:
        return f"the segment library of Pinot {self.version} ({self.jars.source})"

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
        with self._directory(segment_dir, loading) as directory:
            try:
                preprocessor = self._processor(directory, loading)
            except TypeError:  # up to 1.3 the schema comes as a third argument
                preprocessor = self._processor(directory, loading, loading.getSchema())
            yield preprocessor

    @contextmanager
    def _directory(self, segment_dir: Path, loading: Any) -> Iterator[Any]:
        """A segment's folder as Pinot's SegmentDirectory."""
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
            yield directory
        finally:
            directory.close()

    def _left_out(self, segment_dir: Path, loading: Any) -> tuple[str, ...]:
        with self._directory(segment_dir, loading) as directory:
            return self.features.left_out(directory, loading)

    def _undone(self, segment_dir: Path, loading: Any) -> str:
        """What `needProcess` still wants, as far as it can be told."""
        columns = self._segment_metadata(self.file(segment_dir)).getColumnMetadataMap()
        missing = sorted(
            str(name) for name in loading.getSchema().getPhysicalColumnNames() if not columns.containsKey(name)
        )
        if missing:
            return f"column {', '.join(missing)} could not be added"
        return "an index that the table config asks for (a star-tree, most often) was not built"


def _describe(exception: Any) -> str:
    """An exception and its innermost cause, each as class and message."""
    causes = [exception]
    while (cause := causes[-1].getCause()) is not None and len(causes) < 20:
        causes.append(cause)
    ends = causes[:1] if len(causes) == 1 else [causes[0], causes[-1]]
    text = ", caused by ".join(f"{end.getClass().getSimpleName()}: {end.getMessage()}" for end in ends)
    return " ".join(_SOURCE.sub("", text).split())
