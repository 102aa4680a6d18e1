"""Download URLs of all segments at once: which must not be touched.

`decide.bad_url` is the rule. Here it is applied to columns, and asked itself only where a URL is unlike the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.decide import ARCHIVE_SUFFIXES, bad_url, lies_in
from deep_store_sync.errors import ConfigError
from deep_store_sync.planning.table_state import column
from deep_store_sync.store.object_url import parse_url

# Signs that stand for themselves at the end of a URL, and those of them that a name and its URL always share.
_PLAIN = r"^[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9_.~!$&'()*+,;=:@-]*$"
_SHARED_SIGNS = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$"


@dataclass(frozen=True, slots=True)
class Urls:
    """The URL of each row (null where it has none), whether it is bad, and the URLs that several segments have."""

    bad: pa.BooleanArray
    shared: frozenset[str]


def check_urls(segments: pa.Table, prefixes: Collection[str]) -> Urls:
    """Hold the download URLs of all segments against `decide.bad_url`."""
    shared = _shared(segments)
    name, last, folder = column(segments, "name"), _last(segments), column(segments, "url_folder")
    usable = pa.array([_usable(text, prefixes) for text in folder.dictionary.to_pylist()], pa.bool_())
    in_place = pc.fill_null(usable.take(folder.indices), False)
    named = pc.is_null(column(segments, "url_name"))
    if named.false_count:
        for suffix in ARCHIVE_SUFFIXES:
            named = pc.or_(named, pc.equal(last, pc.binary_join_element_wise(name, suffix, "")))
    good = pc.and_(in_place, pc.and_(named, pc.match_substring_regex(last, _PLAIN)))
    known_bad = pc.or_(pc.invert(in_place), pc.and_(pc.invert(named), pc.match_substring_regex(last, _SHARED_SIGNS)))
    doubtful = pc.invert(pc.or_(good, known_bad))
    if shared:
        doubtful = pc.or_(doubtful, good)
    if not doubtful.true_count:
        return Urls(pc.invert(good), shared)
    rows = pc.indices_nonzero(doubtful)
    found = [
        bad_url(segment, url, prefixes, shared) is not None
        for segment, url in zip(name.take(rows).to_pylist(), urls(segments, rows).to_pylist(), strict=True)
    ]
    bad = pc.replace_with_mask(pc.invert(good), doubtful, pa.array(found, pa.bool_()))
    return Urls(bad, shared)


def urls(segments: pa.Table, rows: pa.Array) -> pa.StringArray:
    """The download URLs of some rows; null where there is none."""
    some = pa.table({name: column(segments, name).take(rows) for name in ("name", "url_folder", "url_name")})
    folder = pc.cast(column(some, "url_folder"), pa.string())
    return pc.binary_join_element_wise(folder, pc.coalesce(column(some, "url_name"), column(some, "name")), "")


def _last(segments: pa.Table) -> pa.StringArray:
    """What follows the last slash of each URL."""
    given = column(segments, "url_name")
    name = column(segments, "name")
    return name if given.null_count == len(given) else pc.coalesce(given, name)


def _usable(folder: str, prefixes: Collection[str]) -> bool:
    """Whether URLs of this folder may be good: what `bad_url` says of any of them does not lie in the folder."""
    try:
        parse_url(folder + "x")
    except ConfigError:
        return False
    return folder.isascii() and lies_in(folder + "x", prefixes)


def _shared(segments: pa.Table) -> frozenset[str]:
    """URLs of objects that more than one segment has: different URLs may name one object (`a%20b` and `a b`)."""
    last = _last(segments)
    with_url = pc.is_valid(column(segments, "url_folder"))
    escaped = pc.and_(with_url, pc.match_substring(last, "%"))
    if column(segments, "url_name").null_count == len(last) and not escaped.true_count:
        return frozenset()  # each ends in its segment's name
    if escaped.true_count:
        rows = pc.indices_nonzero(escaped)
        keys = [_object(url)[1].rpartition("/")[2] for url in urls(segments, rows).to_pylist()]
        last = pc.replace_with_mask(last, escaped, pa.array(keys, pa.string()))
    last = pc.if_else(with_url, last, None)
    counts = pc.value_counts(last.drop_null())
    several = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    # Two URLs of one object end alike.
    rows = pc.indices_nonzero(pc.is_in(last, value_set=several))
    candidates = urls(segments, rows).to_pylist()
    count = Counter(_object(url) for url in candidates)
    return frozenset(url for url in candidates if count[_object(url)] > 1)


def _object(url: str) -> tuple[str, str]:
    try:
        return parse_url(url)
    except ConfigError:  # not in S3: not eligible in any case
        return "", url
