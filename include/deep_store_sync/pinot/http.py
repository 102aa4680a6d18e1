"""HTTP as Pinot speaks it: one place that sends, retries what is safe to retry, and says what went wrong.

A controller reports an error as `{"code": 404, "error": "…"}` (Pinot 1.5.1, `WebApplicationExceptionMapper`), and
JAX-RS words the error of a path that nobody serves in its own way. That tells "no such table" from "no such call".
"""

from __future__ import annotations

import json
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx

from deep_store_sync.errors import (
    ConfigError,
    PinotAccessError,
    PinotAnswerError,
    PinotError,
    PinotNotFoundError,
    PinotTlsError,
    PinotUnavailableError,
)
from deep_store_sync.pinot.tls_trouble import tls_trouble
from deep_store_sync.quoting import excerpt, quoted_error, without_userinfo

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_NO_SUCH_CALL = "HTTP 404 Not Found"

T = TypeVar("T")

# What an answer that is held as a whole may take of memory.
LARGEST_ANSWER = 1 << 30

# The body is unpacked when it is handed on, and has another length.
_OF_THE_TRANSFER = frozenset({"content-encoding", "content-length", "transfer-encoding"})

Certificate = str | tuple[str, str] | tuple[str, str, str]


class Http:
    """A connection pool to one kind of Pinot component, `service` in messages. Safe to use from several threads.

    GETs are asked again after connection errors, 429 and 5xx, `retries` times. A read that times out is not: the
    component is still at work on the first question, and asking again only adds to that. Nothing else is ever sent
    twice.
    """

    def __init__(
        self,
        service: str,
        *,
        auth: httpx.Auth | None = None,
        headers: Mapping[str, str] | None = None,
        verify: bool | str | ssl.SSLContext = True,
        cert: Certificate | None = None,
        timeout_s: float = 60,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        largest_answer: int = LARGEST_ANSWER,
    ) -> None:
        self.service = service
        self.headers = httpx.Headers(headers)
        self._retries = retries
        self._sleep = sleep
        self._timeout_s = timeout_s
        self._connect_s = min(timeout_s, 10)
        self._largest_answer = largest_answer
        self._client = httpx.Client(
            auth=auth,
            headers=self.headers,
            verify=tls(verify, cert),
            timeout=httpx.Timeout(timeout_s, connect=self._connect_s),
            transport=transport,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, url: str, params: Mapping[str, str] | None = None, *, retry: bool = True) -> Any:
        """The JSON at a URL. None when the answer is a success without a body. Asked once only without `retry`.

        Raises:
            PinotNotFoundError: 404, as Pinot says it of a table, segment, job or instance.
            PinotAccessError: 401, 403.
            PinotUnavailableError: no connection, time-out, 429 or 5xx, after the retries.
            PinotAnswerError: not JSON, or a path that this component does not serve.
            PinotError: any other refusal.
        """
        call = self.describe("GET", url)

        def ask() -> Any:
            response = self.send("GET", url, params=params)
            self._check(call, response)
            return self.decode(call, response)

        return self._asked(ask, self._retries if retry else 0)

    def stream(self, url: str, params: Mapping[str, str], read: Callable[[Iterator[bytes]], T]) -> T:
        """What `read` makes of the bytes at a URL, which are never held as a whole.

        Asked again as in `get`, also when the answer breaks off: `read` then gets it anew from its beginning. Raises as
        `get` does, and what `read` raises.
        """
        call = self.describe("GET", url)

        def ask() -> T:
            with ExitStack() as stack:
                with self._sending(call):
                    response = stack.enter_context(self._client.stream("GET", url, params=params))
                    if not response.is_success:
                        response.read()
                self._check(call, response)
                return read(self._whole(call, response))

        return self._asked(ask, self._retries)

    def _whole(self, call: str, response: httpx.Response) -> Iterator[bytes]:
        """The body of an answer in blocks; an error where its end does not come."""
        try:
            yield from response.iter_bytes()
        except httpx.TimeoutException as error:
            raise self._too_late(call) from error
        except httpx.RequestError as error:
            raise PinotUnavailableError(
                f"{call}: the answer broke off after {response.num_bytes_downloaded} bytes ({_cause(error)}). Look at "
                f"the {self.service}'s log and memory, and at what time and size a proxy in between allows an answer"
            ) from error

    def _asked(self, ask: Callable[[], T], retries: int) -> T:
        for attempt in range(retries + 1):
            try:
                return ask()
            except PinotUnavailableError as error:
                asked_and_waiting = isinstance(error.__cause__, httpx.ReadTimeout)
                if attempt == retries or asked_and_waiting or not error.transient:
                    raise
            pause = min(_FIRST_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S)
            self._sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads callers out, guards nothing
        raise AssertionError("unreachable")

    def post(self, url: str, params: Mapping[str, str]) -> httpx.Response:
        """A POST without a body, sent once, with a success for an answer. Raises as `get` does."""
        response = self.send("POST", url, params=params)
        self._check(self.describe("POST", url), response)
        return response

    def send(self, method: str, url: str, **request: Any) -> httpx.Response:
        """One request, one answer, whatever its status.

        Raises:
            PinotUnavailableError: there was none.
            PinotAnswerError: it is larger than any answer that is to be expected; what was asked for may be done.
        """
        call = self.describe(method, url)
        with self._sending(call), self._client.stream(method, url, **request) as response:
            return self._held(call, response)

    def _held(self, call: str, response: httpx.Response) -> httpx.Response:
        """The answer with its body in memory, which is counted as it comes, unpacked."""
        body = bytearray()
        for block in response.iter_bytes():
            body += block
            if len(body) > self._largest_answer:
                raise PinotAnswerError(
                    f"{call}: the answer is larger than {self._largest_answer} bytes, and was not read to its end. "
                    + self._wrong_place()
                )
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in _OF_THE_TRANSFER]
        return httpx.Response(response.status_code, headers=headers, content=bytes(body), request=response.request)

    @contextmanager
    def _sending(self, call: str) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectTimeout as error:
            raise PinotUnavailableError(
                f"{call}: no connection within {self._connect_s:g} s. Is the {self.service} running, is a firewall in "
                "between, and are host, port and scheme of its address right?"
            ) from error
        except httpx.TimeoutException as error:
            raise self._too_late(call) from error
        except (httpx.TransportError, httpx.TooManyRedirects) as error:
            if (trouble := tls_trouble(error, self.service)) is not None:
                raise PinotTlsError(f"{call}: {trouble}") from error
            raise PinotUnavailableError(
                f"{call}: {_cause(error)}. Is the {self.service} running, and are host, port and scheme of its "
                "address right?"
            ) from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ConfigError(
                f"{call}: this cannot be sent ({_cause(error)}). Correct the {self.service}'s address"
            ) from error

    def _too_late(self, call: str) -> PinotUnavailableError:
        return PinotUnavailableError(
            f"{call}: no answer within {self._timeout_s:g} s. The {self.service} is overloaded or hangs: look at its "
            "log and load, or allow a longer time-out"
        )

    def describe(self, method: str, url: str) -> str:
        """A call as messages name it: without credentials and without parameters."""
        return f"{method} {without_userinfo(url)}"

    def decode(self, call: str, response: httpx.Response) -> Any:
        """The body as JSON; None when there is no body.

        Raises:
            PinotAnswerError: it is not JSON.
        """
        if not response.content.strip():
            return None
        try:
            return json.loads(response.content)
        except ValueError as error:
            raise PinotAnswerError(
                f"{call} gave {response.status_code} with something that is not JSON: {excerpt(response.text)!r}. "
                + self._wrong_place()
            ) from error

    def unexpected(self, call: str, expected: str, body: Any) -> PinotAnswerError:
        """The error for JSON of another shape. It names keys, never values: a table config may hold passwords."""
        return PinotAnswerError(f"{call} gave {_shape(body)} where {expected} was expected. " + self._wrong_place())

    def unexpected_bytes(self, call: str, expected: str, beginning: bytes, size: int, why: str) -> PinotAnswerError:
        """The same for an answer that was read as a stream. What is no JSON object is quoted, as in `decode`."""
        if beginning.lstrip().startswith(b"{"):
            return PinotAnswerError(
                f"{call} gave {size} bytes that are not {expected}: {excerpt(why)}. The answer was cut short, or is "
                f"somebody else's: look at the {self.service}'s log and at proxies in between. " + self._wrong_place()
            )
        shown = repr(excerpt(beginning.decode(errors="replace"))) if beginning.strip() else "nothing"
        return PinotAnswerError(f"{call} gave {shown} where {expected} was expected. " + self._wrong_place())

    def reason(self, response: httpx.Response) -> str:
        """Why a request was refused, in Pinot's own words where it gives them."""
        said = _pinot_error(response)
        return excerpt(said, 1000) if said else f"no reason given, the answer was {excerpt(response.text)!r}"

    def _check(self, call: str, response: httpx.Response) -> None:
        status = response.status_code
        if response.is_success:
            return
        said = self.reason(response)
        if status == 401:
            raise PinotAccessError(
                f"{call} was refused (401: {said}). Check user and password or token for the {self.service}"
                + self._whose(response)
            )
        if status == 403:
            raise PinotAccessError(
                f"{call} was refused (403: {said}). The credentials for the {self.service} do not permit this call"
                + self._whose(response)
            )
        if status == 404 and _pinot_error(response) not in (None, _NO_SUCH_CALL):
            raise PinotNotFoundError(f"{call}: {said}")
        if status == 404:
            raise PinotAnswerError(
                f"{call}: there is no such call (404: {said}). {self._wrong_place()}, or its Pinot is older than that"
            )
        if status == 429 or status >= 500:
            raise PinotUnavailableError(f"{call} failed ({status}: {said}). Look at the {self.service}'s log")
        if response.has_redirect_location:
            target = without_userinfo(response.headers["location"])
            raise PinotAnswerError(
                f"{call} was redirected to {target} ({status}). Use the {self.service}'s own address, with its scheme"
            )
        raise PinotError(f"{call} was refused ({status}: {said})")

    def _whose(self, response: httpx.Response) -> str:
        """A doubt, where an answer is not worded as Pinot words its own."""
        if _pinot_error(response) is not None:
            return ""
        return f". It was not Pinot that said so: is this a Pinot {self.service}'s own port, or is a proxy in between?"

    def _wrong_place(self) -> str:
        return (
            f"Is this a Pinot {self.service}'s own port? A proxy, a login page or another Pinot component answers like "
            "this"
        )


