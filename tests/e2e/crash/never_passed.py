"""Sites that no sync or command passes, or none that can be killed there, each with the reason."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tests.e2e.crash.points import Site


@dataclass(frozen=True, slots=True)
class Excuse:
    """For the sites of a module (or folder), a function of it, an operation in that; empty is any."""

    module: str
    function: str
    operation: str
    why: str

    def covers(self, site: Site) -> bool:
        return (
            site.module.startswith(self.module)
            and (not self.function or site.function == self.function)
            and (not self.operation or site.operation == self.operation)
        )


_ENGINE = (
    "in the engine's process, on files in the batch's work folder only. A sync that is killed takes the engine along, "
    "and is killed before and after each call that it makes to it (jvm/process.py:EngineProcess._send)"
)
_TLS = "servers whose admin port is TLS only: a read"
_OTHER_CHANGES = "changes of encoding, and of columns made from others, which the scenes lack: in the work folder only"
_REFUSED = "after a push that the controller refuses for good, which the scenes lack: in the work folder only"
_AT_WORK = "only where a rebalance or a minion task is at work on the table, which no wave is published over: a read"

EXCUSES = (
    Excuse("command/", "", "", "the terminal of an operator who gives a command"),
    Excuse("jvm/engine.py", "", "", _ENGINE),
    Excuse("jvm/regenerate.py", "", "", _ENGINE),
    Excuse("jvm/write_columns.py", "", "", _ENGINE),
    Excuse("jvm/worker.py", "", "", _ENGINE),
    Excuse("segment/graft.py", "", "", _ENGINE),
    Excuse("pinot/long_reads.py", "LongReads.seen_replicas", "", "REALTIME tables only: a read"),
    Excuse("pinot/controller.py", "ControllerClient.need_reload", "", "after changes that isStale cannot see: a read"),
    Excuse("pinot/controller.py", "ControllerClient.rebalance_time_ms", "", _AT_WORK),
    Excuse("pinot/controller.py", "ControllerClient.minion_tasks", "_read", _AT_WORK),
    Excuse("pinot/controller.py", "ControllerClient.minion_tasks", "_input_of", _AT_WORK),
    Excuse("pinot/controller.py", "ControllerClient.minion_tasks", "_started_ms", _AT_WORK),
    Excuse("pinot/controller.py", "ControllerClient._input_of", "", _AT_WORK),
    Excuse("pinot/controller.py", "ControllerClient._started_ms", "", _AT_WORK),
    Excuse("pinot/controller.py", "ControllerClient.instance_admin_url", "_read /cluster/info", _TLS),
    Excuse("pinot/controller.py", "ControllerClient.instance_admin_url", "_read /zk/get", _TLS),
    Excuse(
        "pinot/controller.py", "ControllerClient.ideal_state", "_of_table", "after a reload of a lost segment: a read"
    ),
    Excuse("pinot/controller.py", "ControllerClient.tables", "", "to find the tables that there are: a read"),
    Excuse("publishing/publish_segment.py", "SegmentPublisher._put_back", "", _REFUSED),
    Excuse("rebuilding/apply_method.py", "apply_method", "shutil.rmtree", _OTHER_CHANGES),
    Excuse("rebuilding/local.py", "", "", "the command that rebuilds a segment on an operator's own disk"),
    Excuse("rebuilding/rebuild_segment.py", "_value_comparison.compare_with_original", "", _OTHER_CHANGES),
    Excuse("segment/archive.py", "metadata_archive", "", "an archive in memory"),
    Excuse("settings_reference.py", "", "", "the page of the documentation that is made from the source"),
    Excuse("store/deep_store.py", "DeepStore.create", "", "nothing of a sync writes so"),
    Excuse(
        "store/object_reads.py", "ObjectReads._fetch", "truncate", "a download that was cut short, before the next try"
    ),
    Excuse("store/object_reads.py", "ObjectReads.download", "unlink", "a download that has failed"),
)


def uncovered(sites: Sequence[Site], passed: Collection[Site]) -> list[Site]:
    """Sites that were neither passed nor excused."""
    return [site for site in sites if site not in passed and not any(excuse.covers(site) for excuse in EXCUSES)]


def untrue(sites: Sequence[Site], passed: Collection[Site]) -> list[Excuse]:
    """Excuses for nothing that is there, and for what was passed all the same."""
    return [
        excuse
        for excuse in EXCUSES
        if not any(excuse.covers(site) for site in sites) or any(excuse.covers(site) for site in passed)
    ]
