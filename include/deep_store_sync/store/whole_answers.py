"""Answers of a store that were cut short on the way, found out before anybody believes them.

botocore takes what has arrived when a connection ends in the middle of an answer: half a list of headers for all of
them, and a listing without a body for an empty one (it reads with urllib3's `enforce_content_length` off, and parses
no body as no elements). Here such an answer becomes the one of a store that failed, so that botocore asks again as it
is configured to, and an outcome that stays unknown counts as that.

What cannot be seen is a HeadObject that was cut after ETag and length, among the headers that an object may have or
not. Over TLS the end of a connection itself tells; over plain HTTP a store sends its headers in one piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Headers without which an answer is not whole, by operation.
_HEADERS = {
    "HeadObject": ("etag", "content-length"),
    "GetObject": ("etag", "content-length"),
    "PutObject": ("etag",),
    "UploadPart": ("etag",),
}
# What is put without a body and answered with one.
_COPIES = ("CopyObject", "UploadPartCopy")
_DATE_ENDS = "GMT"  # as of every date of HTTP
_TAGS = "x-amz-tagging-count"
_ID = "deep-store-sync-whole-answers"


def expect_whole_answers(client: S3Client) -> None:
    """Have a client check its answers. Doing it twice changes nothing."""
    client.meta.events.register_first("before-parse.s3", _check, unique_id=_ID)


def _check(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    if not 200 <= response_dict["status_code"] < 300:
        return
    lacking = _lacking(operation_model, response_dict)
    if lacking is None:
        return
    if not isinstance(response_dict["body"], bytes):
        response_dict["body"].close()
    # As botocore itself does it with an error that comes with status 200 (handlers._handle_200_error).
    response_dict["status_code"] = 500
    response_dict["body"] = f"<Error><Code>CutShort</Code><Message>{escape(lacking)}</Message></Error>".encode()


def _lacking(operation_model: Any, answer: dict[str, Any]) -> str | None:
    headers, body = answer["headers"], answer["body"]
    for header in _HEADERS.get(operation_model.name, ()):
        value = headers.get(header, "")
        if not value or (value.startswith('"') and not value.endswith('"', 1)):
            return f"the answer was cut short, its {header} header is not there or not whole"
    if not headers.get("last-modified", _DATE_ENDS).endswith(_DATE_ENDS):
        return "the answer was cut short, its last-modified header is not whole"
    if not headers.get(_TAGS, "0").isdecimal():
        return f"the answer was cut short, its {_TAGS} header is not whole"
    method = operation_model.http["method"]
    if method == "HEAD" or not isinstance(body, bytes):  # a stream is counted by who reads it
        return None
    length = headers.get("content-length")
    if length is not None and length.isdecimal() and len(body) < int(length):
        return f"the answer was cut short, after {len(body)} of {length} bytes"
    if not body and (method in ("GET", "POST") or operation_model.name in _COPIES) and answer["status_code"] == 200:
        return "the answer was cut short, it has no body"
    return None
