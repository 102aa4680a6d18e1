"""A run of one table by the operators of the DAG, in a process of its own, logging all there is. For test_secrets.

Reads the table's settings as JSON from standard input, and writes `kept.json`, what Airflow would keep: what the tasks
return and push, their rendered fields, and the DAG as it is serialized. Errors of tasks are part of it.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.serialization.serialized_objects import DagSerialization

from deep_store_sync.settings import TableSync
from deep_store_sync_airflow.dag_factory import build_dag
from deep_store_sync_airflow.operators.find_stale_segments import FindStaleSegments
from deep_store_sync_airflow.operators.rebuild_segment import RebuildSegment
from deep_store_sync_airflow.operators.report import WriteReport
from deep_store_sync_airflow.operators.stamp_hash import StampHash
from deep_store_sync_airflow.operators.upload_and_refresh import UploadAndRefresh


class _Kept:
    """What Airflow keeps of a run. Nothing is tried again."""

    try_number = 1
    max_tries = 0

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}
        self.rendered: list[Any] = []
        self.errors: list[str] = []

    def add(self, asset: Any, extra: Any) -> None:
        """An asset event."""
        self.xcoms[f"event of {asset.name}"] = extra

    def set(self, key: str, value: Any) -> None:
        """Of the state of an asset."""
        self.xcoms[f"state {key}"] = value

    def xcom_push(self, *, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, *, task_ids: str, key: str) -> Any:
        return self.xcoms.get(key)

    def run(self, operator: Any, context: Any) -> Any:
        try:
            returned = operator.execute(context)
        except Exception:
            self.errors.append(traceback.format_exc())
            returned = None
        self.xcoms[f"{operator.task_id} {len(self.rendered)}"] = returned
        self.rendered.append({name: getattr(operator, name) for name in operator.template_fields})
        return returned


def main() -> None:
    """One run."""
    logging.basicConfig(level=logging.DEBUG, force=True)
    settings = TableSync.model_validate_json(sys.stdin.read())
    kept = _Kept()
    params = {"forceReload": False, "dryRun": False, "segments": [], "maxSegments": None}
    context: Any = {
        "ti": kept,
        "run_id": "manual__secrets",
        "params": params,
        "dag_run": SimpleNamespace(run_type="manual", conf={}),
        "outlet_events": defaultdict(lambda: kept),
        "asset_state_store": defaultdict(lambda: kept),
    }
    for batch in kept.run(FindStaleSegments(task_id="find_stale_segments", settings=settings), context) or []:
        rebuilt = kept.run(RebuildSegment(task_id="rebuild", settings=settings, batch=batch), context)
        published = kept.run(
            UploadAndRefresh(task_id="publish", settings=settings, batch=batch, rebuilt=rebuilt), context
        )
        kept.run(StampHash(task_id="stamp", settings=settings, batch=batch, published=published), context)
    kept.run(WriteReport(task_id="report", settings=settings, plan_task_id="find_stale_segments"), context)
    dag = DagSerialization.serialize(build_dag(settings))
    Path("kept.json").write_text(json.dumps({**vars(kept), "dag": dag}, default=str))


if __name__ == "__main__":
    main()
