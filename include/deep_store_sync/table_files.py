"""The files that tables are set by: one YAML file a table, or one for many.

`load_tables` reads a folder and never fails for a single file: what is wrong with it comes back as a `BrokenTable`
beside the tables that are right. A message names the file, the field and the remedy.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel

from deep_store_sync.errors import ConfigError
from deep_store_sync.settings import Discovery, EngineSettings, TableSync, is_table_name
from deep_store_sync.system_trouble import system_trouble

TABLES_VARIABLE = "DEEP_STORE_SYNC_TABLES"


@dataclass(frozen=True, slots=True)
class LoadedTable:
    """A table, by its own file or by one that it was discovered for: then with that file's discovery."""

    path: Path
    settings: TableSync
    discovery: Discovery | None = None


@dataclass(frozen=True, slots=True)
class LoadedDiscovery:
    """A file with `discover: true` that is right. `shared` are the settings of its tables, under some name."""

    path: Path
    discovery: Discovery
    shared: TableSync

    @property
    def name(self) -> str:
        """What names its DAG and the list of its tables: the file's name, as far as it may be in such a name."""
        return re.sub(r"[^\w.\-]", "-", self.path.stem)

    def table(self, name: str) -> LoadedTable:
        """One of its tables."""
        return LoadedTable(self.path, self.shared.model_copy(update={"table": name}), self.discovery)


@dataclass(frozen=True, slots=True)
class BrokenTable:
    """A table file that is wrong.

    `message` names the file, each wrong field and the remedy, a line each. `table` is the table, where that can be
    read.
    """

    path: Path
    message: str
    table: str | None = None


TablesOf = Callable[[LoadedDiscovery], Iterable[str]]
"""The names, with type, of the tables that a discovery has found; a ConfigError says why they are not to be had."""


def load_tables(folder: Path, discovered: TablesOf = lambda _: ()) -> list[LoadedTable | BrokenTable]:
    """The tables of a folder: `tables_of` all that `load_files` reads.

    Raises:
        ConfigError: the folder is not there.
    """
    return tables_of(load_files(folder), discovered)


def tables_of(
    files: Iterable[LoadedTable | LoadedDiscovery | BrokenTable], discovered: TablesOf
) -> list[LoadedTable | BrokenTable]:
    """The tables that files stand for, in the order of the files' names, those of discoveries last.

    A file with `discover: true` gives a table for each name that `discovered` has for it and that it means. A table's
    own file goes before any that discovers it.
    """
    tables: list[LoadedTable | BrokenTable] = []
    discoveries: list[LoadedDiscovery] = []
    owners: dict[str, Path] = {}
    for table in files:
        if isinstance(table, LoadedDiscovery):
            discoveries.append(table)
            continue
        if isinstance(table, LoadedTable):
            name = table.settings.table
            if name in owners:
                owner = owners[name].name
                message = f"{table.path}: table: {name} is already set in {owner}; keep one of the two files"
                table = BrokenTable(table.path, message, name)
            else:
                owners[name] = table.path
        tables.append(table)
    # A broken file of a table is still that table's: it must not run with other settings meanwhile.
    owned = owners.keys() | {table.table for table in tables if isinstance(table, BrokenTable) and table.table}
    found: dict[str, Path] = {}
    for discovery in discoveries:
        tables += _discovered(discovery, discovered, owned, found)
    return tables


