"""The JVM that runs the cluster: started with a clean environment, driven over its standard input and output."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import json
import subprocess
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from pinot_sandbox.errors import SandboxError
from pinot_sandbox.toolchain import find_java, log4j_config

_HEAP: Final = "1g"
_OPENED: Final = (
    "java.lang",
    "java.lang.reflect",
    "java.net",
    "java.nio",
    "java.util",
    "java.util.concurrent",
    "jdk.internal.misc",
    "jdk.internal.ref",
    "sun.nio.ch",
    "sun.security.action",
)
_START_TIMEOUT_S: Final = 180.0


class PortTakenError(SandboxError):
    """Somebody else took the controller's port between its choice and its use. Another start takes another port."""


class ClusterProcess:
    """A JVM with the cluster in it. It ends with `close`, or when this process does, however that happens."""

    def __init__(self, jars: Path, classes: Path, root: Path, config: dict[str, Any]) -> None:
        self._log = root / "logs" / "pinot.log"
        (root / "tmp").mkdir(exist_ok=True)
        options = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
        options += [
            "--add-exports=java.base/jdk.internal.util.random=ALL-UNNAMED",
            f"-Xmx{_HEAP}",
            "-XX:+UseSerialGC",  # the quickest to start, and the heap is small
            "-XX:-UsePerfData",  # it would leave a file in /tmp
            "-XX:+ExitOnOutOfMemoryError",
            "-Dfile.encoding=UTF-8",
            f"-Djava.io.tmpdir={root / 'tmp'}",
            f"-Duser.home={root / 'tmp'}",  # no settings of this machine's user, such as ~/.aws/config
            f"-Dlog4j2.configurationFile={log4j_config()}",
            "-cp",
            f"{classes}:{jars}/*",
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(find_java()), *options, "sandbox.Main"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env={"LC_ALL": "C.UTF-8"},  # Pinot takes its configuration from environment variables as well
                start_new_session=True,  # Ctrl-C is for who started the sandbox, who then closes it
            )
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._pending: dict[int, Future[Any]] = {0: Future()}
        started = self._pending[0]
        self._reader = threading.Thread(target=self._read, name="pinot-sandbox-answers", daemon=True)
        self._reader.start()
        try:
            self._send(config)
            self.description: dict[str, Any] = started.result(_START_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    def request(self, operation: str, *, timeout_s: float = 300.0, **args: Any) -> Any:
        """Has the cluster do something and returns its answer. Any number of threads may ask at once.

        Raises:
            SandboxError: The operation failed, the JVM is gone, or there was no answer in time.
        """
        answer: Future[Any] = Future()
        with self._lock:
            number = next(self._ids)
            self._pending[number] = answer
        try:
            self._send({"id": number, "op": operation, "args": args})
            return answer.result(timeout_s)
        except concurrent.futures.TimeoutError:
            raise SandboxError(
                f"The sandbox did not answer {operation} in {timeout_s:.0f} s. Its log is {self._log}."
            ) from None
        finally:
            with self._lock:
                self._pending.pop(number, None)

    def close(self) -> None:
        """Ends the JVM and waits for it."""
        assert self._process.stdin and self._process.stdout  # noqa: PT018, S101
        with contextlib.suppress(SandboxError):
            self._send({"op": "end"})  # somebody forked from us may hold the pipe open
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(10)
        self._process.stdout.close()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin  # noqa: S101
        try:
            with self._lock:
                self._process.stdin.write(json.dumps(message) + "\n")
                self._process.stdin.flush()
        except (OSError, ValueError) as error:  # a closed pipe, or closed by us
            raise self._gone() from error

    def _read(self) -> None:
        assert self._process.stdout  # noqa: S101
        for line in self._process.stdout:
            answer = json.loads(line)
            with self._lock:
                pending = self._pending.pop(answer["id"], None)
            if pending is None:
                continue  # nobody waits any more
            if "error" not in answer:
                pending.set_result(answer.get("result"))
            elif answer.get("portTaken"):
                pending.set_exception(PortTakenError(answer["error"]))
            elif answer["id"] == 0:  # the start: the log may be gone with it
                pending.set_exception(SandboxError(f"The sandbox did not start: {answer['error']}\n{self._tail()}"))
            else:
                pending.set_exception(SandboxError(f"{answer['error']} (the sandbox's log is {self._log})"))
        with self._lock:
            pending_all = list(self._pending.values())
            self._pending.clear()
        for future in pending_all:
            future.set_exception(self._gone())

    def _gone(self) -> SandboxError:
        return SandboxError(f"The sandbox's JVM has ended. Its log is {self._log}:\n{self._tail()}")

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""
