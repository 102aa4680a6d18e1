"""A store that honours If-Match on CopyObject, as AWS S3 does and the gateways here do not."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit


class FakeAnswer:
    """A store's refusal, for botocore's before-send event."""

    def __init__(self, status: int, code: str) -> None:
        self.status_code = status
        self.headers: dict[str, str] = {}
        self.content = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        self.text = self.content.decode()


def fake_conditional_copies(client: Any) -> Any:
    """Have a client look itself whether the condition holds, and refuse the copy in the store's place. Returns it.

    It has to address buckets by path.
    """

    def decide(request: Any, **_: Any) -> FakeAnswer | None:
        condition = request.headers.get("If-Match")
        if condition is None:
            return None
        bucket, key = unquote(urlsplit(request.url).path).lstrip("/").split("/", 1)
        found = client.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", [])
        etags = [item["ETag"] for item in found if item["Key"] == key]
        if condition.decode() in etags:
            return None
        return FakeAnswer(412, "PreconditionFailed") if etags else FakeAnswer(404, "NoSuchKey")

    client.meta.events.register("before-send.s3.CopyObject", decide)
    return client
