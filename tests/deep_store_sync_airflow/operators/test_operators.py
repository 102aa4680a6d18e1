"""The operators are thin: tested is what they hand to the core, and what they make of its answers and errors."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from tests.deep_store_sync_airflow.run_reports import DRY_RUN, REPORT
from tests.deep_store_sync_airflow.run_reports import report as run_report

from deep_store_sync import find, report
from deep_store_sync.errors import ConfigError, PinotUnavailableError
from deep_store_sync.model import RunRequest
from deep_store_sync.publishing import publish, stamping
from deep_store_sync.rebuilding import rebuild
from deep_store_sync.settings import TableSync
from deep_store_sync.upkeep import retention
from deep_store_sync_airflow.operators import rebuild_segment
from deep_store_sync_airflow.operators import report as report_step
from deep_store_sync_airflow.operators.base import Batch
from deep_store_sync_airflow.operators.find_stale_segments import FindStaleSegments
from deep_store_sync_airflow.operators.rebuild_segment import RebuildSegment
from deep_store_sync_airflow.operators.report import WriteReport
from deep_store_sync_airflow.operators.stamp_hash import StampHash
from deep_store_sync_airflow.operators.upload_and_refresh import UploadAndRefresh

PLAN = "s3://pinot/deep-store-sync/flights_OFFLINE/run/plan.parquet"
BATCH: Batch = {"id": "b0001", "plan": PLAN}
FAKE_SERVICES = object()


class FakeTaskInstance:
    try_number = 1
    max_tries = 3

    def __init__(self, **xcoms: Any) -> None:
        self.xcoms = xcoms

    def xcom_push(self, *, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, *, task_ids: str, key: str) -> Any:
        assert task_ids == "find_stale_segments"
        return self.xcoms.get(key)


@pytest.fixture
def context() -> Any:
    return {
        "ti": FakeTaskInstance(),
        "run_id": "r",
        "params": {"forceReload": True, "dryRun": False, "segments": [], "maxSegments": None},
        "dag_run": SimpleNamespace(run_type="manual", conf={"forceReload": True}),
    }


@pytest.fixture(autouse=True)
def fake_services(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name in ("find_stale_segments", "rebuild_segment", "upload_and_refresh", "stamp_hash", "report"):
        module = sys.modules[f"deep_store_sync_airflow.operators.{name}"]
        monkeypatch.setattr(module, "open_services", lambda _: nullcontext(FAKE_SERVICES))


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Airflow's variables."""
    values: dict[str, str] = {}
    monkeypatch.setattr(Variable, "get", lambda key, default=None: values.get(key, default))
    return values


Fake = Callable[..., Any]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Puts something in the place of a core function and returns the list of its calls' arguments."""

    def put(module: Any, name: str, answer: Any) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append((args, kwargs))
            if isinstance(answer, Exception):
                raise answer
            return answer(*args, **kwargs) if callable(answer) else answer

        monkeypatch.setattr(module, name, call)
        return calls

    return put


def test_find(settings: TableSync, context: Any, fake: Fake) -> None:
    batches = (SimpleNamespace(id="b0001"), SimpleNamespace(id="b0002"))
    found = SimpleNamespace(plan_url=PLAN, batches=batches, names=("b0001: a … b", "b0002: c"))
    calls = fake(find, "find_stale_segments", found)
    got = FindStaleSegments(task_id="t", settings=settings).execute(context)
    assert got == [
        {"id": "b0001", "plan": PLAN, "name": "b0001: a … b"},
        {"id": "b0002", "plan": PLAN, "name": "b0002: c"},
    ]
    assert context["ti"].xcoms == {"plan": PLAN}
    ((services, request), options) = calls[0]
    assert services is FAKE_SERVICES
    assert request == RunRequest("r", force=True)
    assert isinstance(options["log"], logging.Logger)


def test_find_with_nothing_to_do_still_tells_the_plan(settings: TableSync, context: Any, fake: Fake) -> None:
    fake(find, "find_stale_segments", SimpleNamespace(plan_url=PLAN, batches=(), names=()))
    assert FindStaleSegments(task_id="t", settings=settings).execute(context) == []
    assert context["ti"].xcoms == {"plan": PLAN}


