"""What the segment library at hand knows, so that what it does not know is refused and not left out in silence.

Pinot's config classes skip settings that they do not know, and indexes are built for the types that are registered. A
library older than the cluster, or one without a plug-in that the servers have, would so build less than was asked for.
The library's classes are asked what they know, never its version.

A controller keeps only the settings that its own version knows (Pinot 1.5.1: TableConfigSerDeUtils writes what the
class holds), so one that the library does not know says that the cluster runs another version. Some sections are kept
word for word, whatever they hold: the config of an index below `indexes`, `properties`. There, servers of the library's
own version leave out the same, and only a library that is not of the cluster's version is held to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jpype

from deep_store_sync.hashed_fields import INGESTION, TABLE
from deep_store_sync.segment.segment_files import COLUMNS_FILE, files_dir, read_index_map, read_layout
from deep_store_sync.table_hash import canonical_config

Json = Any

# Every segment has them, or Pinot decides by the data whether it does.
_NEVER_MISSING: Final = frozenset({"forward_index", "dictionary", "nullvalue_vector"})
# What the forward index of a sorted column is as well.
_BY_SORTING: Final = frozenset({"inverted_index", "range_index"})

# Sections that no segment depends on: what is in them is not asked for.
_NEVER_ASKED: Final = TABLE.left_out | INGESTION.left_out | {"upsertConfig", "dedupConfig"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What is known of a JSON object with settings: their names, and what is known of their values.

    `by_name`: a name alone asks for something, whatever its value, unless that is null or disabled.
    """

    names: Mapping[str, Shape]
    by_name: bool = False


@dataclass(frozen=True, slots=True)
class Each:
    """A list, or an object with names of the user's own: what is known of each member."""

    member: Shape


# None: any value.
Shape = Settings | Each | None


def unknown_settings(value: Json, shape: Shape, where: str = "") -> Iterator[str]:
    """Paths of the settings in a JSON value that are not known, such as `fieldConfigList[city].indexes.ifst`.

    A setting that says nothing is passed over: null, false, and what is empty. A newer controller prints its newer
    settings also where nobody has set them.
    """
    if isinstance(shape, Settings) and isinstance(value, dict):
        for name, member in value.items():
            path = f"{where}.{name}" if where else name
            if name in shape.names:
                yield from unknown_settings(member, shape.names[name], path)
            elif _is_enabled(member) if shape.by_name else _says_something(member):
                yield path
    elif isinstance(shape, Each) and isinstance(value, dict):
        for name, member in value.items():
            yield from unknown_settings(member, shape.member, f"{where}[{name}]")
    elif isinstance(shape, Each) and isinstance(value, list):
        for number, member in enumerate(value):
            name = member.get("name") or member.get("columnName") if isinstance(member, dict) else None
            yield from unknown_settings(member, shape.member, f"{where}[{name or number}]")


def _says_something(value: Json) -> bool:
    if isinstance(value, dict):
        return any(map(_says_something, value.values()))
    return value is not None and value is not False and value not in ("", [])


def _is_enabled(index: Json) -> bool:
    return index is not None and not (isinstance(index, dict) and index.get("disabled") is True)


def raw_versions(table: Mapping[str, Json]) -> set[int]:
    """The versions of the raw forward index that a table config asks for."""
    found = set()
    for field in table.get("fieldConfigList") or []:
        forward = (field.get("indexes") or {}).get("forward") or {}
        for section in (forward, field.get("properties") or {}):
            if re.fullmatch(r"\d+", version := str(section.get("rawIndexWriterVersion"))):
                found.add(int(version))
    return found


