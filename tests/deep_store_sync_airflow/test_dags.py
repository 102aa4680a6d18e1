"""The DAG files, as Airflow loads them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from airflow._shared.module_loading.file_discovery import find_path_from_directory
from airflow.dag_processing.dagbag import DagBag

DAGS = Path(__file__).resolve().parents[2] / "dags"
GOOD = """\
table: {table}
deepStorePrefixes: [s3://pinot/deepstore]
workspace: s3://pinot/deep-store-sync
"""


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEEP_STORE_SYNC_TABLES", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def javas_signal() -> Iterator[None]:
    before = signal.getsignal(signal.SIGSEGV)
    yield
    assert signal.getsignal(signal.SIGSEGV) == before


def load() -> DagBag:
    """Read them in a thread, where Airflow cannot take SIGSEGV for itself.

    It would keep it for good, and Java, which other tests start in this process, lives by it: where a Java reference is
    null, Java would fault for ever.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(DagBag, DAGS, bundle_path=DAGS).result()


def test_the_tables_of_the_repository() -> None:
    bag = load()
    assert bag.import_errors == {}
    assert set(bag.dags) == {"deep_store_sync__flights_OFFLINE"}


def test_a_broken_file_is_an_import_error_that_hides_no_dag(tables: Path) -> None:
    (tables / "a.yaml").write_text(GOOD.format(table="a_OFFLINE"))
    (tables / "b.yaml").write_text(f"{GOOD.format(table='b_OFFLINE')}batchByts: 1\n")
    bag = load()
    assert set(bag.dags) == {"deep_store_sync__a_OFFLINE", "deep_store_sync__b_OFFLINE"}
    # Airflow hides every DAG of a file that it has an import error for.
    assert {dag.relative_fileloc for dag in bag.dags.values()} == {"deep_store_sync.py"}
    assert set(bag.import_errors) == {"deep_store_sync_broken_tables.py"}
    (error,) = bag.import_errors.values()
    assert f"{tables / 'b.yaml'}: batchByts: unknown setting; did you mean batchBytes?" in error


def test_no_tables(tables: Path) -> None:
    bag = load()
    assert bag.import_errors == {}
    assert bag.dags == {}


def test_no_folder(tables: Path) -> None:
    tables.rmdir()
    bag = load()
    assert set(bag.import_errors) == {"deep_store_sync.py", "deep_store_sync_broken_tables.py"}
    assert all("DEEP_STORE_SYNC_TABLES has to name" in error for error in bag.import_errors.values())


def test_the_dag_files_are_thin() -> None:
    assert all(len(file.read_text().splitlines()) < 20 for file in DAGS.glob("*.py"))


# Airflow 3.3.2 reads .airflowignore with a class that pathspec has deprecated.
@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_airflow_does_not_execute_the_package_in_the_plugins_folder() -> None:
    plugins = DAGS.parent / "plugins"
    assert (plugins / "deep_store_sync_airflow").is_dir()
    assert list(find_path_from_directory(plugins, ".airflowignore")) == []
