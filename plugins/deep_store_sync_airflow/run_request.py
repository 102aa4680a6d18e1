"""What a run was asked to do, read from the run's params, its kind and its data interval."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pendulum
from airflow.sdk import Context, Param

from deep_store_sync.errors import ConfigError
from deep_store_sync.model import RunRequest
from deep_store_sync.settings import TableSync

_WHAT, _HOW_MUCH = "What the run does", "How much of the table it takes"


def run_params() -> dict[str, Param]:
    """The params of a table's DAG, as the trigger form shows them."""
    return {
        "forceReload": Param(
            False,
            type="boolean",
            title="Force reload",
            description_md="Look at **every segment that has no current stamp**, whatever the servers say of it: for "
            "the first run of a table. What needs no change is only stamped. A backfill always does this.",
            section=_WHAT,
        ),
        "dryRun": Param(
            False,
            type="boolean",
            title="Dry run",
            description_md="Make the plan, and **change nothing**. The log of `report` says what a run would do, and "
            "what it would cost.",
            section=_WHAT,
        ),
        "segments": Param(
            [],
            type="array",
            items={"type": "string", "minLength": 1},
            title="Segments",
            description_md="Names or globs, one a line, such as `flights_2013-0*`: only segments that one of them "
            "fits. Empty: all.",
            section=_HOW_MUCH,
        ),
        "maxSegments": Param(
            None,
            type=["integer", "null"],
            minimum=1,
            title="Most segments",
            description_md="Work on so many segments at most, newest data first; the rest is *deferred*. Empty: no "
            "bound but those of the table's file.",
            section=_HOW_MUCH,
        ),
    }


def run_request(context: Context, settings: TableSync) -> RunRequest:
    """The request of the run that a task belongs to.

    A backfill takes the segments of its data interval, with force. The newest interval has no end: Airflow backfills
    none that is not over, and what starts later (data in the future; data without a time range, pushed since) would
    belong to no run. Every other run takes all segments, whatever its interval is: a scheduled run's interval only says
    when it is due.

    Raises:
        ConfigError: the run's configuration holds a key that is no param.
    """
    run: Any = context["dag_run"]
    params: Mapping[str, Any] = context["params"]
    known = run_params()
    unknown = sorted(set(run.conf or {}) - set(known))
    if unknown:
        raise ConfigError(f"run configuration: {', '.join(unknown)}: unknown; known are {', '.join(known)}")
    # An enum of strings in a worker, a string elsewhere: str() of the former is not its value.
    backfill = bool(run.run_type == "backfill")
    return RunRequest(
        run_id=context["run_id"],
        force=bool(params["forceReload"]) or backfill,
        dry_run=bool(params["dryRun"]),
        segments=tuple(params["segments"] or ()),
        max_segments=params["maxSegments"],
        interval=_interval(context, settings) if backfill else None,
    )


def _interval(context: Context, settings: TableSync) -> tuple[int, int | None]:
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is None or end is None:
        raise ConfigError("this backfill run has no data interval; the DAG's schedule must be a cron expression")
    run: Any = context["dag_run"]
    newest = end >= _newest_end(settings, run.start_date)
    return round(start.timestamp() * 1000), None if newest else round(end.timestamp() * 1000)


def _newest_end(settings: TableSync, now: datetime) -> datetime:
    """The end of the newest data interval that is over. `now` is Airflow's own clock, which makes the intervals."""
    from airflow.timetables.interval import CronDataIntervalTimetable

    timetable = CronDataIntervalTimetable(str(settings.schedule), settings.timezone)
    return timetable.infer_manual_data_interval(run_after=pendulum.instance(now)).end
