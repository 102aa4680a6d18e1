"""What the commands print: plain lines for people and for `grep`, or one JSON document for programs.

Colours are for terminals only, and for none where `NO_COLOR` is set or the terminal cannot show them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, TextIO

from deep_store_sync.errors import ConfigError
from deep_store_sync.system_trouble import in_words

_GREEN, _YELLOW, _RED, _BOLD = "32", "33", "31", "1"
_COLOURS = {
    **dict.fromkeys(("ok", "true", "synced", "stamped", "skipped", "rolled back", "unstamped"), _GREEN),
    **dict.fromkeys(("warning", "deferred", "left alone", "lost race", "not checked"), _YELLOW),
    **dict.fromkeys(("failed", "problem"), _RED),
}


class OutputLostError(Exception):
    """Standard output takes no more: the OSError is its cause."""


def say(line: str = "") -> None:
    """A line of the result.

    Raises:
        OutputLostError: it could not be written.
    """
    try:
        sys.stdout.write(line + "\n")
    except OSError as error:
        raise OutputLostError from error


def all_said() -> None:
    """Bring to standard output what has not got there yet.

    Raises:
        OutputLostError: it could not be written.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        raise OutputLostError from error


def whisper(line: str) -> None:
    """A line on standard error. Who reads it may have gone: no reason to leave off what is under way."""
    with suppress(OSError):
        sys.stderr.write(line + "\n")


def complain(line: str) -> None:
    """A line about what is wrong, which is not part of the result."""
    whisper(_painted(line, _RED, sys.stderr))


def said(error: Exception) -> str:
    """An error in words. What a person got wrong is told without the name of a class."""
    if isinstance(error, ConfigError):
        return str(error)
    return f"{type(error).__name__}: {in_words(error)}"


def told(error: Exception) -> dict[str, str]:
    """The same as members of a document."""
    return {"error": type(error).__name__, "message": in_words(error)}


def heading(line: str) -> None:
    """A line that the lines after it belong to."""
    say(_painted(line, _BOLD, sys.stdout))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as they have to be; the last one may be long and hold several words."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header) - 1)]
    for number, line in enumerate(lines):
        *cells, last = [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), _one_line(line[-1])]
        colours = [_COLOURS.get(cell, "") if number else _BOLD for cell in line]
        shown = [_painted(cell, colour, sys.stdout) for cell, colour in zip([*cells, last], colours, strict=True)]
        say("  ".join(shown).rstrip())


def facts(rows: Iterable[tuple[str, str]]) -> None:
    """Names with what is known of them, a line each."""
    known = list(rows)
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        say(f"  {_painted(name.ljust(width), _BOLD, sys.stdout)}  {_one_line(value)}".rstrip())


def counted(outcomes: Iterable[str]) -> str:
    """How many there are of each, in words."""
    listed = list(outcomes)
    return ", ".join(f"{listed.count(outcome)} {outcome}" for outcome in sorted(set(listed)))


def document(content: Any) -> None:
    """JSON, with the keys as they are spelled in table files."""
    say(json.dumps(_plain(content), indent=2))


def members(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, to be put into a document with others."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody looks at a stream who can be shown more than lines."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def _painted(text: str, colour: str, stream: TextIO) -> str:
    if not colour or not text.strip() or os.environ.get("NO_COLOR") or not is_terminal(stream):
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(members(value))
    if isinstance(value, dict):
        return {_camel(str(key)): _plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(member) for member in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
