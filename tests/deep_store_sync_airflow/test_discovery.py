"""Discovery in Airflow: the DAG that asks, the variable that keeps, the DAGs that follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, CronDataIntervalTimetable, Variable
from airflow.sdk.exceptions import AirflowFailException, AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms, task_runner
from airflow.serialization.serialized_objects import DagSerialization
from tests.deep_store_sync_airflow.fake_controller import FakeController

from deep_store_sync.errors import PinotUnavailableError
from deep_store_sync.table_files import LoadedDiscovery, load_files
from deep_store_sync_airflow.dag_factory import TAGS, broken_tables, build_dags, build_discovery_dag
from deep_store_sync_airflow.operators.list_tables import ListTables

SHARED = "deepStorePrefixes: [s3://pinot/deepstore]\nworkspace: s3://pinot/deep-store-sync\nretries: 0\n"
VARIABLE = "deep_store_sync_tables__all"
DISCOVER = "deep_store_sync__discover__all"


@pytest.fixture
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Airflow's variables, on a machine that has read none yet."""
    values: dict[str, str] = {}
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow home"))
    monkeypatch.setattr(Variable, "get", lambda key, default=None: values.get(key, default))
    monkeypatch.setattr(Variable, "keys", lambda prefix=None: [key for key in values if key.startswith(prefix or "")])
    monkeypatch.setattr(Variable, "set", lambda key, value, description=None: values.update({key: value}))
    return values


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "all.yaml").write_text(f"discover: true\nexclude: [tmp_*]\nmaxTables: 3\n{SHARED}")
    (tmp_path / "own.yaml").write_text(f"table: own_OFFLINE\nschedule: null\n{SHARED}")
    return tmp_path


def discovery(folder: Path) -> LoadedDiscovery:
    (found,) = [file for file in load_files(folder) if isinstance(file, LoadedDiscovery)]
    return found


def dags(folder: Path, **options: Any) -> dict[str, DAG]:
    return {dag.dag_id: dag for dag in build_dags(folder, **options)}


def test_before_anything_is_found(folder: Path, variables: dict[str, str]) -> None:
    assert sorted(dags(folder)) == [DISCOVER, "deep_store_sync__own_OFFLINE"]


def test_a_dag_for_each_table_that_was_found(folder: Path, variables: dict[str, str]) -> None:
    variables[VARIABLE] = '["own_OFFLINE", "b_REALTIME", "tmp_a_OFFLINE"]'
    found = dags(folder)
    assert sorted(found) == ["deep_store_sync__b_REALTIME", DISCOVER, "deep_store_sync__own_OFFLINE"]
    assert found["deep_store_sync__own_OFFLINE"].schedule is None  # its own file's
    assert isinstance(found["deep_store_sync__b_REALTIME"].timetable, CronDataIntervalTimetable)
    # What is covered without a deploy begins without a click; an own file leaves that to Airflow's configuration.
    assert found["deep_store_sync__b_REALTIME"].is_paused_upon_creation is False
    assert found["deep_store_sync__own_OFFLINE"].is_paused_upon_creation is None
    assert broken_tables(folder) == []
    for dag in found.values():
        assert set(TAGS) <= dag.tags
        DagSerialization.to_dict(dag)


def test_who_wants_to_look_first_can(folder: Path, variables: dict[str, str]) -> None:
    (folder / "all.yaml").write_text(f"discover: true\nstartPaused: true\n{SHARED}")
    variables[VARIABLE] = '["b_REALTIME"]'
    assert dags(folder)["deep_store_sync__b_REALTIME"].is_paused_upon_creation is True


def test_a_task_looks_up_no_variable_but_for_a_table_that_two_may_have_found(
    folder: Path, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Variable, "get", lambda key, default=None: asked.append(key) or variables.get(key, default))
    for dag_id in ("deep_store_sync__own_OFFLINE", DISCOVER, "deep_store_sync__b_REALTIME"):
        assert list(dags(folder, only=dag_id)) == [dag_id]
    assert asked == []
    (folder / "more.yaml").write_text(
        f"discover: true\ninclude: [b_*]\nretries: 7\n{SHARED}".replace("retries: 0\n", "")
    )
    assert list(dags(folder, only="deep_store_sync__c_REALTIME")) == ["deep_store_sync__c_REALTIME"]
    assert asked == []
    variables["deep_store_sync_tables__more"] = '["b_REALTIME"]'
    (dag,) = dags(folder, only="deep_store_sync__b_REALTIME").values()
    assert dag.default_args["retries"] == 7
    assert set(asked) == {VARIABLE, "deep_store_sync_tables__more"}
    assert dags(folder, only="deep_store_sync__tmp_a_OFFLINE") == {}


# --- a look-up that fails --------------------------------------------------------------------------------------------


