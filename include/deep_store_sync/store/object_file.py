"""An object as a file of which only parts are fetched."""

from __future__ import annotations

import io

from deep_store_sync.store.deep_store import DeepStore

_TAIL = 1024**2


class ObjectFile(io.RawIOBase):
    """A file to read over an object as it is now; that it is overwritten meanwhile is an error.

    Its end, 1 MiB, is fetched when it is opened, so that a small object takes one request and a larger one that has its
    table of contents there few. What is not there is fetched as it is read, or at once with `fetch`.
    """

    def __init__(self, store: DeepStore, url: str) -> None:
        """Raises: ObjectNotFoundError: there is no such object."""
        self._store = store
        self._url = url
        found = store.head(url)
        self._etag, self._size = found.etag, found.size
        self._place = 0
        self._parts: list[tuple[int, bytes]] = []
        self.fetch(max(0, self._size - _TAIL), min(self._size, _TAIL))

    def fetch(self, start: int, length: int) -> None:
        """Fetch a part with one request, and hold it instead of what was fetched like this before; the end stays."""
        if length and not self._held(start, length):
            part = self._store.read_part(self._url, start, length, if_match=self._etag)
            self._parts = [*self._parts[:1], (start, part)]

    def _held(self, start: int, length: int) -> bytes | None:
        for first, part in self._parts:
            if first <= start and start + length <= first + len(part):
                return part[start - first : start - first + length]
        return None

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The place in the object."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place in the object."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = base + offset
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read into a buffer, as much as it holds or there is."""
        length = max(0, min(len(buffer), self._size - self._place))
        if not length:
            return 0
        self.fetch(self._place, length)
        part = self._held(self._place, length)
        if part is None:
            raise EOFError(f"{self._url}: nothing at {self._place}")
        buffer[:length] = part
        self._place += length
        return length
