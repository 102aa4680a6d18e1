"""How fast finished runs of a table went, by what they left in the workspace."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from typing import BinaryIO, cast

import pyarrow.compute as pc

from deep_store_sync.errors import DeepStoreError, ObjectNotFoundError
from deep_store_sync.estimate import Pace
from deep_store_sync.model import SegmentOutcome
from deep_store_sync.rows import parquet_file
from deep_store_sync.services import Services
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.store.object_file import ObjectFile
from deep_store_sync.workspace import Workspace

# Of each kind of run (scheduled, manual, backfill, shell) so many of the last ones are looked at: ids begin with the
# kind, and go on with the date.
_OF_A_KIND = 5


def known_pace(services: Services, log: logging.Logger) -> Pace | None:
    """What the last runs of a table came to that wrote a report and downloaded anything.

    None without any, or where they cannot be read, which is logged: an estimate can do without.
    """
    store, settings = services.store, services.settings
    try:
        found = list(_finished(store, Workspace.runs_url(settings.workspace, settings.table)))
    except DeepStoreError as error:
        log.warning("past runs cannot be read, so that nobody knows how long it takes: %s", error)
        return None
    if not found:
        return None
    return Pace(len(found), sum(size for size, _ in found), sum(seconds for _, seconds in found))


def _finished(store: DeepStore, runs_url: str) -> Iterator[tuple[int, float]]:
    """Bytes that were downloaded, and seconds from plan to report, by the store's clock."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for url in store.folders(runs_url):
        kind, marked, _ = url.rstrip("/").rpartition("/")[2].partition("__")
        kinds[kind if marked else ""].append(url)
    for urls in kinds.values():
        for url in sorted(urls)[-_OF_A_KIND:]:
            for folder in sorted(store.folders(url), key=lambda name: (len(name), name))[-1:]:
                if (of_run := _of_run(store, Workspace(store, folder))) is not None:
                    yield of_run


def _of_run(store: DeepStore, place: Workspace) -> tuple[int, float] | None:
    try:
        began, ended = (store.head(url).last_modified for url in (place.plan_url, place.report_url))
        if began is None or ended is None or ended <= began:
            return None
        file = parquet_file(cast(BinaryIO, ObjectFile(store, place.report_url)), SegmentOutcome)
    except ObjectNotFoundError:
        return None  # a dry run, or one that is at work, or dead
    size = 0
    for group in range(file.num_row_groups):
        columns = file.read_row_group(group, columns=["object_bytes"], use_threads=False)
        size += pc.sum(columns.column(0)).as_py() or 0
    return (size, (ended - began).total_seconds()) if size else None