def test_a_misspelled_run_configuration_fails_for_good(settings: TableSync, context: Any, fake: Fake) -> None:
    calls = fake(find, "find_stale_segments", None)
    context["dag_run"].conf = {"forceRelaod": True}
    with pytest.raises(AirflowFailException, match="ConfigError: run configuration: forceRelaod: unknown"):
        FindStaleSegments(task_id="t", settings=settings).execute(context)
    assert calls == []


def test_rebuild(settings: TableSync, context: Any, fake: Fake) -> None:
    calls = fake(rebuild, "rebuild_batch", "s3://rebuilt")
    operator = RebuildSegment(task_id="t", settings=settings, batch=BATCH)
    assert operator.execute(context) == "s3://rebuilt"
    args, options = calls[0]
    assert args == (FAKE_SERVICES, PLAN, "b0001")
    assert options["should_stop"]() is None
    operator.on_kill()
    assert options["should_stop"]() == "the task was cancelled"


def test_a_batch_that_the_run_has_no_time_for_is_skipped(settings: TableSync, context: Any, fake: Fake) -> None:
    fake(rebuild, "rebuild_batch", None)
    with pytest.raises(AirflowSkipException, match="maxRunTime"):
        RebuildSegment(task_id="t", settings=settings, batch=BATCH).execute(context)


@pytest.mark.parametrize(("tries", "last"), [((1, 3), False), ((3, 3), False), ((4, 3), True), ((1, 0), True)])
def test_the_core_is_told_whether_this_is_the_last_try(
    settings: TableSync, context: Any, fake: Fake, tries: tuple[int, int], last: bool
) -> None:
    """As Airflow decides it: `max_tries` are those after the first one."""
    context["ti"].try_number, context["ti"].max_tries = tries
    rebuilt = fake(rebuild, "rebuild_batch", "s3://rebuilt")
    published = fake(publish, "upload_and_refresh", "s3://published")
    RebuildSegment(task_id="t", settings=settings, batch=BATCH).execute(context)
    UploadAndRefresh(task_id="t", settings=settings, batch=BATCH, rebuilt="s3://rebuilt").execute(context)
    assert [options["last_try"] for _, options in (*rebuilt, *published)] == [last, last]


