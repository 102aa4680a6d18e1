"""`deep-store-sync rebuild`."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deep_store_sync.command.exit_codes import DONE, UNDONE
from deep_store_sync.command.output import document, facts, heading, members
from deep_store_sync.command.progress import shown
from deep_store_sync.errors import ConfigError
from deep_store_sync.jvm.jars import find_jars, read_jars
from deep_store_sync.jvm.process import EngineProcess
from deep_store_sync.rebuilding.limits import decide_limits, limits_line, look_at_machine
from deep_store_sync.rebuilding.local import Done, LocalRebuild, rebuild_local
from deep_store_sync.settings import EngineSettings
from deep_store_sync.spoken import spoken_bytes, spoken_seconds
from deep_store_sync.system_trouble import system_trouble
from deep_store_sync.workdir import work_folder

HELP = "rebuild a local segment, a folder or an archive, for a table config and schema; needs no cluster"

log = logging.getLogger("deep_store_sync")

_DONE = {
    Done.NOTHING: "nothing: it is as the config wants it",
    Done.PREPROCESSED: "preprocessed, as a server's reload does it",
    Done.REGENERATED: "regenerated: values were written anew",
    Done.REFUSED: "nothing: it must not be rebuilt for this config",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("source", type=Path, metavar="SEGMENT", help="a segment's folder, or its archive")
    parser.add_argument(
        "--table-config", type=Path, required=True, metavar="FILE", help="the table's config in JSON, as Pinot has it"
    )
    parser.add_argument("--schema", type=Path, required=True, metavar="FILE", help="its schema in JSON")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="folder for what is rebuilt; overwrites nothing"
    )
    parser.add_argument(
        "--jars",
        type=Path,
        metavar="FOLDER",
        help="folder with Pinot's jars (default: $DEEP_STORE_SYNC_PINOT_JARS, $PINOT_HOME, then the cache)",
    )


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Rebuild the segment; returns the exit code."""
    config, schema = _table_config(options.table_config), _json(options.schema)
    jars = read_jars(options.jars, f"{options.jars} (--jars)") if options.jars else find_jars(None, environ=environment)
    log.info("Pinot %s from %s", jars.version, jars.source)
    settings = EngineSettings()
    with work_folder(None, log) as folder, shown(f"rebuilding {options.source.name}"):
        machine = look_at_machine(folder)
        limits = decide_limits(settings, machine)
        log.info("%s", limits_line(settings, machine, limits, folder))
        engine = EngineProcess(jars, limits.heap_bytes, temp_dir=folder / "java")
        try:
            found = rebuild_local(
                options.source, config, schema, options.output, engine=engine, limits=limits, folder=folder
            )
        finally:
            engine.close()
    if options.json:
        document({**members(found), "output": found.output and str(found.output), "pinot": jars.version})
    else:
        _tell(found, jars.version)
    return UNDONE if found.done is Done.REFUSED else DONE


def _tell(found: LocalRebuild, version: str) -> None:
    heading(found.segment)
    crc = f"{found.crc} → {found.new_crc}" if found.new_crc != found.crc else f"{found.crc}, as before"
    rows = [("done", f"{_DONE[found.done]} (Pinot {version}, {spoken_seconds(found.seconds)})")]
    rows += [("why", line) for line in found.why]
    rows += [("changed", line) for line in found.changes]
    rows.append(("CRC", crc))
    if found.output is not None:
        rows.append(("size", f"{spoken_bytes(found.bytes)} → {spoken_bytes(found.new_bytes)} of files"))
        rows.append(("verified", "it holds what the original holds, and Pinot loads it"))
        rows.append(("written", str(found.output)))
    facts(rows)


def _table_config(path: Path) -> dict[str, Any]:
    """A table config, plain or as the controller answers it: by type."""
    config = _json(path)
    if "tableName" not in config and len(config) == 1:
        (config,) = config.values()
    if not isinstance(config, dict) or "tableName" not in config:
        raise ConfigError(f"{path}: this is no table config of one table: it has no tableName")
    return config


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(system_trouble(error)) from None
    except ValueError as error:
        raise ConfigError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: this is no JSON object")
    return content
