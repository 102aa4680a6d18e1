"""The wheel in an environment that has it from nowhere else, and what Airflow shows there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
OURS = ("deep_store_sync", "deep_store_sync_airflow", "pinot_sandbox")
LOOK = """
import json, importlib, importlib.metadata
from pathlib import Path
from packaging.requirements import Requirement
from airflow.dag_processing.dagbag import DagBag
from airflow.plugins_manager import get_plugin_info
from airflow.providers_manager import ProvidersManager

manager, bag = ProvidersManager(), DagBag(Path("dags").resolve(), bundle_path=Path("dags").resolve())
print(json.dumps({
    "files": [importlib.import_module(name).__file__ for name in %r],
    "providers": sorted(manager.providers),
    "hook": manager.hooks["pinot_controller"].hook_class_name,
    "fields": sorted(manager.connection_form_widgets),
    "plugins": [plugin["name"] for plugin in get_plugin_info()],
    "dags": sorted(bag.dags),
    "errors": bag.import_errors,
    "requires": [
        Requirement(text).name
        for text in importlib.metadata.requires("pinot-deep-store-sync") if "extra ==" not in text
    ],
    "data": [path.name for path in importlib.metadata.files("pinot-deep-store-sync") if path.suffix not in (".py", "")],
}))
"""


def run(*command: str | Path, folder: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel. All that it needs is lent by this one: only the project itself is not."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, REPOSITORY, folder=folder)
    (wheel,) = folder.glob("pinot_deep_store_sync-*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", folder=folder)
    lent = folder / "lent"
    lent.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "pinot_deep_store_sync" not in entry.name and entry.name not in OURS:
            (lent / entry.name).symlink_to(entry)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (packages / "lent.pth").write_text(f"{lent}\n")
    # With everything there but the project, nothing is downloaded, and what does not fit is an error.
    run(
        sys.executable, "-m", "pip", "--python", folder / "venv" / "bin" / "python", "install", "--quiet", "--no-index",
        wheel, folder=folder,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def shown(environment: Path) -> dict[str, Any]:
    """What an Airflow in this environment says of itself, with the example DAGs and a table of its own."""
    home = environment / "home"
    shutil.copytree(REPOSITORY / "dags", home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    (home / "tables").mkdir()
    table = {"table": "flights_OFFLINE", "deepStorePrefixes": ["s3://b/d"], "workspace": "s3://b/w"}
    (home / "tables" / "flights.yaml").write_text(yaml.safe_dump(table))
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    said = run(
        environment / "venv" / "bin" / "python", "-W", "ignore", "-c", LOOK % (OURS,), folder=home,
        environment={
            **inherited,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "DEEP_STORE_SYNC_TABLES": str(home / "tables"),
        },
    )  # fmt: skip
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def test_it_is_the_wheel_that_is_looked_at(environment: Path, shown: dict[str, Any]) -> None:
    assert all(Path(file).is_relative_to(environment / "venv") for file in shown["files"])
    assert "py.typed" in shown["data"]


def test_there_is_a_version_for_all_that_it_needs(shown: dict[str, Any]) -> None:
    pinned = {line.partition("==")[0].lower() for line in (REPOSITORY / "constraints.txt").read_text().splitlines()}
    assert {name.lower() for name in shown["requires"]} <= pinned


def test_airflow_shows_provider_and_connection_type(shown: dict[str, Any]) -> None:
    assert "pinot-deep-store-sync" in shown["providers"]
    assert shown["hook"] == "deep_store_sync_airflow.hooks.pinot_controller.PinotControllerHook"
    assert "extra__pinot_controller__token" in shown["fields"]


def test_airflow_shows_the_page(shown: dict[str, Any]) -> None:
    assert "deep_store_sync" in shown["plugins"]
    assert "bundle.js" in shown["data"]


def test_airflow_has_the_dag_of_the_table(shown: dict[str, Any]) -> None:
    assert shown["errors"] == {}
    assert "deep_store_sync__flights_OFFLINE" in shown["dags"]


def test_the_command_is_there(environment: Path) -> None:
    said = run(environment / "venv" / "bin" / "deep-store-sync", "--help", folder=environment)
    assert "doctor" in said
