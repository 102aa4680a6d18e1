"""What runs find that are killed: the scenes of the crash matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.e2e.crash.runs import Run
from tests.e2e.crash.table import CrashTable

# Above this many bytes objects are written and copied in parts, in scenes that ask for it. Each has one part then.
_PARTS = 1024


@dataclass(frozen=True)
class Scene:
    """What a run finds, and what happens while it is under way.

    `before_publish` comes between rebuilding and publishing. `died_at`: an earlier run was killed at the first such
    point, `died` before or after it, long enough ago for what it left on the worker to be removed. `forgets`: what
    other runs left in the workspace has outlived its time, all of it. `quiet`: objects are overwritten, and no server
    hears of it. `same_crcs`: nor does ZooKeeper get other CRCs, though servers hear of it. Archives are copied inside
    the store, part by part as the gateway does it, or `streamed`, or copied in one request each, `whole`, by a fake
    store that honours the condition there.
    """

    name: str
    prepare: Callable[[CrashTable], None]
    parts: bool = False
    wave_segments: int = 1
    before_publish: Callable[[CrashTable], None] | None = None
    died_at: Callable[[str], bool] | None = None
    died: str = "before"
    forgets: bool = False
    quiet: bool = False
    same_crcs: bool = False
    streamed: bool = False
    whole: bool = False

    def run(self) -> Run:
        return Run(
            multipart_threshold=_PARTS if self.parts else None,
            wave_segments=self.wave_segments,
            publish_by="stream" if self.streamed else "auto",
            whole_copies=self.whole,
            forgets=self.forgets,
        )


def _tells_zookeeper(point: str) -> bool:
    return "push.py:push_metadata" in point and "wave.py" in point


def _locks_its_folder(point: str) -> bool:
    return point.startswith("open < workdir.py:work_folder")


PUSH_CUT_SHORT = Scene(
    "an earlier run's push finished", CrashTable.indexes_stale, died_at=_tells_zookeeper, forgets=True
)
SCENES = (
    Scene("stamped only", CrashTable.unstamped),
    Scene("refreshed, with a column written anew", CrashTable.all_stale),
    # Leaves notes on uploads, as the one before it does, so that what removes them is passed time and again.
    Scene("refreshed, streamed in parts", CrashTable.indexes_stale, parts=True, wave_segments=10, streamed=True),
    PUSH_CUT_SHORT,
    Scene("an earlier run's folder removed", CrashTable.unstamped, died_at=_locks_its_folder),
    Scene("published quietly, by whole copies", CrashTable.reloaded, wave_segments=10, quiet=True, whole=True),
    # Staged archives are written once more, with the CRC that is kept after all.
    Scene("reloaded after it was rebuilt", CrashTable.indexes_stale, before_publish=CrashTable.reload, quiet=True),
    Scene("servers made to take it", CrashTable.servers_behind),
    Scene("refreshed, streamed", CrashTable.indexes_stale, wave_segments=10, streamed=True),
    Scene(
        "refreshed for the CRCs that it has, and servers not told",
        CrashTable.crcs_back,
        died_at=_tells_zookeeper,
        died="after",
        same_crcs=True,
    ),
)
