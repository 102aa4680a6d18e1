"""How a segment is brought to a table config and schema: by preprocessing alone, or with columns or rows written anew.

`SegmentPreProcessor` adds and removes indexes and columns that Pinot makes up; it never converts, sorts or partitions
rows that were ingested. Where config and schema ask for that, a server calls the segment stale however often it reloads
it, and the segment has to be regenerated. Pinot 1.5.1: BaseTableDataManager.isSegmentStale for what a server compares,
BaseDefaultColumnHandler and ForwardIndexHandler for what preprocessing does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deep_store_sync.decide import keys_expire
from deep_store_sync.rebuilding.column_wishes import (
    range_versions,
    raw_columns,
    raw_forward_versions,
    text_columns,
    text_only_columns,
    text_stored_in_segment_file,
    timestamp_columns,
    variable_length_columns,
    vector_columns,
)
from deep_store_sync.rebuilding.schema_fields import SchemaField, schema_fields
from deep_store_sync.segment.buffer_facts import BufferFacts
from deep_store_sync.segment.column_changes import DICTIONARY, FORWARD, NULLS
from deep_store_sync.segment.segment_files import ColumnLayout, SegmentLayout

_FIXED_WIDTH = frozenset(("INT", "LONG", "FLOAT", "DOUBLE", "BOOLEAN", "TIMESTAMP"))


@dataclass(frozen=True, slots=True)
class Method:
    """How a segment is brought to a config and schema. All empty: preprocessing alone does it.

    `columns` have to be written anew from their values, `removed` to be left out; nothing else of the segment is
    touched. `sort_by`: all rows have to be written anew, sorted by these columns. `time_column`: one of `columns` that
    becomes the segment's time column; its time range is that column's then. `reasons` says why, a line each. `refused`:
    why it must not be done. `incurable`: why servers will call the segment stale after any rebuild of it alone.
    """

    columns: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    sort_by: tuple[str, ...] = ()
    time_column: str | None = None
    reasons: tuple[str, ...] = ()
    refused: str | None = None
    incurable: str | None = None

    @property
    def rewrites(self) -> bool:
        """Whether a new folder has to be written."""
        return bool(self.columns or self.removed or self.sort_by)

    @property
    def regenerates(self) -> bool:
        """Whether values are written anew: servers can have them only from the deep store."""
        return bool(self.columns or self.sort_by)


def choose_method(
    layout: SegmentLayout,
    table_config: Mapping[str, Any],
    schema: Mapping[str, Any],
    buffers: BufferFacts | None = None,
) -> Method:
    """The method, from the segment's metadata, config and schema, and from what its buffers say as soon as it is known.

    Columns that the segment does not have yet are preprocessing's; where more is asked of them, it shows afterwards.

    Args:
        layout: the segment.
        table_config: with the overrides of the segment's tier applied.
        schema: as the controller gives it.
        buffers: of the segment's files. Without, null vectors and formats are not looked at.
    """
    found = _Findings(layout, table_config, schema)
    found.look_at_time_column()
    found.look_at_columns()
    found.look_at_maps()
    found.look_at_partition()
    found.look_at_order()
    if buffers is not None:
        found.look_at_vectors(buffers)
    if keys_expire(table_config):
        if found.columns or found.sort_by:
            found.refuse(
                f"{'; '.join(found.reasons)}; and the table is an upsert table with metadataTTL or deletedKeysTTL: "
                "replacing the segment on servers could bring expired rows back"
            )
        # What servers do not load anyway, or can do with as it is, is left: no reason to refuse all the rest.
    else:
        found.look_at_dictionaries(buffers)
        if buffers is not None:
            found.look_at_null_vectors(buffers)
            found.look_at_formats(buffers)
    if buffers is not None:
        found.look_at_what_cannot_be_read(buffers)
    return Method(
        tuple(sorted(found.columns)),
        tuple(sorted(found.removed())),
        found.sort_by,
        found.time_column,
        tuple(found.reasons),
        found.refused,
        found.incurable,
    )


class _Findings:
    """What was found so far."""

    def __init__(self, layout: SegmentLayout, table_config: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
        self.columns: set[str] = set()
        self.sort_by: tuple[str, ...] = ()
        self.time_column: str | None = None
        self.reasons: list[str] = []
        self.refused: str | None = None
        self.incurable: str | None = None
        self._layout = layout
        self._config = table_config
        self._indexing: Mapping[str, Any] = table_config.get("tableIndexConfig") or {}
        self._schema = schema
        self._fields = schema_fields(schema)

    def refuse(self, why: str) -> None:
        self.refused = self.refused or why

    def look_at_time_column(self) -> None:
        layout = self._layout
        wanted = (self._config.get("segmentsConfig") or {}).get("timeColumnName")
        if not wanted:
            if layout.time_column and layout.time_column not in self._fields:
                why = (
                    f"the segment's time column {layout.time_column!r} is not in the schema, and no server loads it so"
                )
                self.reasons.append(why)
                self.refuse(f"{why}: name another time column in the table config, or keep this one in the schema")
        elif wanted != layout.time_column and wanted in layout.columns:
            has = f"is {layout.time_column!r}" if layout.time_column else "is not set"
            self._write_anew(wanted, f"the time column {has} in the segment, {wanted!r} in the table config")
            self.time_column = wanted

    def look_at_columns(self) -> None:
        for field in self._fields.values():
            column = self._layout.columns.get(field.name)
            if column is None:
                continue  # preprocessing adds it
            if column.field_type != field.field_type:
                has, wants = f"a {_spoken(column.field_type)}", f"a {_spoken(field.field_type)}"
            elif column.auto_generated and (column.data_type, column.single_value) != (
                field.data_type,
                field.single_value,
            ):
                continue  # preprocessing makes it anew
            elif column.data_type != field.data_type:
                has, wants = column.data_type, field.data_type
            elif column.single_value != field.single_value:
                has, wants = _valued(column.single_value), _valued(field.single_value)
            else:
                continue
            self._write_anew(field.name, f"column {field.name!r} is {has} in the segment, {wants} in the schema")
            if "MAP" in (column.data_type, field.data_type):
                self.refuse(
                    f"column {field.name!r} is {has} in the segment, {wants} in the schema: Pinot converts no MAP"
                )

    def look_at_maps(self) -> None:
        raw = raw_columns(self._config)
        for name, column in self._layout.columns.items():
            if column.data_type == "MAP" and name in self._fields and name not in raw:
                self.incurable = (
                    f"column {name!r} is a MAP, which never has a dictionary, and servers miss it: name the column in "
                    "noDictionaryColumns"
                )

    def look_at_null_vectors(self, buffers: BufferFacts) -> None:
        """A null vector is never taken away by preprocessing; that of a column without one never comes."""
        for name in sorted(column for column, index in buffers.indexes if index == NULLS):
            field = self._fields.get(name)
            if field is not None and not self._nullable(field):
                self._write_anew(name, f"column {name!r} has nulls in the segment, and null handling is off")

    def look_at_dictionaries(self, buffers: BufferFacts | None) -> None:
        """A sorted column keeps its dictionary whatever preprocessing is told, and so does a made up one."""
        raw = raw_columns(self._config)
        for name in sorted(raw & self._fields.keys() & self._layout.columns.keys()):
            column = self._layout.columns[name]
            made_up = column.auto_generated and column.cardinality == 1
            if column.has_dictionary and (column.sorted or made_up):
                self._write_anew(name, f"column {name!r} has a dictionary, and the table config wants it without")
        if buffers is not None:
            variable_length = variable_length_columns(self._config) & self._layout.columns.keys()
            for name in sorted(variable_length - raw - buffers.variable_length):
                if (name, DICTIONARY) in buffers.indexes:
                    self._write_anew(name, f"the dictionary of column {name!r} is not of variable length")

    def look_at_formats(self, buffers: BufferFacts) -> None:
        """Preprocessing never changes a format version, and makes no range index for a sorted column."""
        for name, version in range_versions(self._config).items():
            column, key = self._layout.columns.get(name), (name, "range_index")
            if column is None:
                continue
            wanted = version if column.single_value else 1
            if column.sorted and key not in buffers.indexes:
                self._write_anew(name, f"column {name!r} is sorted and has no range index")
            elif buffers.versions.get(key, wanted) != wanted:
                self._write_anew(name, f"the range index of column {name!r} is not of version {wanted}")
        for name, version in raw_forward_versions(self._config).items():
            column = self._layout.columns.get(name)
            if column is None or column.has_dictionary or column.data_type == "MAP":
                continue
            # Those above 4 are for values of fixed width, and mean 4 for others.
            wanted = version if column.data_type in _FIXED_WIDTH else min(version, 4)
            if buffers.versions.get((name, FORWARD), wanted) != wanted:
                self._write_anew(name, f"the forward index of column {name!r} is not of version {wanted}")

    def look_at_vectors(self, buffers: BufferFacts) -> None:
        """Of a raw column, preprocessing makes a vector index without any vector, which no server can load.

        VectorIndexHandler.handleNonDictionaryBasedColumn reads all the vectors, and adds none.
        """
        raw = raw_columns(self._config)
        for name in sorted(vector_columns(self._config) - buffers.vectors):
            column = self._layout.columns.get(name)
            if column is not None and (name in raw or not column.has_dictionary):
                self._write_anew(
                    name, f"column {name!r} is raw and has no vector index, and Pinot would add an empty one"
                )

    def look_at_partition(self) -> None:
        configured = (self._indexing.get("segmentPartitionConfig") or {}).get("columnPartitionMap") or {}
        if len(configured) != 1:  # Pinot compares only where a single column is partitioned
            return
        ((name, wanted),) = configured.items()
        column = self._layout.columns.get(name)
        if column is None:
            return
        function, count = str(wanted.get("functionName")), int(wanted.get("numPartitions", 0))
        if not _same_function(column, function, count):
            has = f"by {column.partition_function}, {column.partition_count}" if column.partition_function else "not"
            self._write_anew(
                name, f"column {name!r} is {has} partitioned in the segment, by {function}, {count} in the table config"
            )
        elif len(column.partitions) != 1 and name not in self.columns:
            held = ", ".join(map(str, column.partitions)) or "none"
            self.incurable = (
                f"the segment holds rows of the partitions {held} of {name!r}, and not of one: partition the data "
                "before it is ingested, or take the partition config back"
            )

    def look_at_order(self) -> None:
        wanted = self._indexing.get("sortedColumn") or []
        names = [wanted] if isinstance(wanted, str) else list(wanted)
        column = self._layout.columns.get(names[0]) if names else None
        if column is None or column.sorted:
            return
        why = f"its rows are not sorted by {column.name!r}, the sorted column of the table config"
        if not self._fields.get(column.name, _single(column)).single_value:
            self.incurable = f"{why}, which has several values in a row: nothing can be sorted by it"
            return
        self.reasons.append(why)
        self.sort_by = tuple(name for name in names if name in self._layout.columns)
        for section, kind in (("upsertConfig", "an upsert"), ("dedupConfig", "a dedup")):
            found = self._config.get(section) or {}
            if found and found.get("mode") != "NONE" and found.get("dedupEnabled") is not False:
                self.refuse(
                    f"{why}, and the table is {kind} table, which takes its rows in the order they were ingested"
                )

    def look_at_what_cannot_be_read(self, buffers: BufferFacts) -> None:
        """Columns whose values would have to be read to write them anew, and are not in their forward index."""
        removed, text_only = set(self.removed()), text_only_columns(self._config)
        for name, column in self._layout.columns.items():
            if name in removed:
                continue
            written = bool(self.sort_by) or (name in self.columns and not self._made_anew(column))
            if written and (name, FORWARD) not in buffers.indexes:
                self.refuse(
                    f"{'; '.join(self.reasons)}; and column {name!r} has no forward index to read its values from: "
                    "take forwardIndexDisabled away and sync the table, which makes one anew, before that change, or "
                    "re-ingest the segment"
                )
            if name not in text_only or column.has_dictionary or not buffers.has_text_index(name):
                continue
            in_file, wanted = name not in buffers.texts, name in text_stored_in_segment_file(self._config)
            if written:
                why = "; ".join(self.reasons)
            elif in_file != wanted and name in text_columns(self._config):
                why = f"storeInSegmentFile of the text index of column {name!r} was changed"
            else:
                continue
            self.refuse(
                f"{why}; and only the text index of column {name!r} holds its text (noRawDataForTextIndex), and would "
                "be built anew from the dummies in its forward index: take the change back, or re-ingest the segment"
            )

    def _made_anew(self, column: ColumnLayout) -> bool:
        """Whether Pinot made a column up and makes it anew, as another kind of field, without reading it."""
        field = self._fields.get(column.name)
        return column.auto_generated and field is not None and field.field_type != column.field_type

    def removed(self) -> Iterator[str]:
        """Columns of the segment that are no longer in the schema. Those that Pinot made up, it removes itself."""
        asked_for = set(timestamp_columns(self._config))
        for name, column in self._layout.columns.items():
            kept = name in self._fields or name in asked_for or column.auto_generated
            if not kept and (name != self._layout.time_column or self.time_column):
                yield name

    def _write_anew(self, name: str, why: str) -> None:
        self.columns.add(name)
        self.reasons.append(why)

    def _nullable(self, field: SchemaField) -> bool:
        if self._schema.get("enableColumnBasedNullHandling"):
            return not field.not_null
        return bool(self._indexing.get("nullHandlingEnabled"))


def _same_function(column: ColumnLayout, function: str, count: int) -> bool:
    return (column.partition_function or "").lower() == function.lower() and column.partition_count == count


def _single(column: ColumnLayout) -> SchemaField:
    return SchemaField(column.name, column.field_type, column.data_type, column.single_value)


def _spoken(field_type: str) -> str:
    return field_type.lower().replace("_", " ")


def _valued(single_value: bool) -> str:
    return "single-value" if single_value else "multi-value"
