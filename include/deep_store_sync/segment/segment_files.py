"""The small files of a segment: `creation.meta`, `metadata.properties` and `index_map`.

A segment in format v3 keeps every (column, index) buffer in `v3/columns.psf`; `v3/index_map` says where, and
`v3/metadata.properties` what. What is read here is read without Java. Pinot 1.5.1: SegmentMetadataImpl,
ColumnMetadataImpl, SingleFileIndexDirectory, and Commons Configuration's rules for properties files.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deep_store_sync.errors import SegmentError

CREATION_META = "creation.meta"
METADATA_PROPERTIES = "metadata.properties"
INDEX_MAP = "index_map"
COLUMNS_FILE = "columns.psf"

_COLUMN_LISTS = (
    "segment.dimension.column.names",
    "segment.metric.column.names",
    "segment.time.column.name",
    "segment.datetime.column.names",
    "segment.complex.column.names",
)


@dataclass(frozen=True, slots=True)
class CreationMeta:
    """`creation.meta`: the segment's CRC, its creation time, and its data CRC where Pinot wrote one (since 1.5)."""

    crc: int
    creation_ms: int
    data_crc: int | None = None

    @classmethod
    def from_bytes(cls, data: bytes) -> CreationMeta:
        """Read the file's content.

        Raises:
            SegmentError: it is neither two nor three 64-bit numbers.
        """
        if len(data) not in (16, 24):
            raise SegmentError(f"creation.meta has {len(data)} bytes, not 16 or 24: the segment was cut off or damaged")
        numbers = struct.unpack(f">{len(data) // 8}q", data)
        return cls(*numbers)

    def to_bytes(self) -> bytes:
        """The file's content, big-endian as Pinot reads it."""
        if self.data_crc is None:
            return struct.pack(">2q", self.crc, self.creation_ms)
        return struct.pack(">3q", self.crc, self.creation_ms, self.data_crc)


@dataclass(frozen=True, slots=True)
class BufferRange:
    """Where a buffer lies in `columns.psf`, in bytes, its 8-byte marker included."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class ColumnLayout:
    """One column as the segment holds it.

    `data_type` and `field_type` are Pinot's names in upper case (`INT`, `DIMENSION`). `partitions` are the ids of the
    partitions that the column's values fall into. `properties` are all entries of `metadata.properties` for the column,
    by their last part.
    """

    name: str
    data_type: str
    field_type: str
    single_value: bool
    has_dictionary: bool
    sorted: bool
    cardinality: int
    auto_generated: bool
    default_null_value: str | None
    partition_function: str | None
    partition_count: int | None
    partitions: tuple[int, ...]
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SegmentLayout:
    """A segment as its `metadata.properties` describes it.

    `start_time` and `end_time` are in `time_unit`s, all three as written. `properties` are all entries.
    """

    name: str
    version: str
    rows: int
    time_column: str | None
    start_time: str | None
    end_time: str | None
    time_unit: str | None
    columns: Mapping[str, ColumnLayout]
    properties: Mapping[str, str]


def files_dir(segment_dir: Path) -> Path:
    """The folder with the files: `v3` in the segment's folder, or the folder itself in the formats before v3."""
    v3 = segment_dir / "v3"
    return v3 if v3.is_dir() else segment_dir


def read_creation_meta(segment_dir: Path) -> CreationMeta:
    """`creation.meta` of a segment's folder.

    Raises:
        SegmentError: it is missing or damaged.
    """
    return CreationMeta.from_bytes(_read(segment_dir, CREATION_META))


def write_creation_meta(segment_dir: Path, meta: CreationMeta) -> None:
    """Replace `creation.meta` of a segment's folder."""
    (files_dir(segment_dir) / CREATION_META).write_bytes(meta.to_bytes())


def read_layout(segment_dir: Path) -> SegmentLayout:
    """What `metadata.properties` of a segment's folder says.

    Raises:
        SegmentError: it is missing, or lacks what every segment has.
    """
    return parse_layout(_read(segment_dir, METADATA_PROPERTIES))


def read_index_map(segment_dir: Path) -> dict[tuple[str, str], BufferRange]:
    """Where each (column, index) lies in `columns.psf`.

    Raises:
        SegmentError: the map is missing or unreadable, or points outside `columns.psf`.
    """
    buffers = parse_index_map(_read(segment_dir, INDEX_MAP))
    size = (files_dir(segment_dir) / COLUMNS_FILE).stat().st_size
    for (column, index), at in buffers.items():
        if at.offset < 0 or at.size < 0 or at.offset + at.size > size:
            raise SegmentError(
                f"column {column!r}: its {index} lies at {at.offset}+{at.size} and columns.psf ends at {size}: the "
                "segment "
                "was cut off or damaged; re-ingest it, or bring the object back from a backup"
            )
    return buffers


def parse_layout(metadata_properties: bytes) -> SegmentLayout:
    """What `metadata.properties` says.

    Raises:
        SegmentError: it lacks what every segment has.
    """
    properties = parse_properties(metadata_properties)
    try:
        names = sorted({name for key in _COLUMN_LISTS for name in split_list(properties.get(key, ""))})
        return SegmentLayout(
            name=properties["segment.name"],
            version=properties.get("segment.index.version", "v1"),
            rows=int(properties["segment.total.docs"]),
            time_column=properties.get("segment.time.column.name") or None,
            start_time=properties.get("segment.start.time"),
            end_time=properties.get("segment.end.time"),
            time_unit=properties.get("segment.time.unit"),
            columns=_columns(names, properties),
            properties=properties,
        )
    except (KeyError, ValueError) as error:
        raise SegmentError(f"metadata.properties cannot be read: {error!r}; the segment was damaged") from None


