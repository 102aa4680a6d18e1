"""The calls by which the product changes or asks the world outside of its process, found in its own source.

A *site* is one such call in the source: an S3 operation, an HTTP request, a step on files, a process that is started or
ended. The same walk over the syntax tree that lists the sites also wraps them (`instrumented`), so that a list and what
is killed can never differ. A *point* is a site as a run passes it: with the calls that lead there, since writing the
plan and writing the report, say, are the same site.

What the walk knows by name only cannot hide: `runtime` sees by other means what leaves the process, and calls a site
that is not in the list an error.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

CALL, BIND, PAGES = "__crash_call__", "__crash_bind__", "__crash_pages__"
"""What a wrapped call goes through, in the source that is compiled: names in builtins, see `runtime.Runtime`."""


class Kind(StrEnum):
    S3 = "S3"
    HTTP = "HTTP"
    FILE = "file"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Site:
    """A call in the source. `module` is a path below the package, `lines` the first and the last one of the call.

    HTTP requests leave the process in one place; their sites are the calls of the clients' methods that lead to it, and
    `wrapped` is that place alone.
    """

    module: str
    function: str
    operation: str
    kind: Kind
    lines: tuple[int, int]
    wrapped: bool = True

    @property
    def name(self) -> str:
        return f"{self.module}:{self.function} {self.operation}"


_FILE_METHODS = frozenset(
    ("mkdir", "rename", "unlink", "rmdir", "touch", "write_bytes", "write_text", "symlink_to", "hardlink_to", "chmod")
) | frozenset(("write", "writelines", "truncate", "addfile"))
_FUNCTIONS = {
    "os": frozenset(
        ("mkdir", "makedirs", "rename", "renames", "replace", "remove", "unlink", "rmdir", "removedirs", "symlink")
    )
    | frozenset(("link", "truncate", "ftruncate", "write", "utime", "chmod", "chown")),
    "shutil": frozenset(("rmtree", "copytree", "copyfile", "copyfileobj", "copy", "copy2", "move")),
    "tempfile": frozenset(("mkdtemp", "mkstemp", "NamedTemporaryFile", "TemporaryFile", "TemporaryDirectory")),
    "fcntl": frozenset(("flock", "lockf")),
}
_PROCESSES = {"subprocess": frozenset(("Popen", "run", "call", "check_call", "check_output")), "os": {"kill", "killpg"}}
_ENDS = frozenset(("kill", "terminate", "send_signal"))
# What these open writes through a file that is opened, and found, by itself.
_OPENS_NO_FILE = frozenset(("tarfile", "igzip", "frame"))
_CLIENTS = frozenset(("client", "_client"))
_NO_REQUEST = frozenset(("close",))
_HTTP = frozenset(("http", "_http"))
_HTTP_VERBS = frozenset(("get", "post", "put", "delete", "send", "stream"))


@cache
def package_dir() -> Path:
    spec = importlib.util.find_spec("deep_store_sync")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def all_sites() -> list[Site]:
    """Every site of the package."""
    return [
        site
        for path in sorted(package_dir().rglob("*.py"))
        for site in sites_of(path.read_text(encoding="utf-8"), path.relative_to(package_dir()).as_posix())
    ]


def sites_of(source: str, module: str) -> list[Site]:
    """The sites of one module."""
    walk = _Walk(module)
    walk.visit(ast.parse(source))
    return walk.sites


def instrumented(source: bytes, path: str) -> ast.Module:
    """The module with its sites wrapped. Lines stay as they are."""
    tree = ast.parse(source, path)
    walk = _Walk(Path(path).relative_to(package_dir()).as_posix())
    return ast.fix_missing_locations(walk.visit(tree))


@cache
def _s3_methods() -> dict[str, str]:
    """boto3's methods to the operations that they send."""
    import botocore.session
    from botocore import xform_name

    model = botocore.session.get_session().get_service_model("s3")
    own = {name: name for name in ("upload_file", "upload_fileobj", "download_file", "download_fileobj", "copy")}
    return {xform_name(operation): operation for operation in model.operation_names} | own


