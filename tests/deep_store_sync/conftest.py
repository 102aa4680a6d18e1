from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.deep_store_sync.rebuilding import explosive

from deep_store_sync.store.deep_store import DeepStore
from pinot_sandbox.gateway import GatewayProcess, S3Gateway, choose_gateway


class FakePinot:
    """For answers that no healthy cluster gives, and for looking at requests. Other paths answer as JAX-RS does."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self._answers: dict[tuple[str, str], list[Callable[[httpx.Request], httpx.Response]]] = {}
        self.transport = httpx.MockTransport(self._handle)

    def answer(self, path: str, body: Any = None, status: int = 200, *, method: str = "GET", **headers: str) -> None:
        """What a path answers next; the last of several answers stays."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self._add(method, path, lambda _: httpx.Response(status, content=content, headers=headers))

    def answer_by(self, path: str, body: Callable[[httpx.Request], Any]) -> None:
        """Have a path answer with what is made of the request."""
        self._add("GET", path, lambda request: httpx.Response(200, json=body(request)))

    def fail(self, path: str, error: type[httpx.TransportError], *, method: str = "GET") -> None:
        """Have a path fail without an answer."""

        def raising(request: httpx.Request) -> httpx.Response:
            raise error("FakePinot", request=request)

        self._add(method, path, raising)

    def _add(self, method: str, path: str, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self._answers.setdefault((method, path), []).append(answer)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answers = self._answers.get((request.method, request.url.raw_path.decode().partition("?")[0]))
        if answers is None:
            return httpx.Response(404, json={"code": 404, "error": "HTTP 404 Not Found"})
        return (answers.pop(0) if len(answers) > 1 else answers[0])(request)


@pytest.fixture
def fake() -> FakePinot:
    return FakePinot()


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Gateway]:
    """The S3 gateway of the sandbox: versitygw where it can be had, else moto."""
    kind, binary = choose_gateway("auto", print)
    yield from _running(GatewayProcess(kind, binary, _home(tmp_path_factory)))


@pytest.fixture(scope="session")
def versitygw(gateway: S3Gateway) -> S3Gateway:
    if gateway.kind != "versitygw":
        pytest.skip("needs versitygw: moto checks neither all conditions nor credentials")
    return gateway


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Gateway]:
    """A store that ignores conditions on completion and copies, and knows storage classes, encryption and grants."""
    yield from _running(GatewayProcess("moto", None, _home(tmp_path_factory)))


def _home(factory: pytest.TempPathFactory) -> Path:
    home = factory.mktemp("gateway")
    (home / "logs").mkdir()
    return home


def _running(process: GatewayProcess) -> Iterator[S3Gateway]:
    try:
        process.s3.client().create_bucket(Bucket=process.s3.bucket)
        yield process.s3
    finally:
        process.close()


@pytest.fixture(scope="session")
def s3(gateway: S3Gateway) -> Any:
    return gateway.client()


@pytest.fixture
def store(s3: Any) -> DeepStore:
    return DeepStore(s3)


@pytest.fixture
def prefix(gateway: S3Gateway) -> str:
    """A prefix of the test's own."""
    return f"s3://{gateway.bucket}/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def explosive_segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the segments of `explosive`."""
    return explosive.build(tmp_path_factory.mktemp("explosive"))