def test_the_kill_switch_stops_a_rebuild_that_is_under_way(
    settings: TableSync, context: Any, fake: Fake, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake(rebuild, "rebuild_batch", "s3://rebuilt")
    now = [0.0]
    monkeypatch.setattr(rebuild_segment.time, "monotonic", lambda: now[0])
    RebuildSegment(task_id="t", settings=settings, batch=BATCH).execute(context)
    should_stop = calls[0][1]["should_stop"]
    variables["deep_store_sync_stop"] = "disks are full"
    assert should_stop() is None  # it is asked several times a second, and looks twice a minute
    now[0] = 30.0
    assert "set to 'disks are full'" in should_stop()
    assert should_stop() is None


def test_publish(settings: TableSync, context: Any, fake: Fake, variables: dict[str, str]) -> None:
    calls = fake(publish, "upload_and_refresh", "s3://published")
    operator = UploadAndRefresh(task_id="t", settings=settings, batch=BATCH, rebuilt="s3://rebuilt")
    assert operator.execute(context) == "s3://published"
    args, options = calls[0]
    assert args == (FAKE_SERVICES, PLAN, "b0001", "s3://rebuilt")
    should_stop = options["should_stop"]
    assert should_stop() is None
    variables["deep_store_sync_stop"] = "disks are full"
    assert should_stop() == "the Airflow variable deep_store_sync_stop is set to 'disks are full'; delete it to go on"
    variables.clear()
    operator.on_kill()
    assert should_stop() == "the task was cancelled"


@pytest.mark.parametrize(
    ("name", "value", "stops"),
    [
        ("deep_store_sync_stop", "true", True),
        ("deep_store_sync_stop__flights_OFFLINE", "1", True),
        ("deep_store_sync_stop__other_OFFLINE", "1", False),
        ("deep_store_sync_stop", "False", False),
        ("deep_store_sync_stop", " ", False),
    ],
)
def test_the_kill_switch_stops_before_a_rebuild(
    settings: TableSync, context: Any, fake: Fake, variables: dict[str, str], name: str, value: str, stops: bool
) -> None:
    calls = fake(rebuild, "rebuild_batch", "s3://rebuilt")
    variables[name] = value
    operator = RebuildSegment(task_id="t", settings=settings, batch=BATCH)
    with pytest.raises(AirflowFailException, match=name) if stops else nullcontext():
        operator.execute(context)
    assert len(calls) == (0 if stops else 1)


def test_stamp(settings: TableSync, context: Any, fake: Fake) -> None:
    calls = fake(stamping, "stamp_batch", "s3://stamped")
    operator = StampHash(task_id="t", settings=settings, batch=BATCH, published="s3://published")
    assert operator.execute(context) == "s3://stamped"
    assert calls[0][0] == (FAKE_SERVICES, PLAN, "b0001", "s3://published")


def test_report(settings: TableSync, context: Any, fake: Fake) -> None:
    context["ti"].xcoms["plan"] = PLAN
    calls = fake(report, "write_report", REPORT)
    collected = fake(retention, "collect", None)
    told = fake(report_step, "tell_asset", None)
    operator = WriteReport(task_id="t", settings=settings, plan_task_id="find_stale_segments")
    assert operator.execute(context) == operator.report_url == REPORT.url
    assert calls[0][0] == collected[0][0] == (FAKE_SERVICES, PLAN)
    assert context["ti"].xcoms["summary"].startswith("12 synced")
    assert told[0][0] == (context, settings, RunRequest("r", force=True), REPORT)


def test_a_dry_run_writes_no_report_and_removes_nothing(settings: TableSync, context: Any, fake: Fake) -> None:
    context["ti"].xcoms["plan"] = PLAN
    fake(report, "write_report", DRY_RUN)
    collected = fake(retention, "collect", None)
    told = fake(report_step, "tell_asset", None)
    WriteReport(task_id="t", settings=settings, plan_task_id="find_stale_segments").execute(context)
    assert collected == told == []
    assert context["ti"].xcoms["summary"] == "dry run: nothing to do"


def test_report_fails_when_anything_was_left_undone(settings: TableSync, context: Any, fake: Fake) -> None:
    context["ti"].xcoms["plan"] = PLAN
    undone = tuple(f"segment {number} failed" for number in range(25))
    fake(report, "write_report", run_report(url="s3://report", undone=undone))
    fake(retention, "collect", None)
    told = fake(report_step, "tell_asset", None)
    with pytest.raises(AirflowFailException) as error:
        WriteReport(task_id="t", settings=settings, plan_task_id="find_stale_segments").execute(context)
    lines = str(error.value).splitlines()
    assert lines[0] == "left undone:"
    assert lines[1] == "  segment 0 failed"
    assert lines[-2:] == ["  … and 5 more", "The whole report: s3://report"]
    assert len(told) == 1


def test_report_fails_without_a_plan(settings: TableSync, context: Any, fake: Fake) -> None:
    calls = fake(report, "write_report", None)
    with pytest.raises(AirflowFailException, match=r"there is no plan\. The log of find_stale_segments"):
        WriteReport(task_id="t", settings=settings, plan_task_id="find_stale_segments").execute(context)
    assert calls == []


CORE = [
    (find, "find_stale_segments"),
    (rebuild, "rebuild_batch"),
    (publish, "upload_and_refresh"),
    (stamping, "stamp_batch"),
    (report, "write_report"),
]


def operators(settings: TableSync) -> list[Any]:
    return [
        FindStaleSegments(task_id="t", settings=settings),
        RebuildSegment(task_id="t", settings=settings, batch=BATCH),
        UploadAndRefresh(task_id="t", settings=settings, batch=BATCH, rebuilt=""),
        StampHash(task_id="t", settings=settings, batch=BATCH, published=""),
        WriteReport(task_id="t", settings=settings, plan_task_id="find_stale_segments"),
    ]


@pytest.mark.parametrize("step", range(len(CORE)))
def test_what_may_pass_is_tried_again_and_the_rest_is_not(
    settings: TableSync, context: Any, fake: Fake, step: int
) -> None:
    context["ti"].xcoms["plan"] = PLAN
    fake(*CORE[step], PinotUnavailableError("no answer"))
    with pytest.raises(PinotUnavailableError, match="no answer"):
        operators(settings)[step].execute(context)
    fake(*CORE[step], ConfigError("wrong bucket; correct it"))
    with pytest.raises(AirflowFailException, match="ConfigError: wrong bucket; correct it"):
        operators(settings)[step].execute(context)