def parse_index_map(data: bytes) -> dict[tuple[str, str], BufferRange]:
    """What `index_map` says. Column names may hold dots, index names never do (Pinot 1.5.1, ColumnIndexUtils).

    Raises:
        SegmentError: it is not an index map.
    """
    numbers: dict[tuple[str, str], dict[str, int]] = {}
    try:
        for key, value in parse_properties(data).items():
            column, index, what = key.rsplit(".", 2)
            numbers.setdefault((column, index), {})[what] = int(value)
        return {key: BufferRange(found["startOffset"], found["size"]) for key, found in numbers.items()}
    except (KeyError, ValueError) as error:
        raise SegmentError(f"index_map cannot be read: {error!r}; the segment was damaged") from None


# What Java trims. Python takes more for white space, which may be part of a column's name.
_BLANKS = "".join(map(chr, range(ord(" ") + 1)))


def split_list(value: str) -> tuple[str, ...]:
    """The elements of a value that Pinot writes as a list."""
    return tuple(part for part in (part.strip(_BLANKS) for part in value.split(",")) if part)


def _columns(names: list[str], properties: Mapping[str, str]) -> dict[str, ColumnLayout]:
    own: dict[str, dict[str, str]] = {name: {} for name in names}
    for key, value in properties.items():
        if not key.startswith("column."):
            continue
        # A column's name may hold dots, and so may what follows it: the longest name that fits is meant.
        rest = key[len("column.") :]
        at = rest.rfind(".")
        while at > 0:
            if rest[:at] in own:
                own[rest[:at]][rest[at + 1 :]] = value
                break
            at = rest.rfind(".", 0, at)
    return {name: _column(name, own[name]) for name in names}


def _column(name: str, properties: Mapping[str, str]) -> ColumnLayout:
    partition_count = properties.get("numPartitions")
    return ColumnLayout(
        name=name,
        data_type=properties["dataType"].upper(),
        field_type=properties["columnType"].upper(),
        single_value=_flag(properties.get("isSingleValues", "true")),
        has_dictionary=_flag(properties.get("hasDictionary", "true")),
        sorted=_flag(properties.get("isSorted", "false")),
        cardinality=int(properties["cardinality"]),
        auto_generated=_flag(properties.get("isAutoGenerated", "false")),
        default_null_value=properties.get("defaultNullValue"),
        partition_function=properties.get("partitionFunction"),
        partition_count=int(partition_count) if partition_count else None,
        partitions=tuple(_partitions(properties.get("partitionValues", ""))),
        properties=properties,
    )


def _flag(value: str) -> bool:
    return value.strip().lower() == "true"


def _partitions(value: str) -> Iterator[int]:
    # Ids, or ranges in the notation of old segments: `[1 3],[5 5]` (Pinot 1.5.1,
    # ColumnPartitionMetadata.extractPartitions).
    for part in split_list(value):
        if part.startswith("["):
            first, last = part.strip("[]").split()
            yield from range(int(first), int(last) + 1)
        else:
            yield int(part)


_KEY = re.compile(r"((?:[^\s\\=:]|\\.)*)(\s*[=:]\s*|\s+|$)", re.DOTALL | re.ASCII)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_CONTROL = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "b": "\b"}


def parse_properties(data: bytes) -> dict[str, str]:
    r"""Entries of a properties file as Commons Configuration writes it, escapes undone.

    A file whose first line is `# version = 2` has its keys as they are (Pinot, VersionedPropertyReader). A key that
    comes twice adds to a list, here joined by commas.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:  # keys are written in the encoding of the JVM that built the segment
        text = data.decode("iso-8859-1")
    lines = text.replace("\r\n", "\n").split("\n")  # not splitlines(), which takes more for line ends than Java does
    plain_keys = bool(lines) and lines[0].replace(" ", "") == "#version=2"
    entries: dict[str, str] = {}
    for line in _logical_lines(lines):
        if plain_keys:
            key, _, value = line.partition(" = ")
        else:
            match = _KEY.match(line)
            if match is None:  # the pattern matches an empty key too
                continue
            key, value = _unescape(match[1]), line[match.end() :]
        value = _unescape(value)
        entries[key] = f"{entries[key]},{value}" if key in entries else value
    return entries


def _logical_lines(lines: list[str]) -> Iterator[str]:
    pending = ""
    for line in lines:
        stripped = line.strip(" \t\f")
        if not pending and (not stripped or stripped[0] in "#!"):
            continue
        backslashes = len(stripped) - len(stripped.rstrip("\\"))
        if backslashes % 2:
            pending += stripped[:-1]
            continue
        yield pending + stripped
        pending = ""
    if pending:
        yield pending


def _unescape(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        what = match[1]
        return chr(int(what[1:], 16)) if len(what) == 5 else _CONTROL.get(what, what)

    return _ESCAPE.sub(replace, text) if "\\" in text else text


def _read(segment_dir: Path, name: str) -> bytes:
    try:
        return (files_dir(segment_dir) / name).read_bytes()
    except FileNotFoundError:
        raise SegmentError(f"{segment_dir.name}: no {name} in it: not a segment, or one that was cut off") from None
