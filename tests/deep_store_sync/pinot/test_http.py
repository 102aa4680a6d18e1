from __future__ import annotations

import gzip
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep_store_sync.errors import (
    ConfigError,
    PinotAccessError,
    PinotAnswerError,
    PinotError,
    PinotNotFoundError,
    PinotUnavailableError,
)
from deep_store_sync.pinot.http import Http, address, part, tls
from deep_store_sync.quoting import excerpt, without_userinfo

URL = "http://pinot:9000/version"


def http(fake: Any, **settings: Any) -> Http:
    return Http("controller", transport=fake.transport, **({"sleep": lambda _: None} | settings))


def test_a_get_is_repeated_after_what_may_pass(fake: Any) -> None:
    pauses: list[float] = []
    fake.answer("/version", status=503)
    fake.fail("/version", httpx.ConnectError)
    fake.answer("/version", {"code": 429, "error": "slow down"}, 429)
    fake.answer("/version", {"a": 1})
    assert http(fake, sleep=pauses.append).get(URL) == {"a": 1}
    assert len(fake.requests) == 4
    assert pauses[0] < pauses[-1] < 2


def test_a_get_gives_up_after_its_retries(fake: Any) -> None:
    fake.answer("/version", {"code": 500, "error": "ZooKeeper is gone"}, 500)
    with pytest.raises(PinotUnavailableError, match=r"GET http://pinot:9000/version failed \(500: ZooKeeper is gone\)"):
        http(fake, retries=2).get(URL)
    assert len(fake.requests) == 3


def test_a_slow_answer_is_not_asked_for_again(fake: Any) -> None:
    fake.fail("/version", httpx.ReadTimeout)
    with pytest.raises(PinotUnavailableError, match=r"no answer within 60 s.*longer time-out"):
        http(fake).get(URL)
    assert len(fake.requests) == 1


def test_a_connection_that_times_out_is_tried_again(fake: Any) -> None:
    fake.fail("/version", httpx.ConnectTimeout)
    fake.answer("/version", {})
    assert http(fake).get(URL) == {}


def test_a_connection_that_never_comes(fake: Any) -> None:
    for _ in range(4):
        fake.fail("/version", httpx.ConnectTimeout)
    with pytest.raises(PinotUnavailableError, match=r"no connection within 10 s\. Is the .* running, is a firewall"):
        http(fake).get(URL)
    assert len(fake.requests) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
def test_a_refusal_is_not_asked_for_again(fake: Any, status: int) -> None:
    fake.answer("/version", {"code": status, "error": "no"}, status)
    with pytest.raises(PinotError):
        http(fake).get(URL)
    assert len(fake.requests) == 1


def test_a_post_is_sent_once(fake: Any) -> None:
    fake.answer("/version", status=503, method="POST")
    with pytest.raises(PinotUnavailableError):
        http(fake).post(URL, {})
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (401, b"", PinotAccessError, "Check user and password or token"),
        (403, {"code": 403, "error": "Permission denied"}, PinotAccessError, r"403: Permission denied.*do not permit"),
        (404, {"code": 404, "error": "Table x_OFFLINE does not exist"}, PinotNotFoundError, "x_OFFLINE does not exist"),
        (404, {"code": 404, "error": "HTTP 404 Not Found"}, PinotAnswerError, "no such call.*another Pinot component"),
        (404, b"<html>nginx</html>", PinotAnswerError, "no such call.*nginx"),
        (400, {"code": 400, "error": "Unknown job type"}, PinotError, "400: Unknown job type"),
        (
            200,
            b"<html> <b>Sign in</b></html>",
            PinotAnswerError,
            r"not JSON: '<html> <b>Sign in</b></html>'.*login page",
        ),
        (200, b'{"a": ', PinotAnswerError, "not JSON"),
        (200, b"\xff\xfe\x00", PinotAnswerError, "not JSON"),
    ],
)
def test_errors_say_what_was_called_what_came_and_what_to_do(
    fake: Any, status: int, body: Any, error: type[Exception], says: str
) -> None:
    fake.answer("/version", body, status)
    with pytest.raises(error, match=says) as caught:
        http(fake, retries=0).get(URL)
    assert type(caught.value) is error
    assert "GET http://pinot:9000/version" in str(caught.value)


def test_a_redirect_names_its_target(fake: Any) -> None:
    fake.answer("/version", status=302, location="https://sso.example/login?token=secret")
    with pytest.raises(PinotAnswerError, match=r"redirected to https://sso\.example/login \(") as caught:
        http(fake).get(URL)
    assert "secret" not in str(caught.value)


def test_an_answer_without_a_body_is_none(fake: Any) -> None:
    fake.answer("/version")
    assert http(fake).get(URL) is None


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = Http("controller", sleep=lambda _: None)
    with pytest.raises(PinotUnavailableError, match=r"refused.*Is the controller running.*host, port and scheme"):
        client.get(f"http://127.0.0.1:{port}/version")
    client.close()