def load_table(path: Path) -> LoadedTable | LoadedDiscovery | BrokenTable:
    """Reads one file."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        return BrokenTable(path, f"{path}: not valid YAML: {_yaml_problem(error)}")
    except (OSError, UnicodeDecodeError) as error:
        return BrokenTable(path, f"{path}: cannot be read: {error}; it has to be a readable UTF-8 file")
    if not isinstance(content, dict):
        return BrokenTable(path, f"{path}: empty, or no mapping; it holds settings such as 'table: flights_OFFLINE'")
    if content.get("discover", False) is not False:
        return _load_discovery(path, content)
    try:
        settings = {key: value for key, value in content.items() if key != "discover"}
        return LoadedTable(path, TableSync.model_validate(settings, by_alias=True, by_name=False))
    except ValidationError as error:
        table = content.get("table")
        legible = table if isinstance(table, str) and is_table_name(table) else None
        return BrokenTable(path, "\n".join(f"{path}: {problem}" for problem in _problems(error)), legible)


def configured_folder(environment: Mapping[str, str]) -> Path | None:
    """The folder of the table files that the environment names, if it names one."""
    configured = environment.get(TABLES_VARIABLE)
    return Path(configured).expanduser() if configured else None


def load_files(folder: Path) -> list[LoadedTable | LoadedDiscovery | BrokenTable]:
    """Reads every `*.yaml` and `*.yml` of a folder, in the order of their names.

    Raises:
        ConfigError: the folder is not there, or cannot be read.
    """
    try:
        if not folder.is_dir():
            raise ConfigError(
                f"{folder}: no such folder; DEEP_STORE_SYNC_TABLES has to name the one with the table files"
            )
        paths = sorted(p for p in folder.iterdir() if p.suffix in (".yaml", ".yml") and not p.name.startswith("."))
    except OSError as error:
        raise ConfigError(system_trouble(error)) from error
    files: list[LoadedTable | LoadedDiscovery | BrokenTable] = []
    names: dict[str, Path] = {}
    for path in paths:
        table = load_table(path)
        if isinstance(table, LoadedDiscovery) and (other := names.setdefault(table.name, path)) != path:
            table = BrokenTable(path, f"{path}: {other.name} has the same name; a discovery needs one of its own")
        files.append(table)
    return files


def _load_discovery(path: Path, content: Mapping[Any, Any]) -> LoadedDiscovery | BrokenTable:
    names = {to_camel(name) for name in Discovery.model_fields}
    own = {key: value for key, value in content.items() if key in names}
    shared = {key: value for key, value in content.items() if key not in names}
    problems: list[str] = []
    if "table" in shared:
        problems.append("table: a file with discover: true stands for many tables; take one of the two away")
    discovery = settings = None
    try:
        discovery = Discovery.model_validate(own, by_alias=True, by_name=False)
    except ValidationError as error:
        problems += _problems(error)
    try:
        settings = TableSync.model_validate({**shared, "table": "any_OFFLINE"}, by_alias=True, by_name=False)
    except ValidationError as error:
        problems += _problems(error)
    if problems or discovery is None or settings is None:
        return BrokenTable(path, "\n".join(f"{path}: {problem}" for problem in problems))
    return LoadedDiscovery(path, discovery, settings)


def _discovered(
    discovery: LoadedDiscovery, discovered: TablesOf, owned: Collection[str], found: dict[str, Path]
) -> Iterator[LoadedTable | BrokenTable]:
    """The tables of a discovery that have no file of their own. `found` is who has found which until now."""
    path = discovery.path
    try:
        names = sorted({name for name in discovered(discovery) if discovery.discovery.means(name)} - set(owned))
    except ConfigError as error:
        yield BrokenTable(path, f"{path}: {error}")
        return
    twice = [name for name in names if name in found]
    if twice:
        others = ", ".join(sorted({found[name].name for name in twice}))
        yield BrokenTable(
            path,
            f"{path}: {others} has found the same tables ({', '.join(twice[:5])}{', …' if len(twice) > 5 else ''}); "
            "exclude them in one of the files",
        )
    for name in names:
        if found.setdefault(name, path) == path:
            yield discovery.table(name)


class _StrictLoader(yaml.SafeLoader):
    """Plain YAML, in which a key that is given twice is an error and not a silent choice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.MarkedYAMLError(problem=f"{key} is given twice; keep one", problem_mark=key_node.start_mark)
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


def _yaml_problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem or 'cannot be parsed'}"
    return " ".join(str(error).split())


def _problems(error: ValidationError) -> Iterator[str]:
    """One line for each wrong field: the field as it is spelled in the file, what is wrong, the remedy."""
    details = error.errors(include_url=False)
    for detail in details:
        location = detail["loc"]
        if location and any(other["loc"][: len(location)] == location != other["loc"] for other in details):
            continue  # what is wrong is an item of it, and that is said in its own line
        field = ".".join(str(part) for part in location)
        if not location:  # a rule over several fields names them itself
            yield detail["msg"].removeprefix("Value error, ")
        elif detail["type"] == "extra_forbidden":
            known = _names(location[:-1])
            near = difflib.get_close_matches(str(location[-1]), known, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            if location[-1] in near:
                remedy = "only a file with discover: true has it"
            yield f"{field}: unknown setting; {remedy}"
        elif detail["type"] == "missing":
            yield f"{field}: required, and not given{_example(location)}"
        else:
            message = detail["msg"].removeprefix("Value error, ").removesuffix(".")
            shown = "" if repr(detail["input"]) in message else f" (it is {detail['input']!r})"
            yield f"{field}: {message[0].lower()}{message[1:]}{shown}{_example(location)}"


def _model(location: tuple[int | str, ...]) -> type[BaseModel]:
    return EngineSettings if location[:1] == ("engine",) else TableSync


def _names(location: tuple[int | str, ...]) -> list[str]:
    models = (TableSync, Discovery) if _model(location) is TableSync else (_model(location),)
    return [to_camel(name) for model in models for name in model.model_fields]


def _example(location: tuple[int | str, ...]) -> str:
    """A right value for the field, said as a remedy; empty where none is known."""
    model = _model(location[:-1]) if len(location) > 1 and location[0] == "engine" else TableSync
    name = location[1] if model is EngineSettings else location[0]
    fields = dict(model.model_fields) if model is EngineSettings else {**Discovery.model_fields, **model.model_fields}
    for field, info in fields.items():
        if to_camel(field) == name and info.examples:
            example = info.examples[0]
            return f"; give {yaml.safe_dump(example, default_flow_style=True).splitlines()[0]}, for example"
    return ""
