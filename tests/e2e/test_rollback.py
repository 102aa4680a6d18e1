"""Rolling runs back: objects, CRCs, stamps and servers as they were before, whatever happened in between."""

from __future__ import annotations

import json
import re
import signal
import uuid
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.command_line import CommandLine
from tests.e2e.kit import LOG, NEW_INDEXES, TABLE, Sync, add_indexes, outcomes, syncing
from tests.realtime_tables import orders, orders_config, orders_schema

from deep_store_sync.errors import PushRefusedError, StoreCapabilityError
from deep_store_sync.model import Outcome, PublishMode
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.publishing.segment_writes import SegmentWrites
from deep_store_sync.segment.archive import read_metadata
from deep_store_sync.segment.segment_files import CreationMeta
from deep_store_sync.services import Services
from deep_store_sync.store.deep_store import DeepStore
from deep_store_sync.store.object_url import object_url, parse_url
from deep_store_sync.table_hash import table_hash
from deep_store_sync.upkeep.rollback import roll_back
from deep_store_sync.upkeep.undo import Undone
from deep_store_sync.workspace import Workspace
from pinot_sandbox import Sandbox

JANUARY, FEBRUARY = "flights_2013-01", "flights_2013-02"


class Died(BaseException):
    """What a test can raise where the process would be gone."""


@pytest.fixture
def command(sync: Sync, tmp_path: Path) -> CommandLine:
    folder = tmp_path / "tables"
    folder.mkdir()
    return CommandLine.of(sync, folder)


def served(sync: Sync) -> list[dict[str, int]]:
    """The CRCs that each server serves."""
    sandbox = sync.sandbox
    return [sync.services.servers.segment_crcs(sandbox.server_admin_url(s), TABLE) for s in sandbox.servers]


def bodies(sync: Sync) -> dict[str, bytes]:
    return {r.name: sync.services.store.read(str(r.url)) for r in sync.services.controller.segments(TABLE)}


def test_a_refresh_is_rolled_back_to_the_byte_and_servers_take_the_old_segments_again(
    sync: Sync, command: CommandLine
) -> None:
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1, 2])
    config = sandbox.table_config(TABLE)
    assert outcomes(sync.run(force=True)) == {Outcome.STAMPED}
    add_indexes(sandbox)
    before, old_bodies, answers = (
        sync.look(),
        bodies(sync),
        sandbox.query("select count(*), sum(distance) from flights"),
    )
    rows = sync.run(run_id="manual__bad")
    assert {(row.outcome, row.mode) for row in rows.values()} == {(Outcome.SYNCED, PublishMode.REFRESH)}
    after = sync.look()

    code, out, _ = command.run("rollback", "--run", "manual__bad", "--dry-run")
    assert code == 0
    assert out.count("would be rolled back") == 3  # each, and the sum
    assert sync.look() == after

    code, out, _ = command.run("rollback", "--run", "manual__bad")
    assert code == 0
    assert "2 rolled back" in out
    assert f"airflow dags pause deep_store_sync__{TABLE}" in out
    back = sync.look()
    assert bodies(sync) == old_bodies
    for name, view in back.items():
        assert (view.content, view.crc) == (before[name].content, before[name].crc)
        # The stamp is that of the config before the change, and it is true: it speaks of the object that is there now.
        assert view.stamp == table_hash(config, sandbox.schema(TABLE), None)
    assert served(sync) == [{name: view.crc for name, view in before.items()}] * 2
    assert sandbox.query("select count(*), sum(distance) from flights") == answers
    assert command.run("verify")[0] == 0

    sandbox.reset_downloads()
    code, out, _ = command.run("rollback", "--run", "manual__bad", "--json")
    assert code == 0
    (result,) = json.loads(out)["tables"]
    assert {row["outcome"] for row in result["segments"]} == {"as before"}
    assert sync.look() == back
    assert sync.downloads() == dict.fromkeys(sandbox.servers, 0)
    # As the note says: nothing but a paused DAG keeps the next run from doing it again.
    assert outcomes(sync.run()) == {Outcome.SYNCED}