def tls(verify: bool | str | ssl.SSLContext, cert: Certificate | None) -> bool | ssl.SSLContext:
    """The TLS settings for httpx. `verify` may name a CA file or folder, `cert` a client certificate.

    The certificate is a file, or a file and its key file, or these and the key's password.

    Raises:
        ConfigError: a file is missing or holds no certificate.
    """
    if isinstance(verify, bool) and cert is None:
        return verify
    try:
        if isinstance(verify, bool):
            context = httpx.create_ssl_context(verify=verify)
        elif isinstance(verify, str):
            context = ssl.create_default_context()
            context.load_verify_locations(**_ca(verify))
        else:
            context = verify
        if cert is not None:
            context.load_cert_chain(*((cert,) if isinstance(cert, str) else cert))
    except (OSError, ssl.SSLError) as error:
        files = f"CA {verify!r}, client certificate {cert if isinstance(cert, str) else cert and cert[0]!r}"
        raise ConfigError(
            f"TLS files cannot be used ({files}): {_cause(error)}. Check paths, format (PEM) and the key's password"
        ) from error
    return context


def _ca(path: str) -> dict[str, str]:
    return {"capath" if Path(path).is_dir() else "cafile": path}


def part(text: str) -> str:
    """A name as one part of a URL's path. Pinot decodes segment names by form rules, so `+` is encoded as well."""
    encoded = quote(text, safe="")
    return encoded.replace(".", "%2E") if encoded in (".", "..") else encoded  # else taken for steps in the path


