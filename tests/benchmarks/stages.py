"""A batch without its pipeline: all of it downloaded, then all of it rebuilt, then all of it packed and uploaded.

What the slowest of the three takes is what a pipeline cannot beat.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.job import Job, perform
from tests.benchmarks.ours import prepared

from deep_store_sync.jvm.jars import read_jars
from deep_store_sync.jvm.process import EngineProcess
from deep_store_sync.rebuilding.limits import decide_limits, look_at_machine
from deep_store_sync.rebuilding.rebuild_segment import Fetched, Ready, fetch, rebuild, stage


def work(job: Job) -> dict[str, Any]:
    with prepared(job) as (services, workspace, _), TemporaryDirectory(dir=job.workdir) as name:
        folder = Path(name)
        plan = workspace.read_plan()
        heap = decide_limits(services.settings.engine, look_at_machine(folder)).heap_bytes
        started = time.monotonic()
        fetched = [
            fetch(services.store, plan, planned, folder / str(number), make_room=lambda _: None)
            for number, planned in enumerate(plan.segments)
        ]
        fetch_s = time.monotonic() - started
        started = time.monotonic()
        engine = EngineProcess(read_jars(Path(job.jars), job.jars), heap, temp_dir=folder / "java")
        engine.start()
        ready = [rebuild(engine, plan, one) for one in fetched if isinstance(one, Fetched)]
        engine.close()
        rebuild_s = time.monotonic() - started
        started = time.monotonic()
        staged = [
            stage(services.store, one, workspace.staged_url(one.result.segment))
            for one in ready
            if isinstance(one, Ready)
        ]
        stage_s = time.monotonic() - started
    assert len(staged) == len(job.segments)
    return {"fetch_s": fetch_s, "rebuild_s": rebuild_s, "stage_s": stage_s}


if __name__ == "__main__":
    perform(work)
