"""Quoting what others said in messages: short, on one line, and without what may be credentials."""

from __future__ import annotations

import re

_EXCERPT = 200


def excerpt(text: str, length: int = _EXCERPT) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text[: length * 4].split())
    return line if len(line) <= length else line[:length] + "…"


def quoted_error(error: Exception, length: int = _EXCERPT) -> str:
    """The beginning of what an error of others says. Credentials go first: half of one would not be known as such."""
    return excerpt(without_userinfo(str(error)), length)


def without_userinfo(url: str) -> str:
    """A URL, or text with URLs in it, without user names, passwords and parameters; without its scheme, too."""
    return re.sub(r"((?<=//)|[^/@\s:]+:)[^/?#\s]*@", "", url).split("?", 1)[0]
