"""Things that took some reading, kept while there is room: the least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LruCache(Generic[Value]):
    """Keeps values by key, for several threads. Two that ask at once may both make the value."""

    def __init__(self, most: int, *, weight: Callable[[Value], int] = lambda _: 1) -> None:
        """Values are kept up to a weight of `most` together, and the last one whatever it weighs."""
        self._most = most
        self._weight = weight
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], Value], *, good: Callable[[Value], bool] = lambda _: True) -> Value:
        """The value of a key, made if none is kept that is good."""
        found = self.peek(key)
        if found is not None and good(found):
            return found
        value = make()
        self.put(key, value)
        return value

    def peek(self, key: Hashable) -> Value | None:
        """The value that is kept of a key, if any is."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: Hashable, value: Value) -> None:
        """Keep a value."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > 1 and sum(map(self._weight, self._values.values())) > self._most:
                self._values.popitem(last=False)
