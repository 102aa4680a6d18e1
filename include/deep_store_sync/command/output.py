"""What the commands print: plain lines for people and for `grep`, or one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any


def say(line: str = "") -> None:
    """A line of the result."""
    sys.stdout.write(line + "\n")


def complain(line: str) -> None:
    """A line about what is wrong, which is not part of the result."""
    sys.stderr.write(line + "\n")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as they have to be; the last one may be long and hold several words."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header) - 1)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        say("  ".join([*cells, " ".join(line[-1].split())]).rstrip())


def document(content: Any) -> None:
    """JSON, with the keys as they are spelled in table files."""
    json.dump(_plain(content), sys.stdout, indent=2)
    say()


def members(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, to be put into a document with others."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(members(value))
    if isinstance(value, dict):
        return {_camel(str(key)): _plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(member) for member in value]
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