def test_quiet_runs_are_undone_quietly_the_last_one_first(sync: Sync, command: CommandLine) -> None:
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1])
    before, old_bodies = sync.look(), bodies(sync)
    add_indexes(sandbox)
    sandbox.reload(TABLE)
    assert sync.run(run_id="first")[JANUARY].mode is PublishMode.QUIET
    middle = sync.look()
    config = sandbox.table_config(TABLE)
    config["tableIndexConfig"]["bloomFilterColumns"] = ["tailnum", "dest"]
    sandbox.update_table_config(config)
    sandbox.reload(TABLE)
    assert sync.run(run_id="second")[JANUARY].mode is PublishMode.QUIET
    sandbox.reset_downloads()

    code, out, _ = command.run("rollback", "--run", "first")
    assert code == 1
    assert "run second has rebuilt it since: roll that run back first" in out
    assert command.run("rollback", "--run", "second")[0] == 0
    assert sync.look()[JANUARY].content == middle[JANUARY].content
    assert sync.look()[JANUARY].stamp == middle[JANUARY].stamp
    assert command.run("rollback", "--run", "first")[0] == 0
    assert bodies(sync) == old_bodies
    view = sync.look()[JANUARY]
    assert (view.crc, view.stamp) == (before[JANUARY].crc, "")
    assert sync.downloads() == dict.fromkeys(sandbox.servers, 0)
    assert command.run("verify")[0] == 0


def test_who_pushed_since_is_left_alone_and_named(sync: Sync, command: CommandLine) -> None:
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1, 2])
    before = sync.look()
    add_indexes(sandbox)
    sync.run(run_id="bad")
    (archive,) = sandbox.build_segments(
        {JANUARY: [{"origin": "XXX", "ts": 1357000000000}]},
        table_config=sandbox.table_config(TABLE),
        schema=sandbox.schema(TABLE),
    )
    sandbox.push_segment(TABLE, archive)
    pushed = sync.look()[JANUARY]

    assert command.run("rollback", "--run", "bad", "--segment", "*-01")[0] == 1
    code, out, _ = command.run("rollback", "--run", "bad", "--json")
    assert code == 1
    rows = {row["segment"]: row for row in json.loads(out)["tables"][0]["segments"]}
    assert {name: row["outcome"] for name, row in rows.items()} == {JANUARY: "left alone", FEBRUARY: "rolled back"}
    assert "somebody else has pushed it since" in rows[JANUARY]["message"]
    after = sync.look()
    assert after[JANUARY] == pushed
    assert after[FEBRUARY].content == before[FEBRUARY].content
    code, _, error = command.run("rollback", "--run", "worse")
    assert code == 2
    assert "no run 'worse'" in error
    assert "bad-" in error


def test_a_note_that_cannot_be_read_keeps_no_other_segment_from_being_brought_back(
    sync: Sync, command: CommandLine
) -> None:
    sync.sandbox.load_flights(months=[1, 2])
    before = sync.look()
    add_indexes(sync.sandbox)
    sync.run(run_id="bad")
    new, store = sync.look(), sync.services.store
    assert sync.last is not None
    notes = {name: item.url for name, item in Workspace.of_plan(store, sync.last.plan_url).backup_records()}
    readable = store.read(notes[JANUARY])
    store.write_workspace(notes[JANUARY], b'{"of": "a newer version"}')

    for options, outcome in ((["--dry-run"], "would be rolled back"), ([], "rolled back")):
        code, out, _ = command.run("rollback", "--run", "bad", "--json", *options)
        assert code == 1
        (result,) = json.loads(out)["tables"]
        rows = {row["segment"]: row for row in result["segments"]}
        assert {name: row["outcome"] for name, row in rows.items()} == {JANUARY: "failed", FEBRUARY: outcome}
        assert notes[JANUARY] in rows[JANUARY]["message"]
        assert "was it written by a newer version?" in rows[JANUARY]["message"]
        assert result["complete"] is False
    after = sync.look()
    assert after[JANUARY] == new[JANUARY]
    assert after[FEBRUARY].content == before[FEBRUARY].content

    store.write_workspace(notes[JANUARY], readable)
    assert command.run("rollback", "--run", "bad")[0] == 0
    assert sync.look()[JANUARY].content == before[JANUARY].content


