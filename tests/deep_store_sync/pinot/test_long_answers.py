"""Pieces of an answer say together what the whole says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_store_sync.pinot import long_answers
from deep_store_sync.pinot.long_answers import entries, entries_below, listed
from deep_store_sync.pinot.server_columns import server_parts

# What the structure of JSON is made of, in every place where a text may be.
texts = st.text(st.sampled_from('ab{}[],:"\\ \né'), max_size=8) | st.sampled_from(
    ['},{"segmentName":"x"', '"},"', "}]},", '{"staleSegmentList":[', 'a":{', "},"]
)
# A name that begins like the value of an entry can be mistaken for one: then there is an error, and no plan.
names = texts.filter(lambda text: not re.match(r"\s*:\s*\{", text))
maps = st.dictionaries(names.map(lambda text: text.rstrip(", \n")), texts, max_size=3)
tables = st.dictionaries(names, maps, max_size=12)
indents = st.sampled_from([None, 2])


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_answers, "PIECE", 16)


def blocks(body: Any, size: int, indent: int | None = None) -> Iterator[bytes]:
    separators = (",", ":") if indent is None else None
    text = json.dumps(body, indent=indent, separators=separators, ensure_ascii=False).encode()
    for start in range(0, len(text), size):
        yield text[start : start + size]


def merged(pieces: Iterable[bytes]) -> tuple[dict[str, Any], int]:
    """The members of all pieces, and how many pieces there were."""
    found: dict[str, Any] = {}
    count = 0
    for piece in pieces:
        body = json.loads(piece)
        assert not body.keys() & found.keys()
        found |= body
        count += 1
    return found, count


@settings(deadline=None)
@given(tables, st.integers(1, 50), indents)
def test_an_object_of_objects(table: dict[str, dict[str, str]], size: int, indent: int | None) -> None:
    assert merged(entries(blocks(table, size, indent)))[0] == table


@settings(deadline=None)
@given(tables, st.integers(1, 50), indents, st.booleans())
def test_an_object_of_objects_below_another(
    table: dict[str, dict[str, str]], size: int, indent: int | None, first: bool
) -> None:
    body = {"OFFLINE": table, "REALTIME": None} if first else {"OFFLINE": None, "REALTIME": table}
    kind = "OFFLINE" if first else "REALTIME"
    found, _ = merged(
        json.dumps(json.loads(piece)[kind]).encode() for piece in entries_below(blocks(body, size, indent))
    )
    assert found == table


entry_lists = st.lists(
    st.fixed_dictionaries({"segmentName": texts, "reason": texts | st.none()}, optional={"stale": st.booleans()}),
    max_size=6,
)
servers = st.dictionaries(
    texts,
    st.fixed_dictionaries({"staleSegmentList": entry_lists, "validResponse": st.booleans(), "errorMessage": texts})
    | st.fixed_dictionaries({"validResponse": st.booleans(), "errorMessage": texts, "staleSegmentList": entry_lists})
    | st.fixed_dictionaries({"staleSegmentList": st.none(), "validResponse": st.just(False), "errorMessage": texts}),
    max_size=4,
)


@settings(deadline=None)
@given(servers, st.integers(1, 50), indents)
def test_lists_of_stale_segments(answers: dict[str, Any], size: int, indent: int | None) -> None:
    found: dict[str, list[tuple[str, str]]] = {}
    valid: dict[str, bool] = {}
    for server, part in server_parts(listed(blocks(answers, size, indent))):
        found.setdefault(server, []).extend(zip(part.segments, part.reasons, strict=True))
        if part.valid is not None:
            assert server not in valid
            valid[server] = part.valid
    assert valid == {server: answer["validResponse"] for server, answer in answers.items()}
    assert found == {
        server: [
            (entry["segmentName"], entry["reason"] or "no reason given")
            for entry in answer["staleSegmentList"] or ()
            if entry.get("stale") is not False
        ]
        for server, answer in answers.items()
    }


def test_a_cut_in_the_wrong_place_is_no_json() -> None:
    table = {"a": {"b": "x},"}, ":{": {}, "c": {"d": "e" * 20}}
    with pytest.raises(ValueError, match="Unterminated"):
        merged(entries(blocks(table, 20)))


def test_a_long_answer_comes_in_many_pieces() -> None:
    table = {f"segment_{number}": {"segment.crc": str(number)} for number in range(1000)}
    found, count = merged(entries(blocks(table, 7)))
    assert found == table
    assert count > 100


@pytest.mark.parametrize("cut", [entries, entries_below, listed])
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b"<html>", b'{"a":'])
def test_something_else_is_handed_on_as_it_is(cut: Callable[[Iterable[bytes]], Iterator[bytes]], body: bytes) -> None:
    assert list(cut([body])) == [body]


@pytest.mark.parametrize("cut", [entries, entries_below, listed])
def test_an_entry_without_an_end_is_not_held_for_ever(
    cut: Callable[[Iterable[bytes]], Iterator[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_answers, "_LONGEST_ENTRY", 1000)
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        list(cut(b'{"a":{"b":"' if number == 0 else b"x" * 100 for number in range(100)))
