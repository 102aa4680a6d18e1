"""What a run was asked to do, read from the run's params, its kind and its data interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Context, Param

from deep_store_sync.errors import ConfigError
from deep_store_sync.model import RunRequest


def run_params() -> dict[str, Param]:
    """The params of a table's DAG, as the trigger form shows them."""
    return {
        "forceReload": Param(
            False,
            type="boolean",
            title="Force reload",
            description="Look at every segment whose stamp is not current, whatever the servers say of it. For the "
            "first run of a table. What needs no change is only stamped. A backfill always does this.",
        ),
        "dryRun": Param(
            False,
            type="boolean",
            title="Dry run",
            description="Make the plan and report it, and change nothing.",
        ),
        "segments": Param(
            [],
            type="array",
            items={"type": "string", "minLength": 1},
            title="Segments",
            description="Names or globs (flights_2013-0*), one a line: only the segments that match one. Empty: all.",
        ),
        "maxSegments": Param(
            None,
            type=["integer", "null"],
            minimum=1,
            title="Most segments",
            description="Work on this many segments at most, newest data first. Empty: no limit.",
        ),
    }


def run_request(context: Context) -> RunRequest:
    """The request of the run that a task belongs to.

    A backfill takes the segments of its data interval, with force. Every other run takes all segments, whatever its
    interval is: a scheduled run's interval only says when it is due.

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
        interval=_interval(context) if backfill else None,
    )


def _interval(context: Context) -> tuple[int, int]:
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is None or end is None:
        raise ConfigError("this backfill run has no data interval; the DAG's schedule must be a cron expression")
    return round(start.timestamp() * 1000), round(end.timestamp() * 1000)