KILLS = [("push", 1, "before"), ("push", 1, "after"), ("overwrite", 1, "after"), ("push", 2, "after")]


@pytest.mark.parametrize("mode", ["quiet", "refresh"])
def test_a_rollback_that_is_killed_anywhere_is_finished_by_the_next_one(
    sync: Sync, command: CommandLine, mode: str
) -> None:
    """One rollback after the other is killed, each a step further, and every state in between is a sound one."""
    sandbox = sync.sandbox
    sandbox.load_flights(months=[1])
    assert outcomes(sync.run(force=True)) == {Outcome.STAMPED}
    before, old_bodies = sync.look(), bodies(sync)
    add_indexes(sandbox)
    if mode == "quiet":
        sandbox.reload(TABLE)
    answers = sandbox.query("select count(*), sum(distance) from flights")
    assert str(sync.run(run_id="bad")[JANUARY].mode) == mode
    new = sync.look()[JANUARY]

    states = []
    for method, nth, when in KILLS:
        # The stamp is gone once a rollback has pushed, and a quiet one has nothing to try the controller with then.
        assert command.killed(method, nth, when, "rollback", "--run", "bad") == -signal.SIGKILL or states
        view = sync.look()[JANUARY]
        states.append((view.content == new.content, view.crc == new.crc, view.stamp == new.stamp))
        assert sandbox.query("select count(*), sum(distance) from flights") == answers
    assert states[0] == (True, True, True)
    assert states[1] == (True, True, False)
    assert states[2] == (False, True, False)

    assert command.run("rollback", "--run", "bad")[0] == 0
    view = sync.look()[JANUARY]
    assert bodies(sync) == old_bodies
    assert (view.crc, view.stamp) == (before[JANUARY].crc, before[JANUARY].stamp)
    assert served(sync) == [{JANUARY: view.crc}] * 2
    assert command.run("verify")[0] == 0


def test_a_rollback_that_is_killed_in_the_middle_can_be_finished_by_a_run_as_well(
    sync: Sync, command: CommandLine
) -> None:
    sync.sandbox.load_flights(months=[1])
    add_indexes(sync.sandbox)
    sync.run(run_id="bad")
    assert command.killed("overwrite", 1, "after", "rollback", "--run", "bad") == -signal.SIGKILL
    code, out, _ = command.run("verify")
    assert code == 1
    assert "undone: bad" in out
    assert "the next run finishes it" in out
    assert outcomes(sync.run(run_id="good")) == {Outcome.SYNCED}
    assert sync.look()[JANUARY].indexes >= NEW_INDEXES
    assert command.run("verify")[0] == 0
    assert "run good has rebuilt it since" in command.run("rollback", "--run", "bad")[1]


def cut_short(sync: Sync, monkeypatch: pytest.MonkeyPatch, run_id: str) -> None:
    """A run that dies between the object and ZooKeeper."""

    def die(*_: Any, **__: Any) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(SegmentWrites, "push", die)
        with pytest.raises(Died):
            sync.run(run_id=run_id)