def test_somebody_listens_and_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = Http("controller", timeout_s=0.2)
        with pytest.raises(PinotUnavailableError, match=r"no answer within 0.2 s"):
            client.get(f"http://127.0.0.1:{server.getsockname()[1]}/version")
        client.close()


def test_an_answer_that_is_cut_short() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")

        thread = threading.Thread(target=serve)
        thread.start()
        client = Http("controller", retries=0)
        with pytest.raises(PinotUnavailableError):
            client.get(f"http://127.0.0.1:{server.getsockname()[1]}/version")
        client.close()
        thread.join()


def test_json_of_another_shape_is_described_without_its_values(fake: Any) -> None:
    body = {"password": "secret", **{f"k{n}": n for n in range(9)}}
    said = str(http(fake).unexpected("GET x", "a schema", body))
    assert "an object with 10 keys ('password', 'k0', 'k1', 'k2', 'k3', …) where a schema was expected" in said
    assert "secret" not in said
    assert "a list of 2" in str(http(fake).unexpected("GET x", "y", [1, 2]))
    assert "nothing" in str(http(fake).unexpected("GET x", "y", None))


def test_no_credentials_in_messages(fake: Any) -> None:
    base, auth = address("http://me:s3cret@pinot:9000/", None)
    assert base == "http://pinot:9000"
    fake.answer("/version", status=401)
    with pytest.raises(PinotAccessError) as caught:
        http(fake, auth=auth).get(base + "/version")
    assert fake.requests[0].headers["authorization"] == "Basic bWU6czNjcmV0"
    assert "s3cret" not in str(caught.value)


def test_auth_that_is_given_goes_before_that_in_the_url() -> None:
    given_auth = httpx.BasicAuth("a", "b")
    assert address("https://me:pw@pinot/prefix/", given_auth) == ("https://pinot/prefix", given_auth)


@pytest.mark.parametrize("url", ["pinot:9000", "ftp://pinot", "http://", "http://me:s3cret@"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConfigError, match="http://controller:9000") as caught:
        address(url, None)
    assert "s3cret" not in str(caught.value)


def test_tls_settings(tmp_path: Path) -> None:
    assert tls(True, None) is True
    assert tls(False, None) is False
    own = ssl.create_default_context()
    assert tls(own, None) is own
    with pytest.raises(ConfigError, match=r"no-such-ca.pem.*PEM"):
        tls(str(tmp_path / "no-such-ca.pem"), None)
    bad = tmp_path / "bad.pem"
    bad.write_text("not a certificate")
    with pytest.raises(ConfigError, match=r"bad.pem"):
        tls(True, str(bad))
    with pytest.raises(ConfigError) as caught:
        tls(True, (str(bad), str(bad), "key-password"))
    assert "key-password" not in str(caught.value)


@given(st.text(min_size=1))
def test_any_name_travels_as_one_part_of_a_path(name: str) -> None:
    name = name.encode(errors="replace").decode()
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    client = Http("controller", transport=httpx.MockTransport(handle))
    client.get(f"http://pinot:9000/segments/{part(name)}/metadata")
    client.close()
    raw = seen[0].url.raw_path.decode()
    assert raw == f"/segments/{part(name)}/metadata"
    assert "+" not in raw


def test_part_encodes_what_pinot_would_decode() -> None:
    assert part("a b+c%2F:é/..") == "a%20b%2Bc%252F%3A%C3%A9%2F.."


def test_without_userinfo() -> None:
    assert without_userinfo("see http://u:p@h/x, https://h2/y?token=1") == "see http://h/x, https://h2/y"
    assert without_userinfo("http://u:p@ss@h:9000/a@b") == "http://h:9000/a@b"
    assert without_userinfo("Invalid endpoint: u:p:w@h:9000 (u@h)") == "Invalid endpoint: h:9000 (u@h)"


def test_excerpts_are_one_short_line() -> None:
    assert excerpt("a\n b\t c") == "a b c"
    assert excerpt("x" * 500) == "x" * 200 + "…"


# --- answers that are meant to do harm -------------------------------------------------------------------------------


def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    sent = 0

    class FakeFlood(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            nonlocal sent
            while True:
                sent += 1000
                yield b"x" * 1000

    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=FakeFlood()))
    with pytest.raises(PinotAnswerError, match=r"larger than 10000 bytes.* controller's own port"):
        Http("controller", transport=transport, largest_answer=10_000).get(URL)
    assert sent <= 12_000


def test_what_counts_is_the_size_after_unpacking(fake: Any) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    assert len(bomb) < 20_000
    fake.answer("/version", bomb, **{"Content-Encoding": "gzip"})
    with pytest.raises(PinotAnswerError, match="larger than 1000000 bytes"):
        http(fake, largest_answer=1_000_000).get(URL)


def test_a_packed_answer_of_usual_size(fake: Any) -> None:
    fake.answer("/version", gzip.compress(b'{"a": "\xc3\xa9"}'), **{"Content-Encoding": "gzip"})
    assert http(fake).get(URL) == {"a": "é"}
