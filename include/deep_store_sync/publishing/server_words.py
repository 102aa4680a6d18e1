"""What servers say of a batch's segments just before a wave, asked for as often as it is worth.

`isStale` and `needReload` have every server compare all of its segments of the table, whichever one is asked about: a
moment on most tables, half a minute and more where there are a million. An answer that takes so long is used for the
next waves as well, so that asking takes no more than a tenth of the time, unless something happened to the table that
may have changed it.

Nothing but costs depends on how old an answer is. What is published quietly although a server fell out of sync in
between is found stale by the next run, which has that server download it; what is refreshed although servers came into
sync is downloaded once more than needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from deep_store_sync.model import ServerAnswer
from deep_store_sync.services import Services

AT_ONCE_S = 1.0
"""An answer that takes no longer than this is asked for before each wave."""
_KEPT_TIMES = 10

T = TypeVar("T")


@dataclass(slots=True)
class Kept(Generic[T]):
    """An answer that is kept for ten times as long as it took, where that is worth it."""

    ask: Callable[[], T]
    clock: Callable[[], float] = time.monotonic
    _answer: T | None = None
    _until: float = 0.0
    _since: Hashable = None

    def get(self, since: Hashable) -> T:
        """The answer. It is asked for anew if `since` is another than before: what stands for the table's state."""
        if self._answer is None or since != self._since or self.clock() >= self._until:
            start = self.clock()
            self._answer, self._since = self.ask(), since
            took = self.clock() - start
            self._until = self.clock() + (_KEPT_TIMES * took if took > AT_ONCE_S else 0.0)
        return self._answer


@dataclass(slots=True)
class ServerWords:
    """What servers say of some segments of a table, by `isStale` and `needReload`."""

    services: Services
    table: str
    segments: Collection[str]
    clock: Callable[[], float] = time.monotonic
    _stale: Kept[Mapping[str, ServerAnswer]] = field(init=False)
    _need_reload: Kept[Mapping[str, bool]] = field(init=False)

    def __post_init__(self) -> None:
        controller = self.services.controller
        self._stale = Kept(lambda: controller.stale(self.table, self.segments), self.clock)
        self._need_reload = Kept(lambda: controller.need_reload(self.table), self.clock)

    def stale(self, table_config: Mapping[str, Any], reloads: Collection[str]) -> Mapping[str, ServerAnswer]:
        """What each server calls stale. `reloads` are the ids of the table's reload jobs that have ended by now."""
        return self._stale.get(_state(table_config, reloads))

    def need_reload(self, table_config: Mapping[str, Any], reloads: Collection[str]) -> Mapping[str, bool]:
        """Whether each server would change something in a reload; arguments as of `stale`."""
        return self._need_reload.get(_state(table_config, reloads))


def _state(table_config: Mapping[str, Any], reloads: Collection[str]) -> Hashable:
    return repr(sorted(table_config.items())), frozenset(reloads)
