"""The repository's documents, as far as tests look into them: headings, links, code in the text, blocks of code."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

_BLOCK = re.compile(r"^( *)```([\w-]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A block of code. `line` is that of its first line in the file."""

    where: str
    language: str
    text: str

    def __str__(self) -> str:
        return self.where

    def commands(self) -> Iterator[list[str]]:
        """The command lines of a shell block, as words, without comments and without what is set before them."""
        for line in self.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"\w+=.*", words[0]):
                words.pop(0)
            if words:
                yield words


@dataclass(frozen=True)
class Document:
    """A Markdown file."""

    path: Path

    def __str__(self) -> str:
        return self.path.relative_to(REPOSITORY).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """The text without its blocks of code."""
        return _BLOCK.sub("", self.text)

    @property
    def blocks(self) -> list[Block]:
        return [
            Block(f"{self}:{self.text.count(chr(10), 0, found.start()) + 2}", found[2], _dedented(found[3], found[1]))
            for found in _BLOCK.finditer(self.text)
        ]

    @property
    def spans(self) -> list[str]:
        """Code in the text, as it is written between backticks."""
        return [" ".join(span.split()) for span in _SPAN.findall(self.prose)]

    @property
    def links(self) -> list[str]:
        return _LINK.findall(self.prose)

    @property
    def anchors(self) -> set[str]:
        """What a link can lead to, by the names that GitHub gives to headings."""
        seen: Counter[str] = Counter()
        anchors = set()
        for heading in re.findall(r"^#{1,6} +(.+?) *$", self.prose, flags=re.MULTILINE):
            name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            anchors.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
        return anchors

    def section(self, heading: str) -> str:
        """The text below a heading, to the next one of any level."""
        found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", self.prose, flags=re.MULTILINE | re.DOTALL)
        assert found, f"{self} has no heading {heading!r}"
        return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    found = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    headings = {number - 1 for number, cells in enumerate(found) if all(re.fullmatch(r":?-+:?", c) for c in cells)}
    return [cells for number, cells in enumerate(found) if number not in headings | {n + 1 for n in headings}]


def code(cell: str) -> list[str]:
    """The code in a cell."""
    return _SPAN.findall(cell)


def _dedented(text: str, indent: str) -> str:
    return "".join(line.removeprefix(indent) for line in text.splitlines(keepends=True))


DOCUMENTS = [Document(path) for path in sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])]
BLOCKS = [block for document in DOCUMENTS for block in document.blocks]
