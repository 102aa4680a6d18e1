"""A whole run in this process, without an Airflow: the steps of the DAG, one batch after the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from deep_store_sync.find import find_stale_segments
from deep_store_sync.model import RunRequest
from deep_store_sync.pinot.activity import Looks, find_activity
from deep_store_sync.publishing.publish import upload_and_refresh
from deep_store_sync.publishing.stamping import stamp_batch
from deep_store_sync.rebuilding.rebuild import rebuild_batch
from deep_store_sync.report import RunReport, write_report
from deep_store_sync.run_progress import RunProgress
from deep_store_sync.services import Services

_LOOK_EVERY_S = 15.0


def run_table(
    services: Services,
    request: RunRequest,
    *,
    log: logging.Logger,
    watch: RunProgress | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> RunReport:
    """Sync a table as its DAG does. Interrupted, it leaves what a killed task leaves: the next run goes on from there.

    Nothing keeps a second run of the same table away, as Airflow does. Two at once cost time, and lose nothing: what
    one of them has published, the other finds changed, and leaves alone.

    Raises:
        DeepStoreSyncError: a step could not do its work. What goes wrong with one segment is in the report instead.
    """
    watch = watch or RunProgress()
    watch.note("waiting for the table to be quiet")
    wait_until_quiet(services, log=log, sleep=sleep)
    watch.note("planning")
    found = find_stale_segments(services, request, log=log)
    watch.planned(found.batches)
    for number, batch in enumerate(found.batches, start=1):
        log.info("batch %s: %d segments, %d bytes", batch.id, batch.segments, batch.bytes)
        watch.begins(number, "is rebuilt")
        rebuilt = rebuild_batch(
            services, found.plan_url, batch.id, log=log, should_stop=lambda: None, done=watch.rebuilt
        )
        if rebuilt is None:
            continue  # the run's time is over
        wait_until_quiet(services, log=log, sleep=sleep)
        watch.begins(number, "is published")
        published = upload_and_refresh(services, found.plan_url, batch.id, rebuilt, log=log, done=watch.published)
        stamp_batch(services, found.plan_url, batch.id, published, log=log)
        log.info("%s", watch.words())
    return write_report(services, found.plan_url, log=log)


def wait_until_quiet(services: Services, *, log: logging.Logger, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until nothing else works on the table: what the sensor of the DAG does.

    Raises:
        PinotError: the controller does not answer, or not what it should.
    """
    settings = services.settings
    looks = Looks()
    while True:
        report = find_activity(
            services.controller, settings.table, give_up_after_ms=settings.give_up_after_ms, looks=looks
        )
        for line in report.lines():
            log.warning("%s: %s", settings.table, line)
        if not report.active:
            return
        sleep(_LOOK_EVERY_S)
