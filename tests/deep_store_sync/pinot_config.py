"""Pinot's own config classes, asked for their fields, and made to read and print configs as a controller does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import jpype
from tests.deep_store_sync.pinot_segments import engine

_SPI = "org.apache.pinot.spi"
# Strings of Pinot's FieldConfig that are no names of properties.
_NO_PROPERTIES = frozenset({"n", ",", "native", "false"})


def printed_table(config: Mapping[str, Any]) -> dict[str, Any]:
    """A table config as a controller prints it: read, written to ZooKeeper (where the library can), read from there."""
    engine()
    parsed = jpype.JClass(f"{_SPI}.utils.JsonUtils").stringToObject(
        json.dumps(config), jpype.JClass(f"{_SPI}.config.table.TableConfig")
    )
    try:
        serde = jpype.JClass("org.apache.pinot.common.utils.config.TableConfigSerDeUtils")
    except TypeError:  # up to 1.3 the class is not in what the library needs
        return dict(json.loads(str(parsed.toJsonString())))
    return dict(json.loads(str(serde.fromZNRecord(serde.toZNRecord(parsed)).toJsonString())))


def printed_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema as a controller prints it."""
    engine()
    parsed = jpype.JClass(f"{_SPI}.data.Schema").fromString(json.dumps(schema))
    return dict(json.loads(str(parsed.toSingleLineJsonString())))


class ConfigFields:
    """All fields of a table config and a schema (below `schema`), as paths to Java types.

    `leaves` are those that have no fields of their own, `sections` those that have.
    """

    def __init__(self) -> None:
        engine()
        load = jpype.JClass
        self._jackson = load(f"{_SPI}.utils.JsonUtils").DEFAULT_READER
        self._writing = load("com.fasterxml.jackson.databind.ObjectMapper")().getSerializationConfig()
        self.leaves: dict[str, Any] = {}
        self.sections: set[str] = set()
        self._walk("", self._type(load(f"{_SPI}.config.table.TableConfig")))
        self._walk("schema", self._type(load(f"{_SPI}.data.Schema")))
        for index in load("org.apache.pinot.segment.spi.index.IndexService").getInstance().getAllIndexes():
            path = f"fieldConfigList[].indexes.{index.getPrettyName()}"
            self._walk(path, self._jackson.getTypeFactory().constructType(index.getIndexConfigClass()), printed=False)
        for name in self._property_names():
            self.leaves[f"fieldConfigList[].properties.{name}"] = self._type(load("java.lang.String"))
        # Free-form, and walked just now.
        for path in ("fieldConfigList[].indexes", "fieldConfigList[].properties"):
            del self.leaves[path]
            self.sections.add(path)

    def _type(self, java_class: Any) -> Any:
        return self._jackson.getTypeFactory().constructType(java_class.class_)

    def _walk(self, path: str, java_type: Any, *, printed: bool = True) -> None:
        if path:
            self.sections.add(path)
        for name, of in self._fields(java_type, printed=printed).items():
            below, member = (f"{path}.{name}" if path else name), of
            where = below
            while member.isContainerType():
                where += "{}" if member.isMapLikeType() else "[]"
                member = member.getContentType()
            pinots = str(member.getRawClass().getName()).startswith("org.apache.pinot.") and not member.isEnumType()
            if pinots and self._fields(member, printed=printed):
                self.sections.add(below)
                if where.count("childFieldSpecs") < 2:  # complex fields may lie in complex fields
                    self._walk(where, member, printed=printed)
            else:
                self.leaves[below] = of

    def _fields(self, java_type: Any, *, printed: bool) -> dict[str, Any]:
        """By Jackson's own word: what it reads, and what it prints and may read through a getter."""
        found: dict[str, Any] = {}
        for setting in self._jackson.getConfig().introspect(java_type).findProperties():
            if setting.couldDeserialize():
                for name in (setting.getName(), *(alias.getSimpleName() for alias in setting.findAliases())):
                    found[str(name)] = setting.getPrimaryType()
        if printed:
            for setting in self._writing.introspect(java_type).findProperties():
                if setting.couldSerialize():
                    found.setdefault(str(setting.getName()), setting.getPrimaryType())
        return found

    def _property_names(self) -> Iterator[str]:
        for holder in (f"{_SPI}.config.table.FieldConfig", "org.apache.pinot.segment.spi.index.creator.H3IndexConfig"):
            for constant in jpype.JClass(holder).class_.getFields():
                if str(constant.getType().getName()) == "java.lang.String":
                    value = str(constant.get(None))
                    if value not in _NO_PROPERTIES and not value.startswith("org.apache."):
                        yield value


def another_value(java_type: Any, now: Any) -> Any:
    """A value of a Java type that is not the one of now."""
    if java_type.isMapLikeType():
        return {"other": another_value(java_type.getContentType(), None)}
    if java_type.isContainerType():
        return [another_value(java_type.getContentType(), None)]
    if java_type.isEnumType():
        return next(name for value in java_type.getRawClass().getEnumConstants() if (name := str(value.name())) != now)
    name = str(java_type.getRawClass().getName())
    if name.lower().endswith("boolean"):
        return not now
    if name in ("int", "long", "java.lang.Integer", "java.lang.Long"):
        return 7
    if name in ("double", "java.lang.Double"):
        return 0.25
    return {"other": "other"} if name.endswith("JsonNode") else "other"
