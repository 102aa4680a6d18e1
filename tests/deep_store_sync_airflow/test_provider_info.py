from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from airflow.providers_manager import ProvidersManager
from airflow.sdk import BaseHook

from deep_store_sync_airflow.hooks.pinot_controller import PinotControllerHook
from deep_store_sync_airflow.provider_info import get_provider_info


def test_every_module_is_there() -> None:
    info = get_provider_info()
    for kind in ("hooks", "operators", "sensors", "triggers"):
        for entry in info[kind]:
            for module in entry["python-modules"]:
                import_module(module)


def test_airflow_knows_the_connection_type_and_its_form() -> None:
    points = [point for point in entry_points(group="apache_airflow_provider") if point.module.startswith("deep_store")]
    assert [point.load() for point in points] == [get_provider_info]
    manager = ProvidersManager()
    assert "pinot-deep-store-sync" in manager.providers
    fields = [name for name in manager.connection_form_widgets if name.startswith("extra__pinot_controller__")]
    assert {name.rpartition("__")[2] for name in fields} == {"token", "database", "verify", "client_cert", "client_key"}
    assert manager.connection_form_widgets["extra__pinot_controller__token"].is_sensitive
    assert manager.field_behaviours["pinot_controller"]["relabeling"]["schema"] == "Scheme"


def test_a_connection_of_the_type_makes_the_hook(controller: object) -> None:
    hook = BaseHook.get_hook("pinot_controller_default")
    assert isinstance(hook, PinotControllerHook)
    assert hook.pinot_conn_id == "pinot_controller_default"
    assert hook.test_connection() == (True, "Pinot 1.5.1 answers")
