"""Columns of a segment written anew from their values, by Pinot's own creation driver.

What an ingestion job does with its input is done with the segment's rows: read one by one, converted by Pinot's
transform pipeline to what the schema asks for, counted and indexed. Null values are handed on as nulls, so that they
come out as the schema's default. Pinot 1.5.1: PinotSegmentRecordReader, TransformPipeline,
SegmentIndexCreationDriverImpl.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jpype

from deep_store_sync.errors import RebuildError, RebuildRefusedError
from deep_store_sync.jvm.column_facts import same_in_all_rows
from deep_store_sync.jvm.column_values import open_segment
from deep_store_sync.jvm.engine import SegmentEngine
from deep_store_sync.jvm.row_order import sorted_order
from deep_store_sync.segment.buffer_facts import read_buffer_facts
from deep_store_sync.segment.segment_files import files_dir, read_layout

_COUNTERS = {
    "getIncompleteRowsFound": "with a value that cannot be converted",
    "getSkippedRowsFound": "skipped",
    "getSanitizedRowsFound": "with a value that is longer than the schema's maxLength, or has characters that it bans",
}


def write_columns(
    engine: SegmentEngine,
    segment_dir: Path,
    out_dir: Path,
    table_config: Mapping[str, Any],
    schema: Any,
    *,
    sort_by: Sequence[str] = (),
) -> Path:
    """Write a segment of the columns of `schema` only; returns its folder.

    Args:
        engine: the JVM.
        segment_dir: where the values come from. The folder is not changed.
        out_dir: an empty folder.
        table_config: for these columns only.
        schema: Pinot's Schema, of these columns only.
        sort_by: columns to sort the rows by. Rows with the same values there stay in the order they are in.

    Raises:
        RebuildRefusedError: the text of a column is in its text index only, as far as can be seen.
        RebuildError: a value cannot be converted, or a row would get lost.
    """
    rows = read_layout(segment_dir).rows
    columns = sorted(str(column) for column in schema.getPhysicalColumnNames())
    what = f"Pinot could not write {', '.join(columns)} anew"
    load = jpype.JClass
    with engine.java(RebuildError, what), without_other_files(segment_dir) as view:
        _check_texts(engine, segment_dir, view, columns)
        config = load("org.apache.pinot.spi.utils.JsonUtils").stringToObject(
            json.dumps(table_config), load("org.apache.pinot.spi.config.table.TableConfig")
        )
        settings = load("org.apache.pinot.segment.spi.creator.SegmentGeneratorConfig")(config, schema)
        settings.setOutDir(str(out_dir))
        settings.setSegmentName("columns")
        local = "org.apache.pinot.segment.local.segment"
        reader = load(f"{local}.readers.PinotSegmentRecordReader")()
        fields = load("java.util.HashSet")(load("java.util.Arrays").asList(columns))
        reader.init(engine.file(view), fields, None, True)
        if sort_by:
            _sort(engine, reader, view, sort_by)
        driver = load(f"{local}.creator.impl.SegmentIndexCreationDriverImpl")()
        try:
            driver.init(settings, reader)
            driver.build()
        finally:
            reader.close()
        for counter, how in _COUNTERS.items():
            # Up to 1.3 there are none: the comparison of values finds what was changed.
            if hasattr(driver, counter) and (found := int(getattr(driver, counter)())):
                raise RebuildError(f"{what}: {found} of {rows} rows {how}. Change the schema, or re-ingest the segment")
    written = out_dir / "columns"
    if (found := read_layout(written).rows) != rows:
        raise RebuildError(f"{what}: {found} rows came out of {rows}")
    return written


def _check_texts(engine: SegmentEngine, segment_dir: Path, view: Path, columns: Sequence[str]) -> None:
    """With noRawDataForTextIndex each row holds the same dummy, whatever the metadata and today's config say."""
    layout, buffers = read_layout(segment_dir), read_buffer_facts(segment_dir)
    suspects = [
        name
        for name in columns
        if buffers.has_text_index(name)
        and not layout.columns[name].has_dictionary
        and not layout.columns[name].auto_generated
    ]
    if not suspects:
        return
    with open_segment(engine, view) as segment:
        for name in suspects:
            if same_in_all_rows(segment.getDataSource(name)):
                raise RebuildRefusedError(
                    f"column {name!r} holds the same value in all rows, so only the text index of column {name!r} may "
                    "hold its text (noRawDataForTextIndex), and it would be built anew from that value: take the "
                    "change back, re-ingest the segment, or, if there is no other text, take the text index away, sync "
                    "the table, and add the index again"
                )


def _sort(engine: SegmentEngine, reader: Any, segment_dir: Path, sort_by: Sequence[str]) -> None:
    """Have the reader give the rows in order. Pinot's own sorter mixes rows with the same values."""
    with open_segment(engine, segment_dir) as segment:
        order = sorted_order(segment, sort_by)
    rows = reader.getClass().getDeclaredField("_sortedDocIds")
    rows.setAccessible(True)
    rows.set(reader, order)


@contextmanager
def without_other_files(segment_dir: Path) -> Iterator[Path]:
    """The segment over links, without the folders beside `columns.psf`: Pinot would add to them when it loads it."""
    with TemporaryDirectory(dir=segment_dir.parent, prefix="view-") as folder:
        view = Path(folder) / "segment"  # not just any name: Pinot takes a folder that ends in v3 for the inner one
        (view / "v3").mkdir(parents=True)
        for path in files_dir(segment_dir).iterdir():
            if path.is_file():
                (view / "v3" / path.name).symlink_to(path.absolute())
        yield view
