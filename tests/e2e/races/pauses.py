"""Real calls, made slow at random: pauses before a request leaves and before its answer is used.

What takes a millisecond here takes much longer in a large cluster, and others come in between.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
from tests.e2e.races.table import RAW_TABLE

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from mypy_boto3_s3 import S3Client


class Pauses:
    """Draws pauses: most calls have none, some a short one, few a long one. Safe to use from several threads.

    Before some writes to the deep store, `nudge` is called with the segment's name, and they pause: by chance alone,
    others would seldom write at that moment.
    """

    def __init__(self, dice: random.Random, nudge: Callable[[str], None], longest_s: float = 2.0) -> None:
        self._dice = dice
        self._nudge = nudge
        self._longest_s = longest_s
        self._lock = threading.Lock()

    def maybe(self, *_: Any, **__: Any) -> None:
        with self._lock:
            kind, share = self._dice.random(), self._dice.random()
        if kind > 0.97:
            time.sleep(share * self._longest_s)
        elif kind > 0.80:
            time.sleep(share * 0.05)

    def before_send(self, request: AWSPreparedRequest, **_: Any) -> None:
        folder, _, name = request.url.partition("?")[0].rpartition("/")
        with self._lock:
            kind, share = self._dice.random(), self._dice.random()
        if request.method == "PUT" and folder.endswith(f"/deepstore/{RAW_TABLE}") and kind < 0.3:
            self._nudge(name)
            time.sleep(share * self._longest_s)
        else:
            self.maybe()

    def slow_down(self, client: S3Client) -> S3Client:
        """The same client, with pauses from now on."""
        client.meta.events.register("before-send.s3", self.before_send)
        client.meta.events.register("after-call.s3", self.maybe)
        return client


class PausingTransport(httpx.HTTPTransport):
    """A real transport with pauses."""

    def __init__(self, pauses: Pauses) -> None:
        super().__init__()
        self._pauses = pauses

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._pauses.maybe()
        response = super().handle_request(request)
        self._pauses.maybe()
        return response
