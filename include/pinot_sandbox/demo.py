"""The demo: a table's deep store goes out of sync and comes back, twice, on a real Pinot and with a live Airflow.

Nothing is only shown: what the story tells is checked, and the demo fails with what came out otherwise.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import httpx
from rich.filesize import decimal

from deep_store_sync.errors import DeepStoreSyncError
from deep_store_sync.model import Outcome, PublishMode
from deep_store_sync.table_hash import table_hash
from pinot_sandbox.demo_run import Run, run_dag
from pinot_sandbox.demo_stage import DAG, SEGMENTS, TABLE, Stage, check, keep_logs, set_up
from pinot_sandbox.demo_tables import SEGMENT_COLUMNS, Screen, index_rows, segment_rows, start_rows
from pinot_sandbox.errors import SandboxError
from pinot_sandbox.gateway import GatewayKind
from pinot_sandbox.segment_facts import STAR_TREE, SegmentFacts, differences
from pinot_sandbox.shell import program, write_environment

_FIRST_CHANGE: Final[Mapping[str, Any]] = {
    "invertedIndexColumns": ["carrier", "dest", "origin"],
    "rangeIndexColumns": ["dep_delay", "distance"],
    "bloomFilterColumns": ["tailnum"],
    "enableDynamicStarTreeCreation": True,
    "starTreeIndexConfigs": [
        {
            "dimensionsSplitOrder": ["carrier", "origin", "dest"],
            "functionColumnPairs": ["COUNT__*", "SUM__dep_delay"],
            "maxLeafRecords": 1000,
        }
    ],
}
_FIRST_INDEXES: Final = (
    "inverted on carrier",
    "inverted on dest",
    "inverted on origin",
    "range on dep_delay",
    "range on distance",
    "bloom filter on tailnum",
    STAR_TREE,
)
_SECOND_CHANGE: Final[Mapping[str, Any]] = {"invertedIndexColumns": ["carrier", "dest", "flight", "origin"]}
_SECOND_INDEX: Final = "inverted on flight"

_QUERIES: Final = (
    "select count(*), sum(distance), min(dep_delay) from flights",
    "select carrier, origin, count(*), max(dep_delay) from flights group by carrier, origin order by carrier, origin "
    "limit 1000",
    "select count(*) from flights where distance between 500 and 1000 and tailnum = 'N14228'",
    "select dest, count(*) from flights where flight = 1545 group by dest order by dest limit 1000",
)


def play(*, s3: Literal["auto"] | GatewayKind = "auto", keep: bool = False) -> None:
    """Runs the demo from beginning to end.

    Args:
        s3: The S3 gateway, as for `Sandbox.start`.
        keep: Leave cluster and Airflow up in the end, until Ctrl-C. On a terminal they are left up in any case, until
            Enter or Ctrl-C, unless `CI` is set in the environment.

    Raises:
        SandboxError: A tool is missing, or something did not come out as told. Logs are kept, and the message says
            where.
    """
    screen = Screen()
    attended = screen.interactive and sys.stdin.isatty() and not os.environ.get("CI")
    home = Path(tempfile.mkdtemp(prefix="deep-store-sync-demo-"))
    try:
        with set_up(screen, home, s3) as stage:
            story = _Story(stage)
            story.act_one()
            story.act_two()
            story.second_run()
            story.in_short()
            if keep or attended:
                _leave_open(stage, attended=attended)
    except (DeepStoreSyncError, httpx.HTTPError) as error:
        said = str(error) if isinstance(error, SandboxError) else f"{type(error).__name__}: {error}"
        logs = keep_logs(home)
        raise SandboxError(f"{said}\nLogs: {', '.join(map(str, logs))}" if logs else said) from error
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    shutil.rmtree(home, ignore_errors=True)
    if not (keep or attended):
        screen.say(
            "Cluster and Airflow are stopped, and nothing is left of them. To have them left up in the end, for a "
            f"look around: {program('python', here=True)} -m pinot_sandbox demo --keep"
        )


class _Story:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._screen = stage.screen
        self._sandbox = stage.sandbox
        self._facts = stage.facts
        self._answers = self._query()
        self._runs: dict[str, Run] = {}

    def act_one(self) -> None:
        """The servers are reloaded after a config change, so only the deep store is behind: a quiet publish."""
        screen, server = self._screen, self._sandbox.servers[0]
        screen.chapter("Act 1: servers reload, the deep store stays behind")
        self._change_config(_FIRST_CHANGE)
        with screen.working("reloading the table: both servers build the new indexes into their local copies"):
            self._sandbox.reload(TABLE)
        before = self._show_places(_FIRST_INDEXES)
        check(not any(facts.indexes for facts in before.values()), "the deep store has the new indexes already")
        stale = self._facts.stale()
        check(not stale, f"servers are stale after their reload: {stale}")
        screen.say(
            f"Pinot's own check, isStale, looks at what servers have loaded: {len(stale)} of {SEGMENTS} segments are "
            "stale. But whoever takes a segment from the deep store gets the old one, and has to build all of that "
            "again:"
        )
        with screen.working("restarting server 1 with a wiped disk, three times"):
            slow = self._facts.wiped_start(server)
        check(slow.built == SEGMENTS * len(_FIRST_INDEXES), f"a wiped server built {slow.built} indexes")
        screen.line(f"each time it downloaded {SEGMENTS} old segments and built {slow.built} indexes")

        run = self._run("Act 1")
        after = self._show_segments(before, run)
        self._check_synced(before, after, run, PublishMode.QUIET, _FIRST_INDEXES)
        check(not any(run.downloads.values()), f"servers downloaded segments: {run.downloads}")
        screen.say(
            "Published quietly: both servers had the same indexes already, so the CRC is kept and no server had to "
            "download anything. The stamp is the hash of the config that a segment was verified to be built for."
        )
        with screen.working("restarting server 1 with a wiped disk again, three times"):
            quick = self._facts.wiped_start(server)
        check(quick.built == 0, f"a wiped server still built {quick.built} indexes")
        screen.table(
            "A server that starts with a wiped disk (the quickest of three starts each)",
            ("", "Before", "After"),
            start_rows(slow, quick),
        )

    def act_two(self) -> None:
        """The servers are not reloaded: a refresh brings the new segments to deep store and servers at once."""
        screen = self._screen
        screen.chapter("Act 2: a change that no server has taken yet")
        self._change_config(_SECOND_CHANGE)
        screen.say("This time nobody reloads the servers.")
        before = self._show_places((*_FIRST_INDEXES, _SECOND_INDEX))
        stale = self._facts.stale()
        check(stale.keys() == before.keys(), f"isStale finds {sorted(stale)} stale")
        screen.say(f"isStale: {len(stale)} of {SEGMENTS} segments are stale ({', '.join(sorted(set(stale.values())))})")

        run = self._run("Act 2")
        after = self._show_segments(before, run)
        self._check_synced(before, after, run, PublishMode.REFRESH, [_SECOND_INDEX])
        check(set(run.downloads.values()) == {SEGMENTS}, f"servers did not download each segment once: {run.downloads}")
        for server in self._sandbox.servers:
            behind = [name for name, has in self._facts.server_indexes(server).items() if has != after[name].indexes]
            check(not behind, f"{server} does not have what the deep store has: {behind}")
        screen.say(
            "Published by refresh: the CRC is a new one, each server downloaded each segment once instead of building "
            "the index itself, and the run waited until both were seen to have loaded it."
        )

    def second_run(self) -> None:
        """Nothing is out of sync, so a run changes nothing."""
        screen = self._screen
        screen.chapter("A second run changes nothing")
        before = self._facts.segments()
        run = self._run("Second run")
        ended = {outcome.outcome for outcome in run.outcomes.values()}
        check(ended == {Outcome.SKIPPED}, f"the second run's outcomes are {sorted(ended)}")
        check(self._facts.segments() == before, "the second run changed an object, a CRC or a stamp")
        check(not any(run.downloads.values()), f"servers downloaded segments: {run.downloads}")
        screen.say("Every object has the ETag that it had, and no server downloaded anything.")

    def in_short(self) -> None:
        """What the runs did, side by side."""
        self._screen.chapter("In short")
        self._screen.table(
            "Runs of the DAG",
            ("Run", "Segments", "Uploaded", "Server downloads", "Took"),
            [
                (name, run.counted, decimal(run.uploaded), sum(run.downloads.values()), f"{run.seconds:.0f} s")
                for name, run in self._runs.items()
            ],
            caption="Queries were answered alike before and after each of them.",
        )

    def _change_config(self, change: Mapping[str, Any]) -> None:
        before = self._sandbox.table_config(TABLE)
        indexing = {**before["tableIndexConfig"], **change}
        self._sandbox.update_table_config({**before, "tableIndexConfig": indexing})
        lines = differences(before, self._sandbox.table_config(TABLE))
        self._screen.diff(f"The table config of {TABLE} is changed:", lines)

    def _show_places(self, wanted: tuple[str, ...]) -> dict[str, SegmentFacts]:
        """Shows in which copies the indexes are; returns the deep store's."""
        segments = self._facts.segments()
        copies: dict[str, Mapping[str, frozenset[str]]] = {
            f"On server {number}": self._facts.server_indexes(server)
            for number, server in enumerate(self._sandbox.servers, 1)
        }
        copies["In the deep store"] = {name: facts.indexes for name, facts in segments.items()}
        self._screen.table("How many segments have an index", ("Index", *copies), index_rows(wanted, copies))
        return segments

    def _run(self, name: str) -> Run:
        run = self._runs[name] = run_dag(self._stage)
        check(self._query() == self._answers, "queries are answered in another way than before")
        return run

    def _show_segments(self, before: Mapping[str, SegmentFacts], run: Run) -> dict[str, SegmentFacts]:
        """Shows the deep store's copies before and after a run; returns those after."""
        after = self._facts.segments()
        check(run.outcomes.keys() == before.keys() == after.keys(), "the report does not cover the table's segments")
        sizes = [decimal(sum(facts.size for facts in copies.values())) for copies in (before, after)]
        downloads = ", ".join(f"{count} by server {number}" for number, count in enumerate(run.downloads.values(), 1))
        self._screen.table(
            "The copies in the deep store, before → after",
            SEGMENT_COLUMNS,
            segment_rows(before, after, run.outcomes),
            caption=f"All {SEGMENTS}: {' → '.join(sizes)}. Downloads by servers during the run: {downloads}.",
        )
        return after

    def _check_synced(
        self,
        before: Mapping[str, SegmentFacts],
        after: Mapping[str, SegmentFacts],
        run: Run,
        mode: PublishMode,
        added: tuple[str, ...] | list[str],
    ) -> None:
        current = table_hash(self._sandbox.table_config(TABLE), self._sandbox.schema(TABLE))
        for name, was in before.items():
            now, outcome = after[name], run.outcomes[name]
            ended = (outcome.outcome, outcome.mode)
            check(ended == (Outcome.SYNCED, mode), f"{name} ended as {outcome.outcome}: {outcome.message}")
            check(now.indexes == was.indexes | set(added), f"{name} has the indexes {sorted(now.indexes)}")
            check(now.etag != was.etag, f"the object of {name} was not written")
            check((now.crc == was.crc) is (mode is PublishMode.QUIET), f"the CRC of {name}: {was.crc}, {now.crc}")
            check(now.stamp == current, f"{name} is stamped {now.stamp}, and the table's hash is {current}")
        stale = self._facts.stale()
        check(not stale, f"still stale on servers: {stale}")

    def _query(self) -> list[list[list[Any]]]:
        return [self._sandbox.query(sql) for sql in _QUERIES]


def _leave_open(stage: Stage, *, attended: bool) -> None:
    """Waits for Enter, where somebody attends, or Ctrl-C."""
    screen, airflow = stage.screen, stage.airflow
    screen.chapter("Have a look")
    screen.line(f"Airflow:  {airflow.url}/dags/{DAG}")
    screen.line(f"login:    user admin, password in {airflow.password_file}")
    screen.line(f"page:     {airflow.url}/plugin/deep-store-sync")
    screen.line(f"Pinot:    {stage.sandbox.controller_url}")
    environment = write_environment(stage.sandbox, stage.tables)
    screen.line(f"shell:    source {environment} && {program('deep-store-sync')} status")
    screen.line(f"logs:     {airflow.logs} and {stage.sandbox.root / 'logs'}")
    screen.line("Enter or Ctrl-C ends it all." if attended else "Ctrl-C ends it all.")
    with contextlib.suppress(KeyboardInterrupt):
        if attended:
            select.select([sys.stdin], [], [])
        else:
            signal.pause()
    screen.line("stopping")