class _Walk(ast.NodeTransformer):
    def __init__(self, module: str) -> None:
        self.sites: list[Site] = []
        self._module = module
        self._scope: list[str] = []
        self._asking: frozenset[str] = frozenset()
        """Private methods of the class around that lead to a request."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        around, self._asking = self._asking, _asking(node)
        self._inside(node, node.name)
        self._asking = around
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._inside(node, node.name)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._inside(node, node.name)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """S3 operations by the attribute: they may be called by another name."""
        self.generic_visit(node)
        operation = _s3_methods().get(node.attr) if isinstance(node.ctx, ast.Load) else None
        if operation is None or (operation == node.attr and _last(node.value) not in _CLIENTS):
            return node
        return ast.copy_location(_through(BIND, self._found(node, operation, Kind.S3), node), node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        found = _operation(node, self._asking)
        self.generic_visit(node)
        if found is None:
            return node
        operation, kind = found
        if operation == "get_paginator":
            asked = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else "?"
            site = self._found(node, _s3_methods().get(str(asked), str(asked)), kind)
            return ast.copy_location(_through(PAGES, site, node), node)
        leads_there = kind is Kind.HTTP and operation != "request"
        site = self._found(node, operation, kind, wrapped=not leads_there)
        if leads_there:
            return node
        wrapped = _through(CALL, site, node.func, *node.args)
        wrapped.keywords = node.keywords
        return ast.copy_location(wrapped, node)

    def _inside(self, node: ast.AST, name: str) -> ast.AST:
        self._scope.append(name)
        self.generic_visit(node)
        self._scope.pop()
        return node

    def _found(self, node: ast.expr, operation: str, kind: Kind, *, wrapped: bool = True) -> Site:
        lines = node.lineno, node.end_lineno or node.lineno
        site = Site(self._module, ".".join(self._scope) or "<module>", operation, kind, lines, wrapped)
        self.sites.append(site)
        return site


def _through(wrapper: str, site: Site, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(wrapper, ast.Load()), [ast.Constant(site.operation), *arguments], [])


def _asking(node: ast.ClassDef) -> frozenset[str]:
    methods = {
        method.name: [call.func for call in ast.walk(method) if isinstance(call, ast.Call)]
        for method in node.body
        if isinstance(method, ast.FunctionDef) and method.name.startswith("_")
    }
    found: set[str] = set()
    while new := {
        name
        for name, called in methods.items()
        for func in called
        if isinstance(func, ast.Attribute) and _asks(func, found) and name not in found
    }:
        found |= new
    return frozenset(found)


def _asks(func: ast.Attribute, asking: Collection[str]) -> bool:
    of = _last(func.value)
    return (of in _HTTP and func.attr in _HTTP_VERBS) or (of == "self" and func.attr in asking)


def _operation(call: ast.Call, asking: Collection[str]) -> tuple[str, Kind] | None:
    if isinstance(call.func, ast.Name):
        return _of_name(call.func.id, call)
    if not isinstance(call.func, ast.Attribute):
        return None
    name, of = call.func.attr, _last(call.func.value)
    if name == "get_paginator":
        return name, Kind.S3
    if of in _CLIENTS and name not in _s3_methods() and name not in _NO_REQUEST:
        return "request", Kind.HTTP
    if _asks(call.func, asking):
        return _spoken(call, name), Kind.HTTP
    if name in _FUNCTIONS.get(of, ()):
        return f"{of}.{name}", Kind.FILE
    if name in _PROCESSES.get(of, ()):
        return f"{of}.{name}", Kind.PROCESS
    if name in _ENDS:
        return name, Kind.PROCESS
    if name == "open":
        mode = next(_modes(call.args[:1], call), "") or next(_modes(call.args[1:2], call), "")
        return ("open", Kind.FILE) if of not in _OPENS_NO_FILE and _writes(mode) else None
    return (name, Kind.FILE) if name in _FILE_METHODS else None


def _of_name(name: str, call: ast.Call) -> tuple[str, Kind] | None:
    if name == "open":
        return ("open", Kind.FILE) if _writes(next(_modes(call.args[1:2], call), "")) else None
    for module, functions in _FUNCTIONS.items():
        if name in functions and module in ("shutil", "tempfile") and name not in ("copy", "move"):
            return f"{module}.{name}", Kind.FILE
    return ("subprocess.Popen", Kind.PROCESS) if name == "Popen" else None


def _modes(arguments: list[ast.expr], call: ast.Call) -> Iterator[str]:
    for value in [*arguments, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value


def _writes(mode: str) -> bool:
    return len(mode) <= 3 and bool(set(mode) & set("wxa+")) and set(mode) <= set("rwxab+t")


def _spoken(call: ast.Call, name: str) -> str:
    """What is asked, where the call itself says so: `_read("/version", …)`, `_http.get(…)`."""
    path = call.args[0] if call.args else None
    if isinstance(path, ast.Constant) and isinstance(path.value, str) and path.value.startswith("/"):
        return f"{name} {path.value}"
    if isinstance(path, ast.JoinedStr):
        return f"{name} {ast.unparse(path)}"
    return name


def _last(value: ast.expr) -> str:
    """The last name of what a method is called on: `self._client` is `_client`."""
    if isinstance(value, ast.Name):
        return value.id
    return value.attr if isinstance(value, ast.Attribute) else ""
