from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import ParamsDict
from airflow.sdk.api.datamodels._generated import DagRunType

from deep_store_sync.errors import ConfigError
from deep_store_sync.model import RunRequest
from deep_store_sync.settings import TableSync
from deep_store_sync_airflow.run_request import run_params, run_request

START, END = datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 2, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 23, 0, tzinfo=UTC)
TABLE = TableSync(table="t_OFFLINE", deep_store_prefixes=("s3://b/d",), workspace="s3://b/w", schedule="0 0 1 * *")


def context(run_type: str = "manual", conf: dict[str, Any] | None = None, **more: Any) -> Any:
    params = ParamsDict(run_params())
    params.update(conf or {})
    return {
        "run_id": "run 1",
        "params": params.validate(),
        "dag_run": SimpleNamespace(run_type=run_type, conf=conf, start_date=NOW),
        **more,
    }


def test_nothing_asked_for() -> None:
    assert run_request(context(), TABLE) == RunRequest("run 1")


def test_everything_asked_for() -> None:
    conf = {"forceReload": True, "dryRun": True, "segments": ["a*", "b"], "maxSegments": 3}
    assert run_request(context(conf=conf), TABLE) == RunRequest(
        "run 1", force=True, dry_run=True, segments=("a*", "b"), max_segments=3
    )


@pytest.mark.parametrize("run_type", ["manual", "scheduled"])
def test_only_a_backfill_is_bounded_by_its_interval(run_type: str) -> None:
    got = run_request(context(run_type, data_interval_start=START, data_interval_end=END), TABLE)
    assert got.interval is None
    assert not got.force


@pytest.mark.parametrize("run_type", ["backfill", DagRunType.BACKFILL])
def test_a_backfill_forces_its_interval(run_type: str) -> None:
    """A worker gets the run's type as an enum, whose str() is not its value."""
    got = run_request(context(run_type, data_interval_start=START, data_interval_end=END), TABLE)
    assert got == RunRequest("run 1", force=True, interval=(1356998400000, 1359676800000))


@pytest.mark.parametrize(
    ("timezone", "end", "newest"),
    [
        ("UTC", datetime(2026, 11, 1, tzinfo=UTC), True),
        ("UTC", datetime(2026, 10, 1, tzinfo=UTC), False),
        # In Tokyo, it is November from 15:00 UTC on.
        ("Asia/Tokyo", datetime(2026, 10, 31, 15, tzinfo=UTC), True),
        ("Asia/Tokyo", datetime(2026, 9, 30, 15, tzinfo=UTC), False),
    ],
)
def test_the_newest_interval_of_a_backfill_has_no_end(timezone: str, end: datetime, newest: bool) -> None:
    table = TABLE.model_copy(update={"timezone": timezone})
    got = run_request(context("backfill", data_interval_start=START, data_interval_end=end), table).interval
    assert got == (1356998400000, None if newest else round(end.timestamp() * 1000))


def test_a_backfill_without_interval_is_refused() -> None:
    with pytest.raises(ConfigError, match="no data interval"):
        run_request(context("backfill", data_interval_start=None), TABLE)


def test_a_misspelled_key_is_refused() -> None:
    wrong = context()
    wrong["dag_run"].conf = {"forcereload": True}
    with pytest.raises(ConfigError, match="forcereload: unknown; known are forceReload, dryRun, segments, maxSegments"):
        run_request(wrong, TABLE)


@pytest.mark.parametrize("conf", [{"maxSegments": 0}, {"segments": "a*"}, {"forceReload": "yes"}, {"segments": [""]}])
def test_airflow_refuses_wrong_values(conf: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Invalid input for param"):
        context(conf=conf)


def test_every_param_is_described() -> None:
    for param in run_params().values():
        assert param.schema["title"]
        assert param.schema["section"]
        assert len(param.schema["description_md"]) > 40
