"""Whether the objects of stamped segments are those that the stamps speak of, by listings of their folders."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.decide import lies_in
from deep_store_sync.errors import ConfigError
from deep_store_sync.planning.table_state import column
from deep_store_sync.planning.urls import urls
from deep_store_sync.store.object_url import object_url, parse_url


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a folder of the deep store, with the segments there that carry a stamp, in the order of their keys.

    `url` is the folder's, and `key` its key. To list are the keys greater than `after`, up to `until`; None is no
    bound. Of each segment it has the row in the table, and what follows the folder in the key of its object.
    """

    url: str
    key: str
    after: str | None
    until: str | None
    rows: pa.UInt64Array
    names: pa.StringArray

    def matching(self, keys: pa.StringArray, etags: pa.StringArray, stamped: pa.StringArray) -> pa.UInt64Array:
        """The rows whose objects, listed by keys and ETags, have the ETag of the stamp (`stamped`, of all rows)."""
        place = pc.index_in(pc.utf8_slice_codeunits(keys, len(self.key)), value_set=self.names)
        known = pc.is_valid(place)
        rows = self.rows.take(place.filter(known))
        return rows.filter(pc.fill_null(pc.equal(stamped.take(rows), etags.filter(known)), False))


def stretches(segments: pa.Table, prefixes: Collection[str], size: int) -> Iterator[Stretch]:
    """What to list, in parts with at most `size` stamped segments each.

    What lies outside the deep store now, or nowhere, no stamp could speak of.
    """
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
        names = _names(segments, rows, key)
        # Stores order keys by their bytes in UTF-8, and so does Arrow.
        order = pc.sort_indices(names)
        order = order.slice(0, len(order) - names.null_count)
        after = None
        for start in range(0, len(order), size):
            part = order.slice(start, size)
            of_part = names.take(part)
            until = key + of_part[-1].as_py() if start + size < len(order) else None
            yield Stretch(object_url(bucket, key), key, after, until, rows.take(part), of_part)
            after = until


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