def address(url: str, auth: httpx.Auth | None) -> tuple[str, httpx.Auth | None]:
    """A base URL without credentials, and the auth to use: that which is given, else the credentials in the URL.

    Raises:
        ConfigError: it is no http(s) URL with a host.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"{without_userinfo(url)!r} is no address of a Pinot component. Give scheme, host and port, as in "
            "http://controller:9000"
        )
    if auth is None and parts.username is not None:
        given = httpx.URL(url)
        auth = httpx.BasicAuth(given.username, given.password)
    return without_userinfo(url).rstrip("/"), auth


def _pinot_error(response: httpx.Response) -> str | None:
    try:
        body = json.loads(response.content)
    except ValueError:
        return None
    said = body.get("error") if isinstance(body, dict) and "code" in body else None
    return said if isinstance(said, str) else None


def _shape(body: Any) -> str:
    if isinstance(body, dict):
        keys = ", ".join(repr(excerpt(str(key), 40)) for key in list(body)[:5])
        return (
            f"an object with {len(body)} keys ({keys}{', …' if len(body) > 5 else ''})" if body else "an empty object"
        )
    if isinstance(body, list):
        return f"a list of {len(body)}"
    return "nothing" if body is None else f"a {type(body).__name__}"


def _cause(error: Exception) -> str:
    return quoted_error(error) or type(error).__name__
