"""Whether the objects of stamped segments are those that the stamps speak of, by listings of their folders."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.decide import lies_in
from deep_store_sync.errors import ConfigError
from deep_store_sync.planning.table_state import column
from deep_store_sync.planning.urls import urls
from deep_store_sync.store.object_url import object_url, parse_url

_LOOKED_UP = 200_000
_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the deep store with the segments there that carry a stamp.

    `url` is where to list, `key` the key of the folder itself. Of each segment it has the row in the table, and what
    follows the folder in the key of its object. `etags` are those that stamps speak of, of all rows of the table.
    """

    url: str
    key: str
    rows: pa.UInt64Array
    names: pa.StringArray
    etags: pa.StringArray


def stamped_folders(segments: pa.Table, prefixes: Collection[str]) -> Iterator[Folder]:
    """The folders to list. What lies outside the deep store now, or nowhere, no stamp could speak of."""
    folder, etag = column(segments, "url_folder"), column(segments, "stamp_etag")
    stamped = pc.and_(pc.is_valid(etag), pc.is_valid(folder))
    if not stamped.true_count:
        return
    spelled: dict[tuple[str, str], list[int]] = {}
    for number, text in enumerate(folder.dictionary.to_pylist()):
        if lies_in(text + "x", prefixes):
            with suppress(ConfigError):
                bucket, key = parse_url(text + "x")
                spelled.setdefault((bucket, key[:-1]), []).append(number)
    for (bucket, key), ways in sorted(spelled.items()):
        here = pc.and_(stamped, pc.fill_null(pc.is_in(folder.indices, value_set=pa.array(ways, pa.int32())), False))
        rows = pc.indices_nonzero(here)
        if len(rows):
            yield Folder(object_url(bucket, key), key, rows, _names(segments, rows, key), etag)


def ranges(folder: Folder, size: int) -> list[tuple[str | None, str | None]]:
    """Ranges of keys, each greater than its first and up to its second, with about `size` stamped segments in each."""
    count = len(folder.names) // size
    if count <= 1:
        return [(None, None)]
    step = max(1, len(folder.names) // (count * _SAMPLES))
    # Stores order keys by their bytes in UTF-8, as Python orders the signs.
    some = sorted(folder.key + name for name in folder.names[::step].to_pylist() if name is not None)
    ends = [some[len(some) * number // count] for number in range(1, count)]
    return list(zip([None, *ends], [*ends, None], strict=True))


def matching(folder: Folder, listed: Iterable[tuple[pa.StringArray, pa.StringArray]]) -> Iterator[int]:
    """The rows whose objects are there with the ETags of their stamps; `listed` are keys and ETags, some at a time."""
    keys: list[pa.Array] = []
    etags: list[pa.Array] = []
    for some_keys, some_etags in listed:
        keys.append(some_keys)
        etags.append(some_etags)
        if sum(map(len, keys)) >= _LOOKED_UP:
            yield from _matching(folder, pa.concat_arrays(keys), pa.concat_arrays(etags))
            keys, etags = [], []
    if keys:
        yield from _matching(folder, pa.concat_arrays(keys), pa.concat_arrays(etags))


def _matching(folder: Folder, keys: pa.Array, etags: pa.Array) -> Iterator[int]:
    place = pc.index_in(pc.utf8_slice_codeunits(keys, len(folder.key)), value_set=folder.names)
    known = pc.is_valid(place)
    rows, etags = folder.rows.take(place.filter(known)), etags.filter(known)
    yield from rows.filter(pc.equal(folder.etags.take(rows), etags)).to_pylist()


def _names(segments: pa.Table, rows: pa.Array, folder_key: str) -> pa.StringArray:
    name, given = column(segments, "name"), column(segments, "url_name")
    names = name if given.null_count == len(given) else pc.coalesce(given, name)
    if len(rows) < len(names):
        names = names.take(rows)
    # What is not sure to stand for itself is read as the rest of the product reads it.
    other = pc.invert(pc.match_substring_regex(names, r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$"))
    if other.true_count:
        read = [_below(url, folder_key) for url in urls(segments, rows.filter(other)).to_pylist()]
        names = pc.replace_with_mask(names, other, pa.array(read, pa.string()))
    return names


def _below(url: str, folder_key: str) -> str | None:
    with suppress(ConfigError):
        key = parse_url(url)[1]
        if key.startswith(folder_key):
            return key[len(folder_key) :]
    return None