class FakeSupervisor:
    """Answers a parse as Airflow does, also while its database is `away`: for `values`, or for `all`."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.away = ""

    def send(self, message: Any) -> Any:
        if isinstance(message, comms.GetVariable):
            if message.key in self.values and not self.away:
                return comms.VariableResult(key=message.key, value=self.values[message.key])
            kind = ErrorType.API_SERVER_ERROR if self.away else ErrorType.VARIABLE_NOT_FOUND
            return comms.ErrorResponse(error=kind)
        if isinstance(message, comms.GetVariableKeys):
            if self.away == "all":
                raise AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR))
            keys = [key for key in self.values if key.startswith(message.prefix or "")]
            return comms.VariableKeysResult(keys=keys, total_entries=len(keys))
        assert isinstance(message, comms.MaskSecret)
        return None


class FakeNoSupervisor:
    """What listing variables meets where nobody answers it."""

    def __call__(self, prefix: str | None = None) -> list[str]:
        raise ImportError("cannot import name 'SUPERVISOR_COMMS'")


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSupervisor:
    """What a parse asks for variables, on a machine that has read none yet."""
    supervisor = FakeSupervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow home"))
    return supervisor


ALL = [DISCOVER, "deep_store_sync__own_OFFLINE"]


@pytest.mark.parametrize("away", ["values", "all"])
def test_a_look_up_that_fails_takes_no_dag_away(
    folder: Path, supervisor: FakeSupervisor, away: str, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.values[VARIABLE] = '["b_REALTIME"]'
    found = sorted(dags(folder))
    assert found == sorted(["deep_store_sync__b_REALTIME", *ALL])
    supervisor.away = away
    assert Variable.get(VARIABLE, default=None) is None  # as if there were none
    assert sorted(dags(folder)) == found
    assert broken_tables(folder) == []
    assert f"all.yaml: the Airflow variable {VARIABLE} could not be looked up" in caplog.text
    assert "the 1 tables of the last time stay" in caplog.text
    assert list(dags(folder, only="deep_store_sync__b_REALTIME")) == ["deep_store_sync__b_REALTIME"]
    # It was newer than what a machine kept: that is what counts as soon as Airflow gives it.
    supervisor.values[VARIABLE] = '["c_OFFLINE"]'
    supervisor.away = ""
    assert sorted(dags(folder)) == sorted(["deep_store_sync__c_OFFLINE", *ALL])


@pytest.mark.parametrize("away", ["values", "all"])
def test_where_nothing_was_read_before_it_is_an_error_of_that_file_alone(
    folder: Path, supervisor: FakeSupervisor, away: str
) -> None:
    supervisor.values[VARIABLE] = '["b_REALTIME"]'
    supervisor.away = away
    assert sorted(dags(folder)) == sorted(["deep_store_sync__broken__all.yaml", *ALL])
    (wrong,) = broken_tables(folder)
    assert f"all.yaml: the Airflow variable {VARIABLE} could not be looked up" in wrong
    assert "tried again with the next parse" in wrong
    # A task is not held up by it.
    assert list(dags(folder, only="deep_store_sync__b_REALTIME")) == ["deep_store_sync__b_REALTIME"]


def test_a_variable_that_is_not_there_is_no_failure(folder: Path, supervisor: FakeSupervisor) -> None:
    assert sorted(dags(folder)) == ALL
    supervisor.values[VARIABLE] = '["b_REALTIME"]'
    assert len(dags(folder)) == 3
    del supervisor.values[VARIABLE]
    assert sorted(dags(folder)) == ALL
    assert broken_tables(folder) == []


def test_where_nobody_tells_what_was_kept_stays(
    folder: Path, supervisor: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor.values[VARIABLE] = '["b_REALTIME"]'
    found = sorted(dags(folder))
    # As in Airflow's own server, or in a command that reads DAG files: a look-up that fails gives the default.
    monkeypatch.setattr(Variable, "get", lambda key, default=None: default)
    monkeypatch.setattr(Variable, "keys", FakeNoSupervisor())
    assert sorted(dags(folder)) == found


def test_what_was_kept_and_is_unreadable_counts_as_nothing(
    folder: Path, supervisor: FakeSupervisor, tmp_path: Path
) -> None:
    supervisor.values[VARIABLE] = '["b_REALTIME"]'
    (tmp_path / "airflow home").write_text("no folder")
    assert len(dags(folder)) == 3  # nothing can be kept, and nothing has to be
    supervisor.away = "all"
    assert "could not be looked up" in broken_tables(folder)[0]


def test_a_discovery_whose_list_cannot_be_looked_up_is_tried_again(
    folder: Path, supervisor: FakeSupervisor, controller: FakeController
) -> None:
    supervisor.values[VARIABLE] = '["b_REALTIME"]'
    supervisor.away = "all"
    tables(controller, "a_OFFLINE")
    with pytest.raises(AirflowRuntimeError):
        ask(folder)
    supervisor.away = "values"
    with pytest.raises(LookupError, match="does not give it"):
        ask(folder)


def test_a_folder_without_discovery_looks_up_no_variable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "all.yaml").unlink()
    monkeypatch.setattr(Variable, "get", None)
    assert list(dags(folder)) == ["deep_store_sync__own_OFFLINE"]
    assert broken_tables(folder) == []


def test_a_list_that_somebody_has_broken_says_so(folder: Path, variables: dict[str, str]) -> None:
    variables[VARIABLE] = "b_REALTIME"
    assert sorted(dags(folder)) == ["deep_store_sync__broken__all.yaml", DISCOVER, "deep_store_sync__own_OFFLINE"]
    (wrong,) = broken_tables(folder)
    assert f"all.yaml: the Airflow variable {VARIABLE}: it is not a JSON array" in wrong
    assert "delete it and run the discovery" in wrong


def test_options_go_to_every_dag(folder: Path, variables: dict[str, str]) -> None:
    variables[VARIABLE] = '["b_REALTIME"]'
    (folder / "wrong.yaml").write_text("table: wrong_OFFLINE\n")
    found = dags(folder, max_consecutive_failed_dag_runs=7, is_paused_upon_creation=True)
    assert len(found) == 4
    assert {dag.max_consecutive_failed_dag_runs for dag in found.values()} == {7}
    assert {dag.is_paused_upon_creation for dag in found.values()} == {True}


# --- the DAG that asks -----------------------------------------------------------------------------------------------


def test_its_schedule(folder: Path) -> None:
    dag = build_discovery_dag(discovery(folder))
    assert isinstance(dag.timetable, CronDataIntervalTimetable)
    assert dag.timetable.expression == "0 * * * *"
    assert dag.is_paused_upon_creation is False
    assert not dag.catchup
    (folder / "all.yaml").write_text(f"discover: true\ndiscoverSchedule: null\ntimezone: Europe/Berlin\n{SHARED}")
    assert build_discovery_dag(discovery(folder)).schedule is None


def tables(controller: FakeController, *names: str) -> None:
    """Lets the fake controller have these tables."""
    controller.answers["/tables of OFFLINE"] = (200, {"tables": [name for name in names if "OFFLINE" in name]})
    controller.answers["/tables of REALTIME"] = (200, {"tables": [name for name in names if "REALTIME" in name]})


def ask(folder: Path) -> dict[str, Any]:
    context: Any = {}
    return ListTables(task_id="list_tables", discovery=discovery(folder)).execute(context)


def test_it_keeps_what_the_controller_lists(
    folder: Path, controller: FakeController, variables: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    tables(controller, "a_OFFLINE", "b_REALTIME", "tmp_c_OFFLINE")
    assert ask(folder) == {"tables": 2, "new": ["a_OFFLINE", "b_REALTIME"], "gone": []}
    assert json.loads(variables[VARIABLE]) == ["a_OFFLINE", "b_REALTIME"]
    assert "deep_store_sync__a_OFFLINE" in dags(folder)
    tables(controller, "a_OFFLINE")
    assert ask(folder) == {"tables": 1, "new": [], "gone": ["b_REALTIME"]}
    assert "gone, so that it has no DAG any more: b_REALTIME" in caplog.text
    assert sorted(dags(folder)) == ["deep_store_sync__a_OFFLINE", DISCOVER, "deep_store_sync__own_OFFLINE"]


def test_nothing_is_written_where_nothing_changed(
    folder: Path, controller: FakeController, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables(controller, "a_OFFLINE")
    ask(folder)
    monkeypatch.setattr(Variable, "set", None)
    assert ask(folder) == {"tables": 1, "new": [], "gone": []}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((503, {"code": 503, "error": "away"}), PinotUnavailableError),
        ((401, {"code": 401, "error": "who are you"}), AirflowFailException),
        ((200, {"tables": "login"}), AirflowFailException),
        ((200, {"tables": []}), AirflowFailException),
        ((200, {"tables": [f"t{number}_OFFLINE" for number in range(4)]}), AirflowFailException),
    ],
    ids=["unavailable", "refused", "something else", "none", "too many"],
)
def test_a_bad_answer_leaves_the_list_alone(
    folder: Path,
    controller: FakeController,
    variables: dict[str, str],
    answer: tuple[int, Any],
    error: type[Exception],
) -> None:
    variables[VARIABLE] = before = '["a_OFFLINE"]'
    tables(controller)
    controller.answers["/tables of OFFLINE"] = answer
    with pytest.raises(error):
        ask(folder)
    assert variables == {VARIABLE: before}
    assert "deep_store_sync__a_OFFLINE" in dags(folder)


def test_a_broken_list_is_made_anew(folder: Path, controller: FakeController, variables: dict[str, str]) -> None:
    variables[VARIABLE] = "whatever"
    tables(controller, "a_OFFLINE")
    assert ask(folder)["tables"] == 1
    assert json.loads(variables[VARIABLE]) == ["a_OFFLINE"]
