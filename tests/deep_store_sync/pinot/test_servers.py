from __future__ import annotations

from typing import Any

import httpx
import pytest

from deep_store_sync.errors import PinotAnswerError, PinotUnavailableError
from deep_store_sync.pinot.servers import ServerClient

ADMIN = "http://server:8097"
CRCS = "/tables/flights_OFFLINE/segments/crc"


def client(fake: Any) -> ServerClient:
    return ServerClient(transport=fake.transport, sleep=lambda _: None)


def test_crcs_of_what_is_loaded(fake: Any) -> None:
    # A consuming segment's CRC is Long.MIN_VALUE.
    fake.answer(CRCS, {"a": "123", "b c": "4294967295", "consuming": "-9223372036854775808", "odd": None})
    with client(fake) as servers:
        assert servers.segment_crcs(ADMIN + "/", "flights_OFFLINE") == {"a": 123, "b c": 4294967295}


def test_a_server_without_the_table_has_loaded_nothing(fake: Any) -> None:
    fake.answer(CRCS, {"code": 404, "error": "Failed to find table: flights_OFFLINE"}, 404)
    assert client(fake).segment_crcs(ADMIN, "flights_OFFLINE") == {}


def test_what_is_no_server_is_no_proof(fake: Any) -> None:
    with pytest.raises(PinotAnswerError, match="no such call"):
        client(fake).segment_crcs(ADMIN, "flights_OFFLINE")
    fake.answer(CRCS, ["a"])
    with pytest.raises(PinotAnswerError, match="a list of 1"):
        client(fake).segment_crcs(ADMIN, "flights_OFFLINE")


def test_a_server_that_is_out_of_reach(fake: Any) -> None:
    fake.fail(CRCS, httpx.ConnectError)
    with pytest.raises(PinotUnavailableError, match=r"http://server:8097/tables/flights_OFFLINE/segments/crc"):
        client(fake).segment_crcs(ADMIN, "flights_OFFLINE")
    assert len(fake.requests) == 3
