"""A sync that is killed anywhere: nothing is lost in between, and it is brought to its end by whoever comes next.

`python -m tests.e2e.crash` is the long form of it, see there.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.crash import invariants
from tests.e2e.crash.commands import IN_SHORT, Command, Given
from tests.e2e.crash.matrix import WHEN, Matrix
from tests.e2e.crash.never_passed import uncovered, untrue
from tests.e2e.crash.runs import Runs, passed_sites
from tests.e2e.crash.scenes import PUSH_CUT_SHORT, SCENES, Scene
from tests.e2e.crash.table import CrashTable, crash_table

from pinot_sandbox import Sandbox


@pytest.fixture(scope="module")
def table(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashTable]:
    with crash_table(sandbox, tmp_path_factory.mktemp("crash-table")) as table:
        yield table


@pytest.fixture(scope="module")
def matrix(table: CrashTable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    with Runs(table.sync, tmp_path_factory.mktemp("crash")) as runs:
        yield Matrix(table, runs)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_it_is_killed_at_each_point_and_no_promise_breaks(matrix: Matrix, scene: Scene) -> None:
    matrix.chain(scene, both=False)


@pytest.mark.parametrize("command", IN_SHORT, ids=lambda command: command.name)
def test_a_command_that_is_killed_is_finished_when_it_is_given_again(matrix: Matrix, command: Command) -> None:
    Given(matrix, command).chain()


def test_every_call_in_the_source_has_been_killed_at_or_is_known_not_to_be_passed(matrix: Matrix) -> None:
    if len(matrix.done) < len(SCENES) + len(IN_SHORT):
        pytest.skip("needs all scenes and commands")
    assert matrix.not_killed() == []
    killed = matrix.killed_sites()
    assert [site.name for site in uncovered(matrix.sites, killed)] == []
    assert [excuse.why for excuse in untrue(matrix.sites, killed)] == []
    both = {
        site for point, when in matrix.killed.items() if when == set(WHEN) for site in passed_sites(point, matrix.sites)
    }
    print(f"{len(matrix.killed)} points of {len(killed)} sites, {sum(matrix.kills.values())} kills, {len(both)} both")


def test_a_server_that_starts_between_object_and_zookeeper_has_all_rows(matrix: Matrix, table: CrashTable) -> None:
    if not any(filter(PUSH_CUT_SHORT.died_at, matrix.passed)):
        pytest.skip("needs the scene of a refresh")
    matrix.set(PUSH_CUT_SHORT)
    first, second = table.sync.sandbox.servers
    table.sync.sandbox.restart_server(first, wipe=True)
    table.sync.sandbox.stop_server(second)
    assert table.query() == table.answers
    table.sync.sandbox.start_server(second)
    assert invariants.problems(table) == []
    matrix.finish(PUSH_CUT_SHORT)


def test_nothing_is_left_on_the_worker(matrix: Matrix) -> None:
    assert matrix.leftovers() == []
