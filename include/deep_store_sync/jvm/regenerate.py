"""What preprocessing cannot change in a segment, changed: at the cost of the change, not of the segment.

Columns are written anew from their values, and grafted into a copy of the segment. What was made from them goes:
indexes over several columns, and columns that are derived from them. Preprocessing, which comes next, makes it anew.
Only a new order of the rows takes all columns.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jpype

from deep_store_sync.errors import RebuildError
from deep_store_sync.jvm.column_config import config_of_columns
from deep_store_sync.jvm.engine import SegmentEngine
from deep_store_sync.jvm.graft_metadata import graft_metadata
from deep_store_sync.jvm.write_columns import write_columns
from deep_store_sync.segment.column_changes import holds_default
from deep_store_sync.segment.graft import STAR_TREES, TEXT_OVER_COLUMNS, Graft, copy_grafted
from deep_store_sync.segment.segment_files import SegmentLayout, read_layout
from deep_store_sync.segment.spanning import star_tree_columns, text_columns
from deep_store_sync.table_hash import config_for_tier
from deep_store_sync.time_units import UNIT_NS


def regenerate(
    engine: SegmentEngine,
    segment_dir: Path,
    out_dir: Path,
    table_config: Mapping[str, Any],
    schema: Mapping[str, Any],
    tier: str | None = None,
    *,
    columns: Sequence[str] = (),
    removed: Sequence[str] = (),
    sort_by: Sequence[str] = (),
    time_column: str | None = None,
) -> Path:
    """Write the segment with some of its columns made anew, or all of them in another order of the rows.

    Creation time, custom properties, offsets and everything else about the segment stay. Preprocessing has to follow.

    Args:
        engine: the JVM.
        segment_dir: the original's folder, which is not changed.
        out_dir: an empty folder.
        table_config: as the controller gives it.
        schema: the table's schema.
        tier: the tier that the segment is on.
        columns: columns to write anew as config and schema ask for them.
        removed: columns to leave out. Those that are in the schema, preprocessing makes up anew.
        sort_by: columns to sort all rows by.
        time_column: one of `columns` that becomes the segment's time column; its time range is that column's then.

    Returns:
        The new segment's folder, of the same name, below `out_dir`.

    Raises:
        RebuildError: a value cannot be converted, a row would get lost, or Pinot failed.
        SegmentError: the segment is damaged, or in a format before v3.
    """
    work = _Regeneration(engine, config_for_tier(table_config, tier), schema)
    last = out_dir / segment_dir.name
    with TemporaryDirectory(dir=out_dir, prefix="regenerate-") as folder:
        source = segment_dir
        if columns or removed:
            levels = work.levels(segment_dir, columns, removed, time_column)
            anew = {name for level in levels for name in level}
            source = Path(folder) / "0" / segment_dir.name
            written = [name for name in columns if name not in anew]
            work.graft(segment_dir, source, written, anew.union(removed), time_column)
            # A preprocessing derives columns only from those that were there before it, and fills others with their
            # default values: these are left out once more.
            for number in range(1, len(levels)):
                engine.preprocess(source, table_config, schema, tier)
                anew.difference_update(levels[number - 1])
                before, source = source, Path(folder) / str(number) / segment_dir.name
                work.graft(before, source, (), anew)
                shutil.rmtree(before.parent)
        first = read_layout(source).columns.get(sort_by[0]) if sort_by else None
        if first is not None and not first.sorted:
            work.sort(source, last, sort_by)
        elif source != last:  # what was written anew came out in order, or is still to be derived
            source.rename(last)
    return last


class _Regeneration:
    """The steps, each from one folder to another."""

    def __init__(self, engine: SegmentEngine, table_config: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
        self._engine = engine
        with engine.java(RebuildError, "Pinot could not read table config and schema"):
            load = jpype.JClass
            parsed = load("org.apache.pinot.spi.utils.JsonUtils").stringToObject(
                json.dumps(table_config), load("org.apache.pinot.spi.config.table.TableConfig")
            )
            self._schema = load("org.apache.pinot.spi.data.Schema").fromString(json.dumps(schema))
            # As a server reads them: a timestamp index is columns that are derived by transforms, with range indexes.
            load("org.apache.pinot.spi.utils.TimestampIndexUtils").applyTimestampIndex(parsed, self._schema)
            self._config: dict[str, Any] = json.loads(str(parsed.toJsonString()))
            ingestion = parsed.getIngestionConfig()
            self._transforms = list((ingestion and ingestion.getTransformConfigs()) or ())

    def levels(
        self, source: Path, columns: Sequence[str], removed: Collection[str], time_column: str | None
    ) -> list[frozenset[str]]:
        """Columns of Pinot's making that it has to make anew, those first from which others are derived."""
        layout = read_layout(source)
        with self._engine.java(RebuildError, "Pinot could not read the table config's transforms"):
            arguments = dict(self._arguments(layout))
            anew = {name for name in removed if self._schema.hasColumn(name)}
            anew.update(self._remade(source, layout, columns))
        changed = anew.union(columns)
        while more := {
            name
            for name, names in arguments.items()
            if name not in anew and name != time_column and not names.isdisjoint(changed)
        }:
            anew |= more
            changed |= more
        sorter = TopologicalSorter({name: arguments.get(name, frozenset()) & anew for name in anew})
        found = []
        try:
            sorter.prepare()
        except CycleError as error:
            raise RebuildError(f"columns are derived from one another: {', '.join(error.args[1])}") from None
        while ready := sorter.get_ready():
            found.append(frozenset(ready))
            sorter.done(*ready)
        return found

    def graft(
        self,
        source: Path,
        target: Path,
        columns: Sequence[str],
        left_out: Collection[str],
        time_column: str | None = None,
    ) -> None:
        """Columns written anew, as the schema asks for them, and columns left out."""
        layout = read_layout(source)
        target.parent.mkdir()
        with self._engine.java(RebuildError, "Pinot could not read the schema"):
            specs = [self._schema.getFieldSpecFor(name) for name in columns]
        of_time = time_column or (layout.time_column if layout.time_column in columns else None)
        config = config_of_columns(self._config, columns, time_column=of_time)
        came_out = self._write(source, target, config, specs, left_out=left_out, time_column=time_column)
        if of_time and not time_column and came_out is not None:
            _check_time_range(layout, came_out)

    def sort(self, source: Path, target: Path, sort_by: Sequence[str]) -> None:
        """All columns as they are, with the rows in another order."""
        layout = read_layout(source)
        with self._engine.java(RebuildError, "Pinot could not read the segment's metadata"):
            own = self._metadata(source)
            specs = {name: self._spec(own.getColumnMetadataFor(name).getFieldSpec()) for name in layout.columns}
        config = config_of_columns(self._config, specs)
        self._write(source, target, config, list(specs.values()), sort_by=sort_by)

    def _write(
        self,
        source: Path,
        target: Path,
        config: Mapping[str, Any],
        specs: Sequence[Any],
        *,
        left_out: Collection[str] = (),
        sort_by: Sequence[str] = (),
        time_column: str | None = None,
    ) -> SegmentLayout | None:
        """Write the columns of `specs` anew and graft them; returns the layout of what was written anew."""
        written = frozenset(str(spec.getName()) for spec in specs)
        spanning = dict(_spanning(read_layout(source), written | set(left_out)))
        graft = Graft(written, frozenset(left_out), tuple(spanning))
        with TemporaryDirectory(dir=target.parent, prefix="columns-") as folder:
            columns = None
            if specs:
                columns = write_columns(
                    self._engine, source, Path(folder), config, self._schema_of(specs), sort_by=sort_by
                )
            copy_grafted(source, columns, target, graft)
            with self._engine.java(RebuildError, "Pinot could not write the segment's metadata"):
                graft_metadata(
                    self._engine,
                    target,
                    columns,
                    graft,
                    left_out=tuple(spanning.values()),
                    time_column=time_column is not None,
                )
            return None if columns is None else read_layout(columns)

    def _schema_of(self, specs: Sequence[Any]) -> Any:
        schema = jpype.JClass("org.apache.pinot.spi.data.Schema")()
        schema.setSchemaName("columns")
        schema.setEnableColumnBasedNullHandling(self._schema.isEnableColumnBasedNullHandling())
        for spec in specs:
            schema.addField(spec)
        return schema

    def _metadata(self, source: Path) -> Any:
        metadata = jpype.JClass("org.apache.pinot.segment.spi.index.metadata.SegmentMetadataImpl")
        return metadata(self._engine.file(source))

    def _spec(self, own: Any) -> Any:
        """What a column is in the segment, with what the schema says besides where it is the same column."""
        wanted = self._schema.getFieldSpecFor(own.getName())
        if wanted is not None and _definition(wanted) == _definition(own):
            return wanted
        own.setMaxLength((1 << 31) - 1)  # the schema's does not apply, and the segment does not tell it
        return own

    def _remade(self, source: Path, layout: SegmentLayout, columns: Sequence[str]) -> Iterator[str]:
        """Columns that Pinot filled with a default value, and that the schema wants as others: it makes them up anew.

        A derived one keeps its values: what it was derived from may be gone.
        """
        own = self._metadata(source)
        for name in columns:
            if layout.columns[name].auto_generated and holds_default(layout.columns[name]):
                had = own.getColumnMetadataFor(name).getFieldSpec()
                if _definition(had) != _definition(self._schema.getFieldSpecFor(name)):
                    yield name

    def _arguments(self, layout: SegmentLayout) -> Iterator[tuple[str, frozenset[str]]]:
        """Columns that Pinot derived from others, and can derive anew: these are still there, or just not yet again."""
        evaluators = jpype.JClass("org.apache.pinot.segment.local.function.FunctionEvaluatorFactory")
        there = {name for name in layout.columns if self._schema.hasColumn(name)}
        seen: set[str] = set()
        for transform in self._transforms:
            name = str(transform.getColumnName())
            if name in seen or name not in there:
                continue
            seen.add(name)  # Pinot goes by the first one
            if layout.columns[name].auto_generated:
                function = evaluators.getExpressionEvaluator(transform.getTransformFunction())
                arguments = frozenset(str(argument) for argument in function.getArguments())
                if arguments <= there - {name}:
                    yield name, arguments


