"""That the list of calls is made from the source, and that nothing in it can hide."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.crash import points
from tests.e2e.crash.never_passed import EXCUSES, uncovered
from tests.e2e.crash.points import Kind, Site, all_sites, instrumented, package_dir, sites_of
from tests.e2e.crash.runs import passed_sites


@pytest.mark.parametrize(
    ("call", "operation", "kind"),
    [
        ("self._client.put_object(Bucket=b)", "PutObject", Kind.S3),
        ("client.complete_multipart_upload", "CompleteMultipartUpload", Kind.S3),
        ("anything.head_object", "HeadObject", Kind.S3),
        ("self._client.get_paginator('list_objects_v2')", "ListObjectsV2", Kind.S3),
        ("self._client.upload_file(p)", "upload_file", Kind.S3),
        ("self._client.request('GET', url)", "request", Kind.HTTP),
        ("self._client.stream('GET', url)", "request", Kind.HTTP),
        ("self._http.post(url)", "post", Kind.HTTP),
        ("path.open('wb')", "open", Kind.FILE),
        ("path.open('r+')", "open", Kind.FILE),
        ("open(path, mode='a')", "open", Kind.FILE),
        ("path.mkdir()", "mkdir", Kind.FILE),
        ("path.unlink(missing_ok=True)", "unlink", Kind.FILE),
        ("file.write(data)", "write", Kind.FILE),
        ("os.replace(a, b)", "os.replace", Kind.FILE),
        ("shutil.rmtree(a)", "shutil.rmtree", Kind.FILE),
        ("TemporaryDirectory()", "tempfile.TemporaryDirectory", Kind.FILE),
        ("fcntl.flock(lock, 2)", "fcntl.flock", Kind.FILE),
        ("subprocess.Popen(['java'])", "subprocess.Popen", Kind.PROCESS),
        ("process.kill()", "kill", Kind.PROCESS),
    ],
)
def test_a_call_is_found(call: str, operation: str, kind: Kind) -> None:
    (site,) = sites_of(f"class C:\n    def f(self):\n        return {call}\n", "m.py")
    assert (site.function, site.operation, site.kind, site.lines) == ("C.f", operation, kind, (3, 3))


def test_the_methods_of_a_client_that_lead_to_a_request_are_found() -> None:
    source = """
class Client:
    def version(self): return self._read("/version", parse)
    def table(self, table): return self._of_table(table, lambda: self._parse(table))
    def close(self): self._closed()
    def _of_table(self, table, parse): return self._there(lambda: self._read(f"/tables/{table}", parse))
    def _read(self, path, parse): return parse(self._http.get(path))
    def _there(self, ask): return ask()
    def _closed(self): pass
"""
    assert [(site.function, site.operation) for site in sites_of(source, "m.py")] == [
        ("Client.version", "_read /version"),
        ("Client.table", "_of_table"),
        ("Client._of_table", "_read f'/tables/{table}'"),
        ("Client._read", "get"),
    ]


@pytest.mark.parametrize(
    "call", ["path.open()", "path.open('rb')", "text.replace('a', 'b')", "client.close()", "mapping.get(1)", "f(path)"]
)
def test_what_changes_nothing_is_not(call: str) -> None:
    assert sites_of(call, "m.py") == []


def test_a_call_that_is_added_to_the_source_is_missed_until_it_is_killed_or_excused() -> None:
    new = Site("publishing/wave.py", "WavePublisher.publish", "unlink", Kind.FILE, (1, 1))
    assert uncovered([*all_sites(), new], all_sites()) == [new]
    assert uncovered([new], [new]) == []


def test_all_excuses_are_for_something_and_the_source_has_all_kinds() -> None:
    sites = all_sites()
    assert [excuse for excuse in EXCUSES if not any(excuse.covers(site) for site in sites)] == []
    assert {site.kind for site in sites} == set(Kind)
    assert len(sites) > 80
    assert len({(site.name, site.lines) for site in sites}) == len(sites)


def test_a_wrapped_module_does_what_it_did_and_goes_through_the_wrappers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    through = []

    def call(operation: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        through.append(operation)
        return function(*args, **kwargs)

    monkeypatch.setattr(builtins, points.CALL, call, raising=False)
    source = b"def f(path):\n path.mkdir(parents=True)\n with (path / 'a').open('wb') as file:\n  file.write(b'x')\n"
    tree = instrumented(source, str(package_dir() / "some" / "module.py"))
    found: dict[str, Any] = {}
    exec(compile(tree, "module.py", "exec"), found)
    found["f"](tmp_path / "new" / "folder")
    assert (tmp_path / "new" / "folder" / "a").read_bytes() == b"x"
    assert through == ["mkdir", "open", "write"]


def test_every_site_of_the_source_is_wrapped_but_for_the_methods_that_lead_to_a_request() -> None:
    for path in package_dir().rglob("*.py"):
        module = path.relative_to(package_dir()).as_posix()
        tree = instrumented(path.read_bytes(), str(path))
        names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
        wrapped = sum(names.count(wrapper) for wrapper in (points.CALL, points.BIND, points.PAGES))
        assert wrapped == sum(site.wrapped for site in sites_of(path.read_text(), module)), module


def test_a_point_is_of_the_site_that_it_leaves_from_and_of_the_methods_that_led_there() -> None:
    sites = [
        Site("store/a.py", "A.put", "PutObject", Kind.S3, (5, 5)),
        Site("pinot/c.py", "C.table", "_read", Kind.HTTP, (10, 12), wrapped=False),
        Site("pinot/http.py", "Http.send", "request", Kind.HTTP, (20, 20)),
        Site("workdir.py", "f", "mkdir", Kind.FILE, (1, 1)),
        Site("workdir.py", "f", "mkdir", Kind.FILE, (2, 2)),
    ]
    named_elsewhere = "PutObject < store/a.py:A.put.<locals>.<lambda>:7 < workdir.py:f:1"
    assert passed_sites(named_elsewhere, sites) == {sites[0]}
    request = "request < pinot/http.py:Http.send:20 < pinot/http.py:Http.get:1 < pinot/c.py:C.table:11"
    assert passed_sites(request, sites) == {sites[1], sites[2]}
    assert passed_sites("mkdir < workdir.py:f:2", sites) == {sites[4]}
