from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from deep_store_sync.errors import (
    PinotAnswerError,
    PinotUnavailableError,
    PushConflictError,
    PushRefusedError,
    SegmentChangedError,
    SegmentGoneError,
)
from deep_store_sync.pinot.controller import ControllerClient

PUSH = "/v2/segments"
OK = {"status": "Successfully uploaded segment: s of table: flights_OFFLINE"}


def push(fake: Any, *, table: str = "flights_OFFLINE", url: str = "s3://b/flights/a%20b", **headers: str) -> None:
    with ControllerClient("http://pinot:9000", transport=fake.transport, headers=headers) as controller:
        controller.push_metadata(
            table, "a b", archive=b"tar.gz", url=url, expected_crc=7, custom={"k": "é", "empty": ""}
        )


def test_one_request_says_it_all(fake: Any) -> None:
    fake.answer(PUSH, OK, method="POST")
    push(fake)
    (request,) = fake.requests
    assert dict(request.url.params) == {
        "tableName": "flights",
        "tableType": "OFFLINE",
        "enableParallelPushProtection": "true",
    }
    headers = request.headers
    assert headers["UPLOAD_TYPE"] == "METADATA"
    assert headers["DOWNLOAD_URI"] == "s3://b/flights/a%20b"
    assert headers["COPY_SEGMENT_TO_DEEP_STORE"] == "false"
    assert headers["REFRESH_ONLY"] == "true"
    assert headers["If-Match"] == "7"
    modifier = json.loads(headers["Pinot-SegmentZKMetadataCustomMapModifier"])
    assert modifier == {"mapModifyMode": "UPDATE", "map": {"k": "é", "empty": ""}}
    assert headers["content-type"].startswith("multipart/form-data")
    assert request.content.count(b"\r\n\r\ntar.gz\r\n") == 1


@pytest.mark.parametrize(
    ("table", "database", "name"),
    [
        ("t_REALTIME", "shop", "shop.t"),
        ("shop.t_REALTIME", "shop", "shop.t"),
        ("t_REALTIME", "Default", "t"),
        ("t_REALTIME", "", "t"),
    ],
)
def test_a_push_names_the_database_itself(fake: Any, table: str, database: str, name: str) -> None:
    fake.answer(PUSH, OK, method="POST")
    push(fake, table=table, database=database)
    assert fake.requests[0].url.params["tableName"] == name
    assert fake.requests[0].url.params["tableType"] == "REALTIME"


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (401, PushRefusedError, "Check user and password"),
        (403, PushRefusedError, "storage quota"),
        (400, PushRefusedError, "Mend what the reason names"),
        (404, SegmentGoneError, "no longer there"),
        (410, SegmentGoneError, "no longer there"),
        (409, PushConflictError, "Try again later"),
        (412, SegmentChangedError, "its CRC is no longer 7"),
        (429, PinotUnavailableError, "may have been done"),
        (500, PinotUnavailableError, "may have been done"),
        (503, PinotUnavailableError, "may have been done"),
    ],
)
def test_refusals_by_kind_with_pinots_reason(fake: Any, status: int, error: type[Exception], says: str) -> None:
    reason = "Storage quota check failed for segment: a b of table: flights_OFFLINE, reason: too big"
    fake.answer(PUSH, {"code": status, "error": reason}, status, method="POST")
    with pytest.raises(error, match=says) as caught:
        push(fake)
    assert type(caught.value) is error
    assert f"{status}: {reason}" in str(caught.value)
    assert "segment a b" in str(caught.value)
    assert len(fake.requests) == 1


def test_an_outcome_that_is_not_known_is_not_tried_again(fake: Any) -> None:
    fake.fail(PUSH, httpx.ReadTimeout, method="POST")
    with pytest.raises(PinotUnavailableError):
        push(fake)
    assert len(fake.requests) == 1


@pytest.mark.parametrize("body", [b"<html>welcome</html>", [], None, {"ok": True}])
def test_a_success_from_somebody_else_is_none(fake: Any, body: Any) -> None:
    fake.answer(PUSH, body, method="POST")
    with pytest.raises(PinotAnswerError, match="metadata push of segment a b"):
        push(fake)


def test_a_redirect_is_no_success(fake: Any) -> None:
    fake.answer(PUSH, status=307, method="POST", location="https://pinot/v2/segments")
    with pytest.raises(PinotAnswerError, match="redirected"):
        push(fake)


def test_a_url_that_no_header_can_carry_is_not_sent(fake: Any) -> None:
    with pytest.raises(PushRefusedError, match="Nothing was sent"):
        push(fake, url="s3://b/é")
    assert fake.requests == []