def _definition(spec: Any) -> tuple[str, str, bool, str]:
    return (
        str(spec.getFieldType()),
        str(spec.getDataType()),
        bool(spec.isSingleValueField()),
        str(spec.getDefaultNullValueString()),
    )


def _spanning(layout: SegmentLayout, changed: Collection[str]) -> Iterator[tuple[str, str]]:
    """Indexes over several columns, some of `changed` among them: how their files begin, and their metadata."""
    if not star_tree_columns(layout).isdisjoint(changed):
        yield STAR_TREES, "startree."
    if not text_columns(layout).isdisjoint(changed):
        yield TEXT_OVER_COLUMNS, "multicolumntext."


def _check_time_range(before: SegmentLayout, after: SegmentLayout) -> None:
    """The segment's time range stays, so the values of its time column have to stay within."""
    old, new = _range_ns(before), _range_ns(after)
    if not old[0] <= new[0] <= new[1] <= old[1]:
        reached, had = (f"{start // 10**6} to {end // 10**6} ms" for start, end in (new, old))
        raise RebuildError(
            f"the time column {before.time_column!r} would reach from {reached}, and the segment's time range is "
            f"{had}: the column holds nulls, or other times by its new definition. Re-ingest the segment"
        )


def _range_ns(layout: SegmentLayout) -> tuple[int, int]:
    unit = UNIT_NS[layout.time_unit or "MILLISECONDS"]
    return int(layout.start_time or 0) * unit, int(layout.end_time or 0) * unit
