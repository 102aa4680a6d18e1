"""Whether a rebuilt segment holds what the original held, and what was changed in it.

A column whose dictionary, forward index and null vector are the same bytes as before holds the same values. Of a column
that was rewritten the values are compared, row for row. What is neither the same, nor a change that a server's reload
makes, nor one that was meant (`Regenerated`), is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from deep_store_sync.errors import VerificationError
from deep_store_sync.segment.column_changes import (
    FORWARD,
    ColumnPair,
    Line,
    check_not_emptied,
    definition_changes,
    holds_default,
)
from deep_store_sync.segment.fingerprint import Fingerprint
from deep_store_sync.segment.segment_files import ColumnLayout
from deep_store_sync.segment.spanning import star_tree_columns, text_columns

# Files beside columns.psf, by their names: the star-trees, the multi-column text index, and Lucene's folders.
_STAR_TREE = re.compile(r"star_tree_index(_map)?")
_MULTI_COLUMN_TEXT = re.compile(r"multi_col_text_idx\.lucene\..+")
_STAR_TREES, _TEXT_OVER_COLUMNS = ("star-tree", True), ("multi-column text index", True)
_TEXT = re.compile(r"(.+?)\.(lucene\.((v\d+\.)?index|mapping)|nativetext\.idx)")
_VECTOR = re.compile(r"(.+?)\.vector\.(.+\.)?(index|mapping)")

# What describes the segment's columns and its indexes over several of them; all else about the segment stays.
_LISTS = re.compile(
    r"segment\.(dimension|metric|datetime|complex)\.column\.names|column\..*|startree\..*|multicolumntext\..*"
)
_TIME = frozenset(("segment.time.column.name", "segment.start.time", "segment.end.time", "segment.time.unit"))


@dataclass(frozen=True, slots=True)
class Regenerated:
    """What was meant to be written anew, beyond what preprocessing does.

    Of `columns` data type, field type, single or multi value, default value, partitions and encoding may change, and
    their null vectors may go; the values stay, converted. `removed` may be gone. `sorted_by`: all rows may be in
    another order, by these columns, and rows with the same values there as they were. `time_column`: the segment's new
    time column, whose range its time range has to be. `made_anew`: columns of Pinot's making that it makes up or
    derives anew, and with them what was built from them.
    """

    columns: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    sorted_by: tuple[str, ...] = ()
    time_column: str | None = None
    made_anew: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A column that was rewritten: its forward index, dictionary or null vector is not the bytes it was.

    `difference` says where its values are not the same, and is None where all are. `before` and `after` name the
    encoding, such as `SNAPPY` or `dictionary`.
    """

    before: str
    after: str
    difference: str | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What was changed, and which of it `isStale` would not notice on a server that has not changed it yet."""

    changes: tuple[str, ...] = ()
    invisible: tuple[str, ...] = ()


CompareValues = Callable[[tuple[str, ...]], Mapping[str, Rewrite]]


def compare(
    before: Fingerprint, after: Fingerprint, compare_values: CompareValues, regenerated: Regenerated | None = None
) -> Changes:
    """Hold a rebuilt segment against the original.

    Args:
        before: the original.
        after: the rebuilt one, before its `creation.meta` is written.
        compare_values: compares the values and nulls of the columns named, original against rebuilt (in the order meant
            where rows were resorted), and the segment's time range with its new time column's; called once at most, and
            only for columns that were rewritten.
        regenerated: what was meant to be written anew; nothing by default.

    Raises:
        VerificationError: a value, a row or a fact about the segment got lost or changed, or something was changed that
            no rebuild changes and that was not meant. It names column and index.
    """
    meant = regenerated or Regenerated()
    found = list(_compare_segment(before, after, meant))
    rewritten: list[str] = []
    had, has = _by_column(before), _by_column(after)
    for name, old in before.layout.columns.items():
        new = after.layout.columns.get(name)
        if new is None:
            if not old.auto_generated and name not in meant.removed:
                raise VerificationError(
                    f"column {name!r} is gone: only columns that Pinot made up itself may be removed"
                )
            found.append((f"{name}: column removed", False))
        elif _made_anew(old, meant) and (changed := definition_changes(old, new)):
            check_not_emptied(old, new)
            _check_spanning(before, after, old, meant)
            found.extend(changed)  # Pinot makes it anew, with other values: that was asked for
        else:
            lines, compare_column = _pair(old, new, had[name], has[name], meant).compare()
            found.extend(lines)
            if compare_column:
                rewritten.append(name)
    for name, new in after.layout.columns.items():
        if name not in before.layout.columns:
            if not new.auto_generated:
                raise VerificationError(
                    f"column {name!r} is new and not marked as made up: its values cannot be accounted for"
                )
            found.append((f"{name}: column added ({new.data_type})", True))
    _check_orphans(before, after)
    found.extend(_compare_files(before, after, untouched=not rewritten and regenerated is None))
    if meant.time_column and meant.time_column not in rewritten:
        if FORWARD not in has[meant.time_column] or FORWARD not in had.get(meant.time_column, ()):
            raise VerificationError(
                f"column {meant.time_column!r}, {FORWARD}: the new time column has none, so its range is not known"
            )
        rewritten.append(meant.time_column)
    if rewritten:
        more = list(_compare_rewritten(before, after, meant, compare_values(tuple(rewritten))))
        told = {f"{name}: written anew" for name in rewritten if any(line.startswith(f"{name}: ") for line, _ in more)}
        found = [*(line for line in found if line[0] not in told), *more]
    return Changes(tuple(text for text, _ in found), tuple(text for text, seen in found if not seen))


def _compare_segment(before: Fingerprint, after: Fingerprint, meant: Regenerated) -> Iterator[Line]:
    old, new = before.layout, after.layout
    if old.rows != new.rows:
        raise VerificationError(f"the segment had {old.rows} rows and has {new.rows}")
    if before.creation_ms != after.creation_ms:
        raise VerificationError(f"the segment's creation time was {before.creation_ms} and is {after.creation_ms}")
    if meant.time_column:
        if new.time_column != meant.time_column:
            raise VerificationError(f"the segment's time column is {new.time_column!r}, not {meant.time_column!r}")
        if old.time_column != new.time_column:
            yield f"time column {old.time_column} → {new.time_column}", True
    elif (old.start_time, old.end_time, old.time_unit) != (new.start_time, new.end_time, new.time_unit):
        raise VerificationError(
            f"the segment's time range was {old.start_time}–{old.end_time} {old.time_unit} and is "
            f"{new.start_time}–{new.end_time} {new.time_unit}"
        )
    for key in sorted(old.properties.keys() | new.properties.keys()):
        if _LISTS.fullmatch(key) or (meant.time_column and key in _TIME):
            continue
        if old.properties.get(key) != new.properties.get(key):
            raise VerificationError(
                f"metadata.properties: {key} was {old.properties.get(key)!r} and is {new.properties.get(key)!r}"
            )
    if meant.sorted_by:
        sorted_now = [name for name, column in new.columns.items() if column.sorted and not _sorted(old.columns, name)]
        yield f"rows in another order (sorted by {', '.join(sorted_now) or 'no column'})", bool(sorted_now)


def _sorted(columns: Mapping[str, ColumnLayout], name: str) -> bool:
    return name in columns and columns[name].sorted


def _compare_rewritten(
    before: Fingerprint, after: Fingerprint, meant: Regenerated, rewrites: Mapping[str, Rewrite]
) -> Iterator[Line]:
    for name, rewrite in rewrites.items():
        if rewrite.difference:
            raise VerificationError(f"column {name!r}, {FORWARD}: {rewrite.difference}")
        unchanged = before.buffers[name, FORWARD] == after.buffers[name, FORWARD]
        if rewrite.before == rewrite.after:
            if not (unchanged or meant.sorted_by or name in meant.columns):
                raise VerificationError(f"column {name!r}, {FORWARD}: changed, although it is still {rewrite.after}")
        elif before.layout.columns[name].has_dictionary == after.layout.columns[name].has_dictionary:
            yield f"{name}: forward_index rewritten ({rewrite.before} → {rewrite.after})", False


def _by_column(found: Fingerprint) -> dict[str, dict[str, bytes]]:
    columns: dict[str, dict[str, bytes]] = {name: {} for name in found.layout.columns}
    for (name, index), digest in found.buffers.items():
        columns.setdefault(name, {})[index] = digest
    return columns


def _pair(
    old: ColumnLayout, new: ColumnLayout, had: Mapping[str, bytes], has: Mapping[str, bytes], meant: Regenerated
) -> ColumnPair:
    derived = old.auto_generated and old.name in meant.made_anew
    return ColumnPair(old, new, had, has, old.name in meant.columns, bool(meant.sorted_by), derived)


def _made_anew(old: ColumnLayout, meant: Regenerated) -> bool:
    """Whether it is for Pinot to say what a column holds where its definition was changed.

    One that it derived, and that was written anew from its own values, keeps them.
    """
    written = old.name in meant.columns and old.name not in meant.made_anew
    return old.auto_generated and not (written and not holds_default(old))


def _check_spanning(before: Fingerprint, after: Fingerprint, column: ColumnLayout, meant: Regenerated) -> None:
    """What spans a column that was made anew must have been left out with it: Pinot would keep it as it was."""
    if column.name in meant.columns | meant.made_anew:
        return
    for index, columns in (("star-tree", star_tree_columns), ("multi-column text index", text_columns)):
        if column.name in columns(before.layout) & columns(after.layout):
            raise VerificationError(
                f"column {column.name!r}, {index}: the column was made anew, and the {index} still holds what it was"
            )


def _check_orphans(before: Fingerprint, after: Fingerprint) -> None:
    """Buffers of columns that the metadata does not name: none may come, and none may change."""
    named = before.layout.columns.keys() | after.layout.columns.keys()
    for key in sorted(before.buffers.keys() | after.buffers.keys()):
        if key[0] not in named and before.buffers.get(key) != after.buffers.get(key):
            raise VerificationError(
                f"column {key[0]!r}, {key[1]}: changed, although the segment's metadata does not know the column"
            )


def _compare_files(before: Fingerprint, after: Fingerprint, *, untouched: bool) -> Iterator[Line]:
    was, now = _by_index(before), _by_index(after)
    for label, seen in sorted(was.keys() | now.keys()):
        old, new = was.get((label, seen)), now.get((label, seen))
        if old == new:
            continue
        if label.startswith("file "):
            raise VerificationError(
                f"{label} was {'added' if old is None else 'removed' if new is None else 'changed'}"
            )
        if old is None or new is None:
            yield f"{label} {'added' if old is None else 'removed'}", seen
        elif untouched and (label, seen) in (_STAR_TREES, _TEXT_OVER_COLUMNS) and _settings(old) == _settings(new):
            raise VerificationError(f"{label}: its files were changed, although it is defined as it was")
        else:
            # isStale compares how star-trees and the multi-column text index are defined; of others, whether they are.
            yield f"{label} rebuilt", ": " not in label


def _settings(index: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: value for name, value in index.items() if name.startswith(("startree.", "multicolumntext."))}


def _by_index(found: Fingerprint) -> dict[tuple[str, bool], dict[str, bytes]]:
    """Files beside `columns.psf`, and properties, by the index that they belong to.

    The key is the text for the change list, and whether isStale sees the index come and go.
    """
    indexes: dict[tuple[str, bool], dict[str, bytes]] = {}
    for path, digest in found.files.items():
        top = path.split("/", 1)[0]
        if _STAR_TREE.fullmatch(top):
            key = _STAR_TREES
        elif _MULTI_COLUMN_TEXT.fullmatch(top):
            key = _TEXT_OVER_COLUMNS
        elif match := _VECTOR.fullmatch(top):
            key = (f"{match[1]}: vector_index", False)
        elif match := _TEXT.fullmatch(top):
            key = (f"{match[1]}: text_index", True)
        else:
            key = (f"file {path}", False)
        indexes.setdefault(key, {})[path] = digest
    for name, value in found.layout.properties.items():
        if name.startswith("startree."):
            indexes.setdefault(_STAR_TREES, {})[name] = value.encode()
        elif name.startswith("multicolumntext."):
            indexes.setdefault(_TEXT_OVER_COLUMNS, {})[name] = value.encode()
    return indexes
