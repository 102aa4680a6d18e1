"""What happened in a race: the last events with their times, counts of all, and the violations."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

_KEPT = 3000
_SHOWN = 60
_VIOLATIONS = 20


@dataclass(frozen=True, slots=True)
class Event:
    """`at` is in seconds since the race began. Without a segment it concerns all of them."""

    at: float
    who: str
    what: str
    segment: str | None

    def __str__(self) -> str:
        return f"{self.at:9.3f} s  {self.who}: {self.segment + ': ' if self.segment else ''}{self.what}"


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must never be, with what went before it."""

    at: float
    kind: str
    segment: str | None
    seen: str
    events: tuple[Event, ...]

    def __str__(self) -> str:
        head = f"VIOLATION at {self.at:.3f} s: {self.kind}{f' ({self.segment})' if self.segment else ''}: {self.seen}"
        return "\n".join([head, *(f"    {event}" for event in self.events)])


@dataclass
class Events:
    """Safe to use from all threads. `tell` hears of each violation that is kept as it happens."""

    tell: Callable[[str], None] = lambda _: None
    begin: float = field(default_factory=time.monotonic)
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    _events: deque[Event] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _seen: set[tuple[str, str | None]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, who: str, what: str, segment: str | None = None) -> None:
        with self._lock:
            self._events.append(Event(self._now(), who, what, segment))

    def count(self, what: str, by: int = 1) -> None:
        with self._lock:
            self.counts[what] += by

    def violate(self, kind: str, seen: str, segment: str | None = None) -> None:
        """The first of a kind and segment is kept with the last events that concern it; the others only count."""
        with self._lock:
            self.counts["violations"] += 1
            if (kind, segment) in self._seen or len(self.violations) >= _VIOLATIONS:
                return
            self._seen.add((kind, segment))
            concerned = [
                event
                for event in self._events
                if segment is None or event.segment in (None, segment) or segment in event.what
            ]
            self.violations.append(Violation(self._now(), kind, segment, seen, tuple(concerned[-_SHOWN:])))
            self.tell(str(self.violations[-1]))

    def summary(self) -> str:
        """All counts, and the violations with the events before them."""
        with self._lock:
            lines = [f"{count:8d} {what}" for what, count in sorted(self.counts.items())]
            lines += [f"{len(self.violations):8d} kinds of violations"]
            return "\n".join([*map(str, self.violations), *lines])

    def _now(self) -> float:
        return time.monotonic() - self.begin


class EventHandler(logging.Handler):
    """Takes what the product logs into the events."""

    def __init__(self, events: Events) -> None:
        super().__init__(logging.INFO)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if not message.startswith("::"):
            self._events.note(f"log of {record.threadName}", message.partition("\n")[0][:400])