@pytest.mark.parametrize("rolled_back", ["the run that died", "the run that finished its push"])
def test_a_push_that_was_cut_short_can_be_rolled_back(
    sync: Sync, command: CommandLine, monkeypatch: pytest.MonkeyPatch, rolled_back: str
) -> None:
    sync.sandbox.load_flights(months=[1])
    before, old_bodies = sync.look(), bodies(sync)
    add_indexes(sync.sandbox)
    cut_short(sync, monkeypatch, "died")
    if rolled_back == "the run that died":
        code, out, _ = command.run("rollback", "--run", "died")
        assert "has written no report" in out
    else:
        assert sync.run(run_id="finished")[JANUARY].uploaded_bytes == 0
        assert sync.look()[JANUARY].crc != before[JANUARY].crc
        # The run that finished it does not depend on the other one's folder.
        for item in list(sync.services.store.list(f"{sync.workspace}/{TABLE}/runs/died-")):
            sync.services.store.delete(item.url)
        code, out, _ = command.run("rollback", "--run", "finished")
    assert (code, "1 rolled back" in out) == (0, True)
    assert bodies(sync) == old_bodies
    assert sync.look()[JANUARY].crc == before[JANUARY].crc
    assert command.run("verify")[0] == 0


class FakeRefusingController(ControllerClient):
    """The real controller, but it refuses pushes after the first so many, as it does when disks are full, say."""

    taken = 0

    def push_metadata(self, table: str, segment: str, **push: Any) -> None:
        if self.taken <= 0:
            raise PushRefusedError("403: disk utilisation is above the threshold")
        self.taken -= 1
        super().push_metadata(table, segment, **push)


def test_a_controller_that_refuses_pushes_is_noticed_before_anything_is_touched(sync: Sync) -> None:
    sync.sandbox.load_flights(months=[1])
    add_indexes(sync.sandbox)
    sync.run(run_id="bad")
    before, services = sync.look(), sync.services
    with FakeRefusingController(sync.sandbox.controller_url) as controller:
        refused = Services(controller, services.servers, services.store, services.settings)
        result = roll_back(refused, "bad", log=LOG)
        assert result is not None
        assert [row.outcome for row in result.segments] == [Undone.LEFT_ALONE]
        assert "nothing was changed" in result.segments[0].message
        assert "disk utilisation" in result.segments[0].message
        assert sync.look() == before
        controller.taken = 1
        result = roll_back(refused, "bad", log=LOG)
    assert result is not None
    assert [row.outcome for row in result.segments] == [Undone.FAILED]
    result = roll_back(services, "bad", log=LOG)
    assert result is not None
    assert result.complete


