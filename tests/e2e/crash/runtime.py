"""What the wrapped calls of `points` go through, in the process that is to be killed.

It notes each point when it is passed for the first time, kills the process before or after the one that it was told,
and notes what leaves the process by a call that `points` does not list. The notes are lines that are written at once:
they outlive the process.
"""

from __future__ import annotations

import builtins
import functools
import importlib.abc
import importlib.machinery
import io
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, FrameType, ModuleType
from typing import Any

from tests.e2e.crash.points import BIND, CALL, PAGES, instrumented, package_dir

PASSED, UNLISTED, KILLED, SAYS = "P", "U", "K", "R"
"""What a line of the notes begins with."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_EVENTS = frozenset(("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")) | {
    *("subprocess.Popen", "os.posix_spawn", "os.kill"),
    *("socket.connect", "socket.sendto", "http.client.connect", "urllib.Request"),
}


class Runtime:
    """The notes and the kill of one process. Calls pass unseen until `start`."""

    def __init__(self) -> None:
        self._notes: int | None = None
        self._kill: tuple[str, str] | None = None
        self._seen: set[str] = set()
        self._thread = threading.local()
        self._package = f"{package_dir()}{os.sep}"

    def start(self, notes: int, kill: tuple[str, str] | None) -> None:
        """Note on this file descriptor. `kill` is a point, and `before` or `after`."""
        self._notes, self._kill = notes, kill

    def say(self, kind: str, text: str) -> None:
        """Write a line of notes."""
        assert self._notes is not None
        os.write(self._notes, f"{kind} {text}\n".encode())

    # --- what the source calls ---------------------------------------------------------------------------------------

    def call(self, operation: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """A site that is a call."""
        if getattr(function, "__name__", "") == "stream":
            return _Entered(self, operation, function(*args, **kwargs))
        if self._notes is None or _in_memory(function):
            return function(*args, **kwargs)
        point = self._point(operation)
        if point not in self._seen:
            self._seen.add(point)
            self.say(PASSED, point)
        self._die_at(point, "before")
        inside = self._inside()
        self._thread.inside = inside + 1
        try:
            return function(*args, **kwargs)
        finally:
            self._thread.inside = inside
            self._die_at(point, "after")

    def bind(self, operation: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """A site that is a method, whatever it is called by."""
        return functools.partial(self.call, operation, method)

    def pages(self, operation: str, paginator: Any) -> Any:
        """A site whose every page is a request."""
        return _Pages(self, operation, paginator)

    # --- what is not in the list -------------------------------------------------------------------------------------

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """A hook for `sys.addaudithook`."""
        if self._notes is None or self._inside():
            return
        if event in _EVENTS or (event == "open" and _opens_for_writing(args)):
            self.unlisted(event)

    def unlisted(self, event: str) -> None:
        """Note that the product did this by no site, if it was the product, and no file of `tempfile` that goes."""
        frame = sys._getframe(1)
        if self._notes is None or self._inside() or not (frames := list(self._frames(frame))):
            return
        while not frame.f_code.co_filename.startswith(self._package):
            if frame.f_code.co_filename == tempfile.__file__:
                return
            assert frame.f_back is not None
            frame = frame.f_back
        self.say(UNLISTED, f"{event} at {frames[0]}")

    def _inside(self) -> int:
        return getattr(self._thread, "inside", 0)

    # --- points ------------------------------------------------------------------------------------------------------

    def _point(self, operation: str) -> str:
        return " < ".join([operation, *self._frames(sys._getframe(2))])

    def _frames(self, frame: FrameType | None) -> Iterator[str]:
        while frame is not None:
            code = frame.f_code
            if code.co_filename.startswith(self._package):
                yield f"{code.co_filename.removeprefix(self._package)}:{code.co_qualname}:{frame.f_lineno}"
            frame = frame.f_back

    def _die_at(self, point: str, when: str) -> None:
        if self._kill == (point, when):
            self.say(KILLED, f"{when} {point}")
            self._thread.inside = 1  # this is no call of the product's
            os.kill(os.getpid(), signal.SIGKILL)


class _Pages:
    def __init__(self, runtime: Runtime, operation: str, paginator: Any) -> None:
        self._runtime = runtime
        self._operation = operation
        self._paginator = paginator

    def paginate(self, **asked: Any) -> Iterator[Any]:
        pages = iter(self._paginator.paginate(**asked))
        while (page := self._runtime.call(self._operation, next, pages, None)) is not None:
            yield page


class _Entered:
    """A request that is sent when it is entered, and whose answer is read inside of that."""

    def __init__(self, runtime: Runtime, operation: str, request: Any) -> None:
        self._runtime = runtime
        self._operation = operation
        self._request = request

    def __enter__(self) -> Any:
        return self._runtime.call(self._operation, self._request.__enter__)

    def __exit__(self, *error: Any) -> Any:
        return self._request.__exit__(*error)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the package's modules as ever, and has them compiled with their sites wrapped."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith("deep_store_sync."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        return compile(instrumented(self.get_data(self.path), self.path), self.path, "exec", dont_inherit=True)


def install() -> Runtime:
    """Have the product, which must not be imported yet, go through a new runtime."""
    assert not any(name.startswith("deep_store_sync.") for name in sys.modules)
    runtime = Runtime()
    setattr(builtins, CALL, runtime.call)
    setattr(builtins, BIND, runtime.bind)
    setattr(builtins, PAGES, runtime.pages)
    sys.meta_path.insert(0, _Finder())
    sys.addaudithook(runtime.audit)
    _watch_clients(runtime)
    return runtime


def _watch_clients(runtime: Runtime) -> None:
    """Requests on a connection that is open already raise no audit event."""
    import httpx
    from botocore.client import BaseClient

    sent, asked = httpx.Client.send, BaseClient._make_api_call

    def send(self: Any, request: Any, **how: Any) -> Any:
        runtime.unlisted(f"{request.method} {request.url.path}")
        return sent(self, request, **how)

    def make_api_call(self: Any, operation: str, arguments: Any) -> Any:
        runtime.unlisted(operation)
        return asked(self, operation, arguments)

    httpx.Client.send = send  # type: ignore[method-assign]
    BaseClient._make_api_call = make_api_call


def _in_memory(function: Callable[..., Any]) -> bool:
    """Whether what looks like a step on a file is one on bytes in memory."""
    owner = getattr(function, "__self__", None)
    return isinstance(owner, io.BytesIO) or isinstance(getattr(owner, "fileobj", None), io.BytesIO)


def _opens_for_writing(args: tuple[Any, ...]) -> bool:
    path, mode, flags = args
    if isinstance(path, int):
        return False
    return bool(set(mode) & set("wxa+")) if isinstance(mode, str) else bool((flags or 0) & _WRITING)