class LibraryFeatures:
    """The library of this process's JVM, asked for what it knows."""

    def __init__(self, *, of_cluster: bool) -> None:
        """Ask it.

        Args:
            of_cluster: the library is of the version that the cluster runs.
        """
        self._of_cluster = of_cluster
        load = jpype.JClass
        # Jackson as the library itself uses it, under whatever name its distribution keeps it.
        self._reader = load("org.apache.pinot.spi.utils.JsonUtils").DEFAULT_READER
        self._index_types = list(load("org.apache.pinot.segment.spi.index.IndexService").getInstance().getAllIndexes())
        self._shapes: dict[str, Settings] = {}
        self._table = self._shape_of("org.apache.pinot.spi.config.table.TableConfig")
        self._schema = self._shape_of("org.apache.pinot.spi.data.Schema")
        field = self._shape_of("org.apache.pinot.spi.config.table.FieldConfig")
        indexes = {str(of.getPrettyName()): None if of_cluster else self._index_shape(of) for of in self._index_types}
        properties = {} if of_cluster else {"properties": self._properties_shape()}
        self._field = Settings({**field.names, "indexes": Settings(indexes, by_name=True), **properties})
        self._table = Settings({**self._table.names, "fieldConfigList": Each(self._field)})

    def unknown_in_config(
        self, table_config: Mapping[str, Json], schema: Mapping[str, Json], tier: str | None
    ) -> tuple[str, ...]:
        """What table config and schema ask for, for a segment on `tier`, and the library does not know."""
        asked = canonical_config(table_config, schema, tier)
        table = asked["table"]
        found = [*unknown_settings(_without_vector_properties(table), self._table)]
        found += unknown_settings(asked["schema"], self._schema)
        if not self._of_cluster:
            found += [f"rawIndexWriterVersion {n}" for n in sorted(raw_versions(table)) if not _writes_raw(n)]
        return tuple(found)

    def unknown_in_segment(self, segment_dir: Path) -> tuple[str, ...]:
        """What a segment holds, most likely written by a newer library, and this one does not know.

        Raises:
            SegmentError: the segment's small files cannot be read.
        """
        found = set()
        if (files_dir(segment_dir) / COLUMNS_FILE).exists():  # only format v3 has one, and a map of it
            known = {str(of.getId()) for of in self._index_types}
            if not _has_class("org.apache.pinot.segment.local.segment.index.readers.text.LuceneTextIndexBufferReader"):
                known.discard("text_index")  # it is known as a folder beside the file, never in it
            found = {f"{index} of column {column}" for column, index in read_index_map(segment_dir)
                     if index not in known}  # fmt: skip
        if not _has_class("org.apache.pinot.spi.config.table.MultiColumnTextIndexConfig") and any(
            name.startswith("multicolumntext.") for name in read_layout(segment_dir).properties
        ):
            found.add("multi-column text index")
        return tuple(sorted(found))

    def left_out(self, directory: Any, loading: Any) -> tuple[str, ...]:
        """Indexes that were asked for and are not in a segment though nothing more is to be done.

        Servers of the library's own version leave them out, too: this is to be asked of a library of another version.
        An inverted index on a raw column, for example, is built since 1.5.

        Args:
            directory: the segment, as Pinot's SegmentDirectory.
            loading: Pinot's IndexLoadingConfig.
        """
        columns = directory.getSegmentMetadata().getColumnMetadataMap()
        reader = directory.createReader()
        try:
            found = [
                f"{of.getId()} of column {entry.getKey()}"
                for entry in loading.getFieldIndexConfigByColName().entrySet()
                for of in self._index_types
                if str(of.getId()) not in _NEVER_MISSING
                and entry.getValue().getConfig(of).isEnabled()
                and (column := columns.get(entry.getKey())) is not None
                and not (str(of.getId()) in _BY_SORTING and column.isSorted())
                and not reader.hasIndexFor(entry.getKey(), of)
            ]
        finally:
            reader.close()
        return tuple(sorted(found))

    def _shape_of(self, name: str) -> Settings:
        shape = self._shape(self._reader.getTypeFactory().constructType(jpype.JClass(name).class_))
        assert isinstance(shape, Settings)  # noqa: S101
        return shape

    def _index_shape(self, index_type: Any) -> Shape:
        return self._shape(self._reader.getTypeFactory().constructType(index_type.getIndexConfigClass()))

    def _shape(self, java_type: Any) -> Shape:
        """What Jackson takes for a Java type."""
        if java_type.isContainerType():
            return Each(self._shape(java_type.getContentType()))
        name = str(java_type.getRawClass().getName())
        if not name.startswith("org.apache.pinot.") or java_type.isEnumType() or java_type.isAbstract():
            return None
        if name not in self._shapes:
            names: dict[str, Shape] = {}
            self._shapes[name] = Settings(names)  # before its members: a type may hold its own kind
            known = self._reader.getConfig().introspect(java_type)
            for setting in known.findProperties():
                own = str(setting.getName())
                shape = None if own in _NEVER_ASKED else self._shape(setting.getPrimaryType())
                for spelling in (own, *(alias.getSimpleName() for alias in setting.findAliases())):
                    names[str(spelling)] = shape
            for ignored in known.getIgnoredPropertyNames():  # by this class's own word
                names.setdefault(str(ignored), None)
        return self._shapes[name]

    def _properties_shape(self) -> Settings:
        """The names that index types look for in a field's `properties`: constants, but for the text index's."""
        text = self._shape_of("org.apache.pinot.segment.spi.index.TextIndexConfig").names
        holders = ("org.apache.pinot.spi.config.table.FieldConfig",
                   "org.apache.pinot.segment.spi.index.creator.H3IndexConfig")  # fmt: skip
        string = jpype.JClass("java.lang.String").class_
        static = jpype.JClass("java.lang.reflect.Modifier").isStatic
        constants = {
            str(field.get(None))
            for holder in holders
            for field in jpype.JClass(holder).class_.getFields()
            if field.getType().equals(string) and static(field.getModifiers())
        }
        return Settings(dict.fromkeys([*text, *constants]))


def _without_vector_properties(table: Mapping[str, Json]) -> dict[str, Json]:
    """A vector index hands all properties on to its codec, whatever their names."""
    fields = [
        {name: value for name, value in field.items() if name != "properties" or not _is_vector(field)}
        for field in table.get("fieldConfigList") or []
    ]
    return {**table, "fieldConfigList": fields}


def _is_vector(field: Mapping[str, Json]) -> bool:
    return "VECTOR" in (field.get("indexTypes") or []) or "vector" in (field.get("indexes") or {})


def _writes_raw(version: int) -> bool:
    # Since version 4 each has a writer of its own; a version that is not known would be written as 4.
    writer = "org.apache.pinot.segment.local.io.writer.impl.VarByteChunkForwardIndexWriterV"
    return version < 4 or _has_class(f"{writer}{version}")


def _has_class(name: str) -> bool:
    try:
        jpype.JClass(name)
    except TypeError:
        return False
    return True
