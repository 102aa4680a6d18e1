"""The processes that are killed: `python -m tests.e2e.crash.child` imports the product and forks one for each job.

It reads lines of JSON: first the services, then jobs. For each job it writes the process id and, at its end, how it
ended. A job is a run, or some steps of one, as `tests.e2e.kit.Sync.run` goes through them, with the removal of what
older runs left at the end, as the last task of the DAG does. Steps of a run may be in several jobs, as the tasks of a
DAG are in several processes: what one has left for the next comes with the job, and what this one leaves is noted.
Commands that an operator gives after a run are steps as well.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.e2e.crash import runtime as crash

if TYPE_CHECKING:
    from deep_store_sync.services import Services

LOG = logging.getLogger("tests.e2e.crash")


class Steps:
    """The steps of a run. `left` is what earlier ones have left, and what these leave."""

    def __init__(self, services: Services, run_id: str, left: dict[str, Any]) -> None:
        self._services = services
        self._run_id = run_id
        self.left = left

    def find(self) -> None:
        from deep_store_sync.find import find_stale_segments
        from deep_store_sync.model import RunRequest

        found = find_stale_segments(self._services, RunRequest(self._run_id), log=LOG)
        self.left |= {"plan": found.plan_url, "batches": [batch.id for batch in found.batches]}
        self.left["actions"] = sorted({row.action for row in found.plan.segments})

    def rebuild(self) -> None:
        from deep_store_sync.rebuilding.rebuild import rebuild_batch

        self._each("rebuilt", lambda plan, batch: rebuild_batch(
            self._services, plan, batch, log=LOG, should_stop=lambda: None))  # fmt: skip

    def publish(self) -> None:
        from deep_store_sync.publishing.publish import upload_and_refresh

        rebuilt = self.left["rebuilt"]
        self._each("published", lambda plan, batch: upload_and_refresh(
            self._services, plan, batch, rebuilt[batch], log=LOG))  # fmt: skip

    def stamp(self) -> None:
        from deep_store_sync.publishing.stamping import stamp_batch

        published = self.left["published"]
        self._each("stamped", lambda plan, batch: stamp_batch(self._services, plan, batch, published[batch], log=LOG))

    def report(self) -> None:
        from deep_store_sync.report import write_report
        from deep_store_sync.upkeep.retention import collect

        report = write_report(self._services, self.left["plan"], log=LOG)
        self.left |= {"outcomes": dict(report.counts), "undone": list(report.undone), "quiet": report.quiet}
        collect(self._services, self.left["plan"], log=LOG)

    def rollback(self) -> None:
        from deep_store_sync.upkeep.rollback import roll_back

        result = roll_back(self._services, self._run_id, log=LOG)
        assert result is not None
        self.left["said"] = sorted({row.outcome for row in result.segments})

    def unstamp(self) -> None:
        from deep_store_sync.upkeep.unstamp import unstamp

        self.left["said"] = sorted({row.outcome for row in unstamp(self._services, log=LOG)})

    def verify(self) -> None:
        from deep_store_sync.upkeep.verify_table import verify_table

        self.left["said"] = sorted({row.verdict for row in verify_table(self._services, log=LOG).segments})

    def _each(self, name: str, step: Callable[[str, str], str]) -> None:
        self.left[name] = {batch: step(self.left["plan"], batch) for batch in self.left["batches"]}


def main() -> None:
    """Serve jobs until there are no more."""
    runtime = crash.install()
    given = json.loads(sys.stdin.readline())
    services = _services(given)
    _import_everything()
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _run(runtime, services, json.loads(line))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _run(runtime: crash.Runtime, services: Services, job: dict[str, Any]) -> None:
    """The job, in the process that was made for it."""
    code = 1
    try:
        notes = os.open(job["notes"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        services = _as_wanted(services, job)
        steps = Steps(services, job["run_id"], job["left"])
        runtime.start(notes, tuple(job["kill"]) if job["kill"] else None)
        for name in job["steps"]:
            runtime.say(crash.SAYS, json.dumps({"step": name}))
            getattr(steps, name)()
            runtime.say(crash.SAYS, json.dumps({"left": steps.left}))
        code = 0
    except BaseException:
        runtime.say(crash.SAYS, json.dumps({"error": traceback.format_exc()}))
    finally:
        os._exit(code)


def _services(given: dict[str, Any]) -> Services:
    """The clients are made once, before there are processes to use them: they have no connections yet."""
    from deep_store_sync.pinot.controller import ControllerClient
    from deep_store_sync.pinot.servers import ServerClient
    from deep_store_sync.services import Services
    from deep_store_sync.store.deep_store import DeepStore
    from pinot_sandbox.gateway import S3Gateway

    return Services(
        ControllerClient(given["controller_url"]),
        ServerClient(),
        DeepStore(S3Gateway(**given["s3"]).client()),
        pickle.loads(base64.b64decode(given["settings"])),
    )


def _as_wanted(services: Services, job: dict[str, Any]) -> Services:
    from tests.fake_copies import fake_conditional_copies

    from deep_store_sync.store.deep_store import DeepStore

    store = services.store
    if job["whole_copies"]:
        fake_conditional_copies(store._client)
    if job["multipart_threshold"] is not None:
        store = DeepStore(store._client, multipart_threshold=job["multipart_threshold"])
    changes = {name: job[name] for name in ("wave_segments", "publish_by")}
    if job["forgets"]:
        changes["keep_runs"] = services.settings.keep_backups
    settings = services.settings.model_copy(update=changes)
    return dataclasses.replace(services, store=store, settings=settings)


def _import_everything() -> None:
    """What the steps import is imported here, once; pyarrow looks for pandas when it makes its first array."""
    import pyarrow

    import deep_store_sync.find
    import deep_store_sync.publishing.publish
    import deep_store_sync.publishing.stamping
    import deep_store_sync.rebuilding.rebuild
    import deep_store_sync.report
    import deep_store_sync.upkeep.retention
    import deep_store_sync.upkeep.rollback
    import deep_store_sync.upkeep.unstamp
    import deep_store_sync.upkeep.verify_table  # noqa: F401

    pyarrow.array([1])


if __name__ == "__main__":
    main()
