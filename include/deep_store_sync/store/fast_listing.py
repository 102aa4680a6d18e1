"""Listings read ten times as fast as botocore reads them.

botocore makes every element of an answer into Python's types by the service's model, and reads the time of each object
with dateutil: a tenth of a second of processor for a thousand objects. Here the objects are taken out of the answer
before botocore sees it, and handed on in the same shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from html import unescape
from typing import TYPE_CHECKING, Any, overload
from urllib.parse import unquote_plus

from botocore import handlers
from botocore.parsers import ResponseParserError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ID = "deep-store-sync-fast-listing"
_MEMBERS: Mapping[str, Callable[[str], Any]] = {
    "Key": str,
    "ETag": str,
    "StorageClass": str,
    "Size": int,
    "LastModified": datetime.fromisoformat,
}
_LEAF = re.compile(r"<(\w+)>([^<]*)</\1>")
_ENCODED = "<EncodingType>url</EncodingType>"
_LISTING, _BEGINNING = b"<ListBucketResult", 200
_LOOK_FOR_ERRORS: Any = getattr(handlers, "_handle_200_error", None)


class Entries(Sequence[dict[str, Any]]):
    """The objects of a page of a listing, each made into Python's types when asked for; or keys and ETags alone."""

    def __init__(self, elements: Sequence[str], *, encoded: bool) -> None:
        """`elements` are what stands between `<Contents>` and its end; `encoded` says that keys are as in URLs.

        Raises:
            ValueError: one has no key or no ETag.
        """
        self._elements = elements
        self._encoded = encoded
        self.keys = [self._key(_between(entry, "<Key>", "</Key>")) for entry in elements]
        self.etags = [_text(_between(entry, "<ETag>", "</ETag>")) for entry in elements]

    def __len__(self) -> int:
        return len(self._elements)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[dict[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | Sequence[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        found = {name: text for name, text in _LEAF.findall(self._elements[index]) if name in _MEMBERS}
        try:
            return {name: _MEMBERS[name](_text(text)) for name, text in found.items()} | {"Key": self.keys[index]}
        except ValueError as error:
            raise ResponseParserError(f"an entry of a listing: {error}") from error

    def _key(self, text: str) -> str:
        # Some stores write a blank as a plus sign, and a plus sign as %2B: botocore reads keys so.
        return unquote_plus(_text(text)) if self._encoded else _text(text)


def _between(text: str, start: str, end: str) -> str:
    begin = text.index(start) + len(start)
    return text[begin : text.index(end, begin)]


def _text(text: str) -> str:
    return unescape(text) if "&" in text else text


def read_listings_fast(client: S3Client) -> None:
    """Have a client read its listings so. Doing it twice changes nothing.

    The entries of ListObjectsV2 have key, ETag, size, storage class and time, and no more; what the answer repeats of
    the question stays as it is written there.
    """
    # After the answer was seen to be whole.
    client.meta.events.register_first("before-parse.s3", _read, unique_id=_ID)
    if _LOOK_FOR_ERRORS is not None:
        client.meta.events.unregister("before-parse.s3.*", _LOOK_FOR_ERRORS)
        client.meta.events.register_first("before-parse.s3.*", _look_for_errors, unique_id=f"{_ID}-errors")


def _look_for_errors(operation_model: Any, response_dict: dict[str, Any], **more: Any) -> None:
    """What botocore does with errors that come with status 200, but for listings: it parses all of them for that."""
    if operation_model.name != "ListObjectsV2" or _LISTING not in response_dict["body"][:_BEGINNING]:
        _LOOK_FOR_ERRORS(operation_model=operation_model, response_dict=response_dict, **more)


def _read(
    operation_model: Any, response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    if operation_model.name != "ListObjectsV2" or response_dict["status_code"] != 200:
        return
    body = response_dict["body"]
    if b"<Contents>" not in body or b"<!" in body or b"<CommonPrefixes>" in body:
        return  # nothing, too little to matter, or written in some other way: botocore reads it
    try:
        # A quote need not be escaped, and each ETag has two.
        text = body.decode().replace("&#34;", '"').replace("&quot;", '"')
        before, *found = text.split("<Contents>")
        elements, rest = zip(*(entry.split("</Contents>") for entry in found), strict=True)
        encoded = _ENCODED in before or _ENCODED in rest[-1]
        contents = Entries(elements, encoded=encoded)
    except ValueError:
        return  # botocore may have better words for what is wrong with it
    # Without the word on encoding, since botocore would make all of them to decode their keys once more.
    response_dict["body"] = "".join([before, *rest]).replace(_ENCODED, "").encode()
    customized_response_dict["Contents"] = contents
