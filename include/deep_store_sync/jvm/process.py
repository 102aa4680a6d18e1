"""The parent's handle on the process that Java runs in.

Java has a process of its own for three reasons: it can be stopped at once, whatever it is doing; a segment that takes
its heap or kills it takes no other segment with it; and tables with different versions of Pinot need different JVMs.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deep_store_sync import errors
from deep_store_sync.checkpoint import checkpoint
from deep_store_sync.errors import EngineDiedError, EngineError
from deep_store_sync.jvm.jars import JarSet
from deep_store_sync.segment.verify import Rewrite

_LOOK_EVERY_S = 0.1
_STACKS_S = 5.0

# Of a worker's environment what a process, Python and Java go by. The rest holds credentials: connections, cloud keys.
_PASSED_ON = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|LD_\w+|DYLD_\w+|MALLOC_\w+|PYTHON\w+|"
    r"JAVA_HOME|JAVA_TOOL_OPTIONS|JDK_JAVA_OPTIONS|_JAVA_OPTIONS"
)


class EngineProcess:
    """Pinot's segment library in a process of its own, started by the first call, and again by the first after a death.

    Calls are for one thread at a time.
    """

    def __init__(
        self, jars: JarSet, heap_bytes: int, *, temp_dir: Path, watch: Callable[[], None] = checkpoint
    ) -> None:
        """Nothing is started yet.

        Args:
            jars: the class path.
            heap_bytes: largest Java heap.
            temp_dir: where the process gets a folder for temporary files, and what it writes when it crashes. That
                folder goes with it.
            watch: called several times a second while a call is under way. An exception that it raises ends the
                process at once, and the call with that exception.
        """
        self._jars = jars
        self._heap_bytes = heap_bytes
        self._temp_dir = temp_dir
        self._watch = watch
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: str | None = None
        self._starting = False
        self._waiting = False
        self._unread = b""

    def begin(self) -> None:
        """Start Java, unless it runs, without waiting for it: the first call does."""
        if self._process is None:
            self._process = self._spawn()
            self._starting = True
            self._unread = b""
            jars = asdict(self._jars) | {"paths": [str(path.absolute()) for path in self._jars.paths]}
            with suppress(BrokenPipeError):  # whoever waits for the answer is told that it has died
                self._send("start", jars | {"heap_bytes": self._heap_bytes})

    def start(self) -> None:
        """Start Java, unless it runs, and wait until it does.

        Raises:
            EngineError: there is no Java, or the jars do not work.
        """
        self.begin()
        if self._starting:
            self._starting = False
            try:
                self._answer()
            except EngineError:
                self.close()  # a JVM that did not come up never will in the same process
                raise
            except EngineDiedError as error:
                raise EngineError(f"Java could not be started: {error}") from None

    def preprocess(
        self, segment_dir: Path, table_config: Mapping[str, Any], schema: Mapping[str, Any], tier: str | None = None
    ) -> bool:
        """`SegmentEngine.preprocess`."""
        asked = {"table_config": table_config, "schema": schema, "tier": tier}
        return bool(self._call("preprocess", {"segment_dir": segment_dir} | asked))

    def check_loads(
        self, segment_dir: Path, table_config: Mapping[str, Any], schema: Mapping[str, Any], tier: str | None = None
    ) -> None:
        """`SegmentEngine.check_loads`."""
        asked = {"table_config": table_config, "schema": schema, "tier": tier}
        self._call("check_loads", {"segment_dir": segment_dir} | asked)

    def regenerate(
        self,
        segment_dir: Path,
        out_dir: Path,
        table_config: Mapping[str, Any],
        schema: Mapping[str, Any],
        tier: str | None = None,
        *,
        columns: Sequence[str] = (),
        removed: Sequence[str] = (),
        sort_by: Sequence[str] = (),
        time_column: str | None = None,
    ) -> Path:
        """`deep_store_sync.jvm.regenerate.regenerate`."""
        asked = {"table_config": table_config, "schema": schema, "tier": tier, "columns": columns, "removed": removed}
        asked |= {"sort_by": sort_by, "time_column": time_column}
        return Path(self._call("regenerate", {"segment_dir": str(segment_dir), "out_dir": str(out_dir)} | asked))

    def crc(self, segment_dir: Path) -> int:
        """`SegmentEngine.crc`."""
        return int(self._call("crc", {"segment_dir": segment_dir}))

    def compare_values(
        self, before: Path, after: Path, columns: tuple[str, ...], sort_by: tuple[str, ...] = ()
    ) -> dict[str, Rewrite]:
        """`deep_store_sync.jvm.values.compare_values`."""
        asked = {"before": before, "after": after, "columns": columns, "sort_by": sort_by}
        found = self._call("compare_values", asked)
        return {column: Rewrite(**rewrite) for column, rewrite in found.items()}

    def dump_stacks(self) -> None:
        """Have the process write to the log what its threads are doing, and end it: for a call that takes too long.

        To be called by what watches the call, and nothing is done unless one is under way.
        """
        if self._waiting and self._process is not None and self._process.stdout is not None:
            with suppress(OSError):
                self._send("dump_stacks", {})
                select.select([self._process.stdout], [], [], _STACKS_S)
            self.close()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        self.start()
        try:
            self._send(name, arguments)
        except BrokenPipeError:
            raise self._died() from None
        return self._answer()

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._temp_dir.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.mkdtemp(dir=self._temp_dir, prefix="java-")
        # Python's path is passed on: this package may have been found by other means than an installation.
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100 - "" is this folder
        return subprocess.Popen(
            [sys.executable, "-m", "deep_store_sync.jvm.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self._folder,
            env=_passed_on() | {"PYTHONPATH": path, "TMPDIR": self._folder},
            start_new_session=True,  # Ctrl-C and the like are this process's to decide on
        )

    def _send(self, name: str, arguments: Mapping[str, Any]) -> None:
        assert self._process is not None  # noqa: S101
        assert self._process.stdin is not None  # noqa: S101
        call = {"call": name, "arguments": arguments}
        self._process.stdin.write(json.dumps(call, default=_plain).encode() + b"\n")
        self._process.stdin.flush()

    def _answer(self) -> Any:
        self._waiting = True
        try:
            answer = json.loads(self._line())
        except BaseException:
            self.close()
            raise
        finally:
            self._waiting = False
        if "error" not in answer:
            return answer["value"]
        if "OutOfMemoryError" in answer["message"]:
            self.close()  # what the heap still holds is of no use to the next segment
        raise getattr(errors, answer["error"])(answer["message"])

    def _line(self) -> bytes:
        assert self._process is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        fd = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            if not select.select([fd], [], [], _LOOK_EVERY_S)[0]:
                self._watch()
                continue
            data = os.read(fd, 1 << 16)
            if not data:
                raise self._died()
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _died(self) -> EngineDiedError:
        assert self._process is not None  # noqa: S101
        code = self._process.wait()
        self.close()
        if code == -signal.SIGKILL:
            return EngineDiedError(
                "the process that Java runs in was killed, by the system for want of memory most likely: give the "
                "worker more, or lower engine.heap or engine.parallelSegments"
            )
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return EngineDiedError(f"the process that Java runs in ended {how}: its own words are in this log")


def _plain(value: Any) -> str:
    """A path for JSON, as the process, which has a working folder of its own, understands it."""
    return str(value.absolute()) if isinstance(value, Path) else json.JSONEncoder().default(value)


def _passed_on() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