def test_a_realtime_segment_is_brought_back_but_for_its_status_and_that_is_said(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    name = f"orders{uuid.uuid4().hex[:8]}"
    config = orders_config(name, sandbox.create_stream(name, 1))
    sandbox.create_table(config, orders_schema(name))
    with syncing(sandbox, f"{name}_REALTIME") as sync:
        sandbox.produce(name, orders(range(60), amount=1), partition=0)
        (segment,) = sandbox.commit(sync.table)
        config["tableIndexConfig"]["invertedIndexColumns"] = ["city"]
        sandbox.update_table_config(config)
        before = sync.look()
        assert sync.run(run_id="bad")[segment].mode is PublishMode.REFRESH
        code, out, _ = CommandLine.of(sync, tmp_path).run("rollback", "--run", "bad")
        assert (code, "1 rolled back" in out) == (0, True)
        assert "1 segments were DONE before the run and stay UPLOADED" in out
        view = sync.look()[segment]
        assert (view.content, view.crc) == (before[segment].content, before[segment].crc)
        crcs = [sync.services.servers.segment_crcs(sandbox.server_admin_url(s), sync.table) for s in sandbox.servers]
        assert [served[segment] for served in crcs] == [view.crc] * 2
        assert sandbox.query(f"select count(*), sum(amount) from {name}") == [[60, 60]]


@pytest.mark.parametrize("in_parts", [False, True])
def test_a_fake_store_that_ignores_conditions_is_refused_before_anything_is_put_back(
    sync: Sync, in_parts: bool
) -> None:
    """As it may do since the run: another gateway, another version of it."""
    if in_parts and sync.sandbox.s3.kind == "moto":
        pytest.skip("moto ignores the condition on completion by itself")
    sync.sandbox.load_flights(months=[1])
    add_indexes(sync.sandbox)
    assert outcomes(sync.run(run_id="bad")) == {Outcome.SYNCED}
    before = sync.look()
    client = sync.sandbox.s3.client()

    def ignore(request: Any, **_: Any) -> None:
        del request.headers["If-Match"]

    operation = "CompleteMultipartUpload" if in_parts else "PutObject"
    client.meta.events.register(f"before-sign.s3.{operation}", ignore)
    store = DeepStore(client, multipart_threshold=1000) if in_parts else DeepStore(client)
    fake = Services(sync.services.controller, sync.services.servers, store, sync.settings)
    with pytest.raises(StoreCapabilityError, match=f"ignores If-Match.* on {operation}"):
        roll_back(fake, "bad", log=LOG)
    assert sync.look() == before
    assert roll_back(fake, "bad", dry_run=True, log=LOG) is not None
    client.close()
    undone = roll_back(sync.services, "bad", log=LOG)
    assert undone is not None
    assert undone.complete


# --- what is kept ----------------------------------------------------------------------------------------------------


@pytest.fixture
def versioned(sync: Sync) -> Sync:
    """A month of flights in a bucket that keeps versions."""
    sandbox, client = sync.sandbox, sync.sandbox.s3.client()
    bucket = f"versioned-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    sandbox.load_flights(months=[1])
    controller = sync.services.controller
    (record,) = controller.segments(TABLE)
    _, key = parse_url(str(record.url))
    body = sync.services.store.read(str(record.url))
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/x-flights")
    client.close()
    archive = sandbox.root / f"{bucket}.tar.gz"
    archive.write_bytes(body)
    meta, properties = read_metadata(archive, JANUARY)
    SegmentWrites(sync.services, LOG).push(
        JANUARY, object_url(bucket, key), record, meta=CreationMeta.from_bytes(meta), properties=properties, custom={}
    )
    add_indexes(sandbox)
    return sync.with_settings(deep_store_prefixes=(f"s3://{bucket}",))


def test_where_the_bucket_keeps_versions_nothing_is_copied(versioned: Sync, tmp_path: Path) -> None:
    command = CommandLine.of(versioned, tmp_path)
    before, old_bodies = versioned.look(), bodies(versioned)
    rows = versioned.with_settings(backup="versioning").run(run_id="bad")
    assert outcomes(rows) == {Outcome.SYNCED}
    kept = [item.url for item in versioned.services.store.list(f"{versioned.workspace}/") if "/backup/" in item.url]
    assert [re.sub(r"/[0-9a-f]{32}", "", url).rpartition("/")[2] for url in kept] == [f"{JANUARY}.json"]
    code, out, _ = command.run("rollback", "--run", "bad")
    assert (code, "1 rolled back" in out) == (0, True)
    assert bodies(versioned) == old_bodies
    assert versioned.look()[JANUARY].crc == before[JANUARY].crc
    (record,) = versioned.services.controller.segments(TABLE)
    assert versioned.services.store.head(str(record.url)).content_type == "application/x-flights"


def test_versioning_is_refused_where_the_bucket_does_not_keep_versions(sync: Sync) -> None:
    sync.sandbox.load_flights(months=[1])
    add_indexes(sync.sandbox)
    before = sync.look()
    with pytest.raises(StoreCapabilityError, match=r"does not keep versions\. Enable versioning"):
        sync.with_settings(backup="versioning").run()
    assert sync.look() == before


def test_without_a_backup_a_rollback_says_so(sync: Sync, command: CommandLine) -> None:
    sync.sandbox.load_flights(months=[1])
    add_indexes(sync.sandbox)
    sync.with_settings(backup="none").run(run_id="bad")
    before = sync.look()
    code, out, _ = command.run("rollback", "--run", "bad")
    assert code == 1
    assert "backup: none" in out
    assert sync.look() == before
