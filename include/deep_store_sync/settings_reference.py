"""The reference of a table's settings: a page to read, and a JSON schema for editors, both made from the settings.

`python -m deep_store_sync.settings_reference FOLDER` writes both into a folder, as `make docs` does into `docs/`: the
schema there is that of the installed version.
"""

from __future__ import annotations

import json
import sys
import textwrap
import types
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ByteSize
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from deep_store_sync.settings import Discovery, EngineSettings, TableSync

PAGE, SCHEMA = "settings.md", "table.schema.json"

_WIDTH = 120
_SIZES = (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))
_TIMES = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_KINDS: dict[Any, str] = {
    timedelta: "duration",
    ByteSize: "bytes",
    bool: "true or false",
    int: "whole number",
    float: "number",
    date: "date",
    Path: "path",
    str: "text",
}

_INTRODUCTION = f"""\
<!-- Made from include/deep_store_sync/settings.py by `make docs`: mend it there. -->

# Settings

A table file is YAML, one file for each table, in the folder that `DEEP_STORE_SYNC_TABLES` names; or one for many,
[by discovery](#many-tables-by-discovery). A few settings are required, the others have defaults. A file that has an
unknown setting or a wrong value breaks the DAG of its own table alone, and the message names file, setting and remedy.

Durations take a unit (`ms`, `s`, `m`, `h`, `d`) or are seconds, sizes take one (`KiB`, `MiB`, `GiB`, `TiB`, or `KB`,
`MB` … by thousands) or are bytes.

Editors with a YAML language server complete and check a file that begins with this line, where the path leads to
[{SCHEMA}]({SCHEMA}):

```yaml
# yaml-language-server: $schema=../../docs/{SCHEMA}
```

`python -m deep_store_sync.settings_reference FOLDER` writes that schema, and this page, for the version that is
installed.
"""


def reference() -> str:
    """The page on every setting, in Markdown: default, unit, meaning, and when to change it."""
    sections = (
        (TableSync, "", "A table"),
        (Discovery, "", "Many tables, by discovery"),
        (EngineSettings, "engine.", "The engine"),
    )
    lines = [_INTRODUCTION, "| Setting | Default | |", "|---|---|---|"]
    for model, prefix, _ in sections:
        lines += [
            f"| [`{prefix}{name}`](#{(prefix + name).replace('.', '').lower()}) | {_default(info)} | {_kind(info)} |"
            for name, info in _settings(model)
        ]
    for model, prefix, title in sections:
        lines += ["", f"## {title}"]
        if model is not TableSync:
            lines += ["", _wrapped(model.__doc__ or "")]
        for name, info in _settings(model):
            lines += ["", f"### {prefix}{name}", "", _facts(info), "", _wrapped(info.description or "")]
    return "\n".join(lines) + "\n"


def table_schema() -> dict[str, Any]:
    """The JSON schema (draft 7) of a table file."""
    schema = TableSync.model_json_schema(by_alias=True, schema_generator=_Schema)
    (engine,) = schema.pop("$defs").values()
    # In place of a reference to it: beside a reference, draft 7 sees nothing, the description neither.
    schema["properties"]["engine"] = engine
    discovery = Discovery.model_json_schema(by_alias=True, schema_generator=_Schema)["properties"]
    schema["properties"] |= discovery
    required = schema.pop("required")
    schema["if"] = {"properties": {"discover": {"const": True}}, "required": ["discover"]}
    schema["then"] = {"required": [name for name in required if name != "table"], "properties": {"table": False}}
    schema["else"] = {"required": required, "properties": {name: False for name in discovery if name != "discover"}}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **_tidied(schema),
        "title": "A table whose deep store is kept in sync with its table config and schema",
    }


def write_reference(folder: Path) -> None:
    """Write page and schema into a folder."""
    (folder / PAGE).write_text(reference(), encoding="utf-8")
    (folder / SCHEMA).write_text(json.dumps(table_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class _Schema(GenerateJsonSchema):
    """Pydantic's schema, with defaults as one would write them."""

    def encode_default(self, dft: Any) -> Any:
        return _written(dft) if isinstance(dft, (timedelta, ByteSize)) else super().encode_default(dft)


def _settings(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """The settings of a model that are no section of their own, by the names that they have in a file."""
    for name, info in model.model_fields.items():
        if info.annotation is not EngineSettings:
            yield to_camel(name), info


def _facts(info: FieldInfo) -> str:
    if not info.is_required():
        return f"{_kind(info)}, default {_default(info)}"
    example = json.dumps(info.examples[0]) if info.examples else ""
    return f"{_kind(info)}, required" + (f", for example `{example}`" if example else "")


def _kind(info: FieldInfo) -> str:
    kind = _bare(info.annotation)
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in get_args(kind))
    return "list" if get_origin(kind) is tuple else _KINDS[kind]


def _default(info: FieldInfo) -> str:
    return "required" if info.is_required() else f"`{_written(info.default)}`"


def _bare(annotation: Any) -> Any:
    """The type inside `X | None` and `Annotated`."""
    if get_origin(annotation) in (Union, types.UnionType):
        return _bare(next(member for member in get_args(annotation) if member is not type(None)))
    return _bare(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def _written(value: Any) -> str:
    """A value as one would write it in a file."""
    if isinstance(value, timedelta):
        return _with_unit(round(value.total_seconds()), _TIMES)
    if isinstance(value, ByteSize):
        return _with_unit(int(value), _SIZES)
    return value if isinstance(value, str) else json.dumps(value, default=str).strip('"')


def _with_unit(number: int, units: tuple[tuple[str, int], ...]) -> str:
    return next((f"{number // size}{unit}" for unit, size in units if number and number % size == 0), str(number))


def _wrapped(text: str) -> str:
    """A docstring as paragraphs of Markdown."""
    return "\n\n".join(
        textwrap.fill(" ".join(paragraph.split()), _WIDTH, break_long_words=False, break_on_hyphens=False)
        for paragraph in text.strip().split("\n\n")
    )


def _tidied(schema: Any) -> Any:
    """Without titles that only repeat names, and with descriptions in one line."""
    if isinstance(schema, list):
        return [_tidied(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    tidied = {
        name: _tidied(value) for name, value in schema.items() if not (name == "title" and isinstance(value, str))
    }
    if isinstance(description := tidied.get("description"), str):
        tidied["description"] = " ".join(description.split())
    return tidied


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python -m deep_store_sync.settings_reference FOLDER")
    write_reference(Path(sys.argv[1]))
