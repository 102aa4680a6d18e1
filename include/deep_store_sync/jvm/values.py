"""The values of a segment's columns, compared between two folders of the segment.

Both are read in bulk and compared in Java. Where both columns have a dictionary, those are compared first: if they hold
the same entries, the ids say of each row whether its value is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deep_store_sync.errors import VerificationError
from deep_store_sync.jvm.bulk import (
    first_difference,
    is_permutation,
    java,
    joined,
    lengths,
    new_array,
    ones,
    places,
    row_numbers,
)
from deep_store_sync.jvm.column_facts import wrong_fact
from deep_store_sync.jvm.column_values import (
    Entries,
    Reordered,
    RowValues,
    Values,
    chunks,
    encoding,
    open_segment,
    parts,
    row_values,
)
from deep_store_sync.jvm.conversions import ColumnType, Rule, difference, rules
from deep_store_sync.jvm.engine import SegmentEngine
from deep_store_sync.jvm.row_order import is_sorted, sorted_order
from deep_store_sync.jvm.write_columns import without_other_files
from deep_store_sync.segment.verify import Rewrite


def compare_values(
    engine: SegmentEngine, before: Path, after: Path, columns: tuple[str, ...], sort_by: tuple[str, ...] = ()
) -> dict[str, Rewrite]:
    """Compare the values and nulls of columns, row for row, multi-values included.

    Where a column's data type is another one, its values have to be the same in that one, with nothing lost
    (`deep_store_sync.jvm.conversions`); a row that is null may hold the new default value, or another one if it is the
    column's old one. Null vectors may be gone. What the metadata says about a column's values is looked at, too, where
    its definition was changed.

    Args:
        engine: the JVM.
        before: the original segment's folder. Neither folder is changed.
        after: the rebuilt one's.
        columns: columns that have a forward index in both.
        sort_by: columns by which all rows were sorted; none if they are in the order that they were in.

    Raises:
        VerificationError: Pinot cannot read one of them.
    """
    with engine.java(VerificationError, "Pinot cannot read the rebuilt columns back"), ExitStack() as stack:
        old = stack.enter_context(_segment(engine, before))
        new = stack.enter_context(_segment(engine, after))
        rows = int(old.getSegmentMetadata().getTotalDocs())
        if (found := int(new.getSegmentMetadata().getTotalDocs())) != rows:
            how = f"it had {rows} rows and has {found}"
            return {name: Rewrite(encoding(old.getDataSource(name)), "", how) for name in columns}
        if not sort_by:
            return _compare(columns, old, new, rows, None)
        order = sorted_order(old, sort_by, new)
        if not (is_permutation(order) and is_sorted(new, sort_by[0])):
            raise VerificationError(f"the rows are not in the order of {sort_by[0]!r}")
        moved = _compare(columns, old, new, rows, order)
        if any(rewrite.difference for rewrite in moved.values()):
            # They may have been sorted by the first column all along; then they were left where they are.
            stayed = _compare(columns, old, new, rows, None)
            return moved if any(rewrite.difference for rewrite in stayed.values()) else stayed
        return moved


def _compare(columns: tuple[str, ...], old: Any, new: Any, rows: int, order: Any) -> dict[str, Rewrite]:
    return {name: _Comparison(name, old, new, rows, order).rewrite() for name in columns}


@contextmanager
def _segment(engine: SegmentEngine, segment_dir: Path) -> Iterator[Any]:
    """A segment as Pinot loads it, over links: loading would add files of its own beside a text index."""
    with without_other_files(segment_dir) as view, open_segment(engine, view) as segment:
        yield segment


@dataclass(frozen=True, slots=True)
class _Definition:
    """What a column is. `default` is that of its nulls."""

    type: ColumnType
    single: bool
    field_type: str
    default: str

    @classmethod
    def of(cls, source: Any) -> _Definition:
        metadata = source.getDataSourceMetadata()
        spec, data_type = metadata.getFieldSpec(), metadata.getDataType()
        type_ = ColumnType(str(data_type), str(data_type.getStoredType()))
        return cls(
            type_, bool(metadata.isSingleValue()), str(spec.getFieldType()), str(spec.getDefaultNullValueString())
        )


class _Comparison:
    """One column of both segments."""

    def __init__(self, column: str, old: Any, new: Any, rows: int, order: Any) -> None:
        self._column = column
        self._segments = old.getSegmentMetadata(), new.getSegmentMetadata()
        self._old, self._new = old.getDataSource(column), new.getDataSource(column)
        self._rows = rows
        self._order = order
        self._was, self._is = _Definition.of(self._old), _Definition.of(self._new)

    def rewrite(self) -> Rewrite:
        """How the column is stored in both, and where it differs."""
        return Rewrite(encoding(self._old), encoding(self._new), self._difference())

    def _difference(self) -> str | None:
        if (how := self._difference_of_nulls()) is not None:
            return how
        possible = rules(self._was.type, self._is.type)
        if not possible:
            return f"{self._was.type.data_type} and {self._is.type.data_type} values cannot be compared"
        with row_values(self._column, self._old) as was, row_values(self._column, self._new) as now:
            stored = (was.stored_type, now.stored_type)
            if stored != (self._was.type.stored, self._is.type.stored):
                return f"it is stored as {stored[1]}, and was as {stored[0]}: that is not its data type"
            differences = [self._difference_by(rule, was, now) for rule in possible]
            if None not in differences:
                return differences[0]
            return wrong_fact(now, *self._segments, redefined=self._was != self._is)

    def _difference_of_nulls(self) -> str | None:
        if self._new.getNullValueVector() is None:
            return None
        had, has = self._nulls_now(), self._new.getNullValueVector().getNullBitmap().toArray()
        if java("java.util.Arrays").equals(had, has):
            return None
        at = first_difference("INT", had, has) or 0
        row = min(int(rows[at]) for rows in (had, has) if at < len(rows))
        return f"whether row {row} is null was changed"

    def _nulls_now(self) -> Any:
        """The rows that were null, at the places where they are now, ascending."""
        vector = self._old.getNullValueVector()
        if vector is None:
            return row_numbers(0, 0)
        rows = vector.getNullBitmap().toArray()
        return rows if self._order is None else places(self._order, rows)

    def _difference_by(self, rule: Rule, was: RowValues, now: RowValues) -> str | None:
        old: Values = was
        if was.dictionary is not None and now.dictionary is not None and self._same_entries(rule, was, now):
            rule = Rule(("DICT_ID",))
        if self._order is not None:
            old = Reordered(was, self._order)
        if self._was == self._is:
            return self._difference_in(rule, old, now, None)
        nulls = self._nulls_now()
        return self._difference_in(rule, old, now, nulls) or self._wrong_default(rule, old, now, nulls)

    def _same_entries(self, rule: Rule, was: RowValues, now: RowValues) -> bool:
        count = int(was.dictionary.length())
        if int(now.dictionary.length()) != count:
            return False
        old, new = Entries(was.dictionary), Entries(now.dictionary)
        return all(difference(rule, old, at, new, at) is None for at in chunks(count))

    def _difference_in(self, rule: Rule, old: Values, new: Values, nulls: Any) -> str | None:
        """Where the values differ, in rows that were not null."""
        every = nulls is None or not len(nulls)
        for at in chunks(self._rows) if every else parts(places(row_numbers(0, self._rows), nulls, others=True)):
            if found := difference(rule, old, at, new, at):
                return found[1].format(row=int(at[found[0]]))
        return None

    def _wrong_default(self, rule: Rule, old: Values, new: RowValues, nulls: Any) -> str | None:
        kind = self._is.type.stored
        spec = self._new.getDataSourceMetadata().getFieldSpec()
        for at in parts(nulls):
            found = new.read(kind, at)
            counts = None if new.single else lengths(found)
            values = found if new.single else joined(kind, found)
            wanted = new_array(kind, len(at))
            java("java.util.Arrays").fill(wanted, spec.getDefaultNullValue())
            if counts is not None and first_difference("INT", counts, ones(at)) is not None:
                return "a row that is null does not hold one value, the default"
            wrong = first_difference(kind, wanted, values)
            if wrong is not None and (
                (self._was.type, self._was.single) != (self._is.type, self._is.single)
                or difference(rule, old, at, new, at) is not None
            ):
                return f"row {int(at[wrong])} is null and holds neither the default value nor what it held"
        return None
