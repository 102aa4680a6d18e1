"""A bad network, a real one through toxiproxy, between us and controller and store.

Connections are reset, cut in the middle of requests and answers, fall silent, or are late: at every call that a run
makes for a segment, on the way there or back. What was done is read back, and done neither twice nor by guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest
from tests.e2e.kit import NEW_INDEXES, TABLE, SegmentView, Sync, add_indexes, leave_servers_behind, outcomes, syncing
from tests.network.faults import RESET_ANSWER, RESET_REQUEST, SILENT_ANSWER, Fault, cut_answer
from tests.network.faulty_sync import FaultySync, far_away
from tests.network.matrix import CELLS, COPY_CELLS, IN_HEADERS, Cell, Done, befalls
from tests.network.routes import Network
from tests.network.toxiproxy import Toxic, Toxiproxy

from deep_store_sync.errors import DeepStoreSyncError, DeepStoreUnavailableError, PinotUnavailableError
from deep_store_sync.model import Outcome, PublishMode, SegmentOutcome
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.stamp import read_stamp
from deep_store_sync.store.object_url import parse_url
from pinot_sandbox import Sandbox, flights

SEGMENT = "flights_2013-01"
MATRIX = "matrix_OFFLINE"
ROWS = 40
# What an operator is told to do.
REMEDIES = (
    "Check the endpoint URL",
    "Check the network",
    "Look at its health",
    "Is the controller running",
    "look at its log and load",
)
FAULTS = (RESET_REQUEST, RESET_ANSWER, cut_answer(IN_HEADERS))


# --- every call for a segment ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """The table at one moment."""

    segments: dict[str, SegmentView]
    vouched_for: frozenset[str]
    """Segments whose stamp speaks of the object that is there."""
    rows: list[list[Any]]


@dataclass(frozen=True)
class Runs:
    """A run with faults, and two without."""

    before: Seen
    faulty: dict[str, SegmentOutcome]
    between: Seen
    clean: dict[str, SegmentOutcome]
    after: Seen
    third: dict[str, SegmentOutcome]
    last: Seen
    versions: dict[str, int]
    """How many versions of each object there are."""
    downloads: dict[str, dict[str, int]]
    """By server and segment."""
    befell: frozenset[str]
    """Segments that a fault befell."""


@pytest.fixture(scope="module")
def runs(sandbox: Sandbox, toxiproxy: Toxiproxy) -> Runs:
    """Runs that stream archives to the deep store."""
    return going_through(CELLS, sandbox, toxiproxy, publish_by="stream")


@pytest.fixture(scope="module")
def copying_runs(sandbox: Sandbox, toxiproxy: Toxiproxy) -> Runs:
    """Runs that copy them inside the store."""
    if sandbox.s3.kind != "versitygw":
        pytest.skip("needs versitygw: moto honours no condition on copies")
    return going_through(COPY_CELLS, sandbox, toxiproxy, publish_by="auto")


def going_through(cells: Mapping[str, Cell], sandbox: Sandbox, toxiproxy: Toxiproxy, **changed: Any) -> Runs:
    """A segment for each call and fault. One run meets them all, since the connections of one are not another's."""
    client, bucket = sandbox.s3.client(), sandbox.s3.bucket
    with syncing(sandbox, MATRIX) as sync:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        try:
            for version in list(all_versions(client, bucket)):  # of a table of this name that was dropped
                client.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
            make_matrix(sync, cells)
            before = look(sync)
            sandbox.reset_downloads()
            settings = {
                "batch_segments": len(cells),
                "wave_segments": len(cells),
                "max_failures": None,
                "max_failed_share": 1.0,
                "backup": "copy",
                **changed,
            }
            with far_away(sync, toxiproxy, **settings) as faulty:

                def rule(segment: str, call: str) -> Fault | None:
                    cell = cells.get(segment)
                    return cell.fault if cell and befalls(cell, call, faulty.calls[segment], faulty.step) else None

                faulty.rule = rule
                first = faulty.run()
                befell = frozenset(
                    segment for segment, calls in faulty.calls.items() if any(call.fault for call in calls)
                )
            between = look(sync)
            second = sync.with_settings(**settings).run()
            after = look(sync)
            third = sync.with_settings(**settings).run()
            urls = {parse_url(str(record.url))[1]: record.name for record in sync.services.controller.segments(MATRIX)}
            versions = dict.fromkeys(cells, 0)
            for version in all_versions(client, bucket):
                versions[urls[version["Key"]]] += 1
            counts = sandbox.downloads(MATRIX)
            downloads = {server: {name: item.count for name, item in counts[server].items()} for server in counts}
            return Runs(before, first, between, second, after, third, look(sync), versions, downloads, befell)
        finally:
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
            client.close()


def all_versions(client: Any, bucket: str) -> Iterator[Any]:
    """The versions of all objects of the table."""
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix="deepstore/matrix/"):
        yield from page.get("Versions", [])


def make_matrix(sync: Sync, cells: Mapping[str, Cell]) -> None:
    """Small segments of flights that lack indexes which the table has; those of quiet cells have them on servers."""
    sandbox = sync.sandbox
    config = {**flights.table_config(), "tableName": MATRIX}
    config["segmentsConfig"] = {**config["segmentsConfig"], "schemaName": "matrix"}
    schema = {**flights.schema(), "schemaName": "matrix"}
    rows = [row for _, row in islice(flights.rows([1]), ROWS * len(cells))]
    parts = {name: rows[ROWS * number : ROWS * (number + 1)] for number, name in enumerate(cells)}
    archives = sandbox.build_segments(parts, table_config=config, schema=schema)
    sandbox.create_table(config, schema)
    for archive in archives:
        sandbox.push_segment(MATRIX, archive)
    sandbox.wait_until_loaded(MATRIX)
    config = sandbox.table_config(MATRIX)
    config["tableIndexConfig"].update(
        invertedIndexColumns=["origin", "carrier"], rangeIndexColumns=["distance"], bloomFilterColumns=["tailnum"]
    )
    sandbox.update_table_config(config)
    for name, cell in cells.items():
        if cell.point.quiet:
            sandbox.reload(MATRIX, name)


def look(sync: Sync) -> Seen:
    segments = sync.look()
    vouched_for = frozenset(
        record.name
        for record in sync.services.controller.segments(sync.table)
        if read_stamp(record.custom, record.crc, segments[record.name].etag).table_hash
    )
    raw = sync.table.rpartition("_")[0]
    rows = sync.sandbox.query(f"select origin, count(*), sum(distance) from {raw} group by origin order by origin")
    return Seen(segments, vouched_for, rows)


def is_rebuilt(view: SegmentView) -> bool:
    return view.indexes >= NEW_INDEXES


@pytest.mark.parametrize("cell", CELLS.values(), ids=list(CELLS))
def test_a_fault_is_got_over_or_told_and_nothing_is_guessed(runs: Runs, cell: Cell) -> None:
    expect_no_guess(runs, cell)


@pytest.mark.parametrize("cell", COPY_CELLS.values(), ids=list(COPY_CELLS))
def test_a_fault_of_a_copy_is_got_over_or_told_and_the_next_run_finishes(copying_runs: Runs, cell: Cell) -> None:
    expect_no_guess(copying_runs, cell)
    expect_finished(copying_runs, cell)


def expect_no_guess(runs: Runs, cell: Cell) -> None:
    assert cell.segment in runs.befell
    row, view = runs.faulty[cell.segment], runs.between.segments[cell.segment]
    if cell.cured:
        assert (row.outcome, row.unproven) == (Outcome.SYNCED, ()), row.message
    else:
        assert row.outcome is Outcome.FAILED, row
        assert cell.point.call.split(" ")[0] in row.message
        assert any(remedy in row.message for remedy in REMEDIES), row.message
    assert (is_rebuilt(view), cell.segment in runs.between.vouched_for) == (
        cell.done >= Done.OBJECT,
        cell.done is Done.ZOOKEEPER,
    ), row.message
    if not is_rebuilt(view):
        assert view == runs.before.segments[cell.segment]


@pytest.mark.parametrize("cell", CELLS.values(), ids=list(CELLS))
def test_the_next_run_finishes_and_does_nothing_twice(runs: Runs, cell: Cell) -> None:
    expect_finished(runs, cell)


def expect_finished(runs: Runs, cell: Cell) -> None:
    expected = {
        Done.NOTHING: Outcome.SYNCED,
        Done.OBJECT: Outcome.STAMPED if cell.point.quiet else Outcome.SYNCED,
        Done.ZOOKEEPER: Outcome.SKIPPED,
    }
    row = runs.clean[cell.segment]
    assert row.outcome is expected[cell.done], row
    view = runs.after.segments[cell.segment]
    assert is_rebuilt(view)
    assert cell.segment in runs.after.vouched_for
    if cell.done >= Done.OBJECT:
        assert view.etag == runs.between.segments[cell.segment].etag
    assert runs.versions[cell.segment] == 2
    per_server = 0 if cell.point.quiet else 1
    assert {server: counts.get(cell.segment, 0) for server, counts in runs.downloads.items()} == dict.fromkeys(
        runs.downloads, per_server
    )


def test_a_stamp_is_true_and_no_row_is_lost_at_any_time(runs: Runs) -> None:
    for seen in (runs.before, runs.between, runs.after, runs.last):
        assert seen.rows == runs.before.rows
        assert {name for name in seen.vouched_for if not is_rebuilt(seen.segments[name])} == set()
    assert set(runs.before.segments) == set(CELLS)


def test_the_run_after_that_writes_nothing(runs: Runs) -> None:
    assert outcomes(runs.third) == {Outcome.SKIPPED}
    assert runs.last == runs.after


# --- the calls for a table -------------------------------------------------------------------------------------------


@pytest.fixture
def stale(sync: Sync, toxiproxy: Toxiproxy) -> Iterator[FaultySync]:
    """A month of flights that is to be published by refresh."""
    sync.sandbox.load_flights(months=[1])
    add_indexes(sync.sandbox)
    sync.sandbox.reset_downloads()
    with far_away(sync, toxiproxy) as faulty:
        yield faulty


def error_of(step: Callable[[], object]) -> DeepStoreSyncError | None:
    """What a step ends with, if it ends with an error."""
    try:
        step()
    except DeepStoreSyncError as error:
        return error
    return None


def names(faulty: FaultySync, step: str) -> list[str]:
    """The calls of a step that are of no single segment."""
    return list(dict.fromkeys(call.name for call in faulty.calls[""] if call.step == step))


def test_a_plan_is_made_of_whole_answers_or_not_at_all(sync: Sync, stale: FaultySync) -> None:
    before = sync.look()
    stale.find()
    calls = names(stale, "find")
    assert {"PutObject probe", "PutObject plan", f"GET /segments/{TABLE}/isStale"} <= set(calls)
    tolerated = set()
    faults = [(call, fault) for call in calls for fault in FAULTS[1:]]
    for call, fault in [*faults, ("GET /tables/flights", SILENT_ANSWER), ("PutObject plan", SILENT_ANSWER)]:
        stale.rule = lambda _, name, call=call, fault=fault: fault if name == call else None
        error = error_of(stale.find)
        if error is None:
            tolerated.add(call)
            continue
        assert error.transient, error
        assert call.split(" ")[0] in str(error)
        assert any(remedy in str(error) for remedy in REMEDIES), error
    # Without an answer to isStale the servers count as unknown; what is left of the probe does no harm; and where it is
    # not seen that the store copies over objects, archives are streamed.
    copies = {"CreateMultipartUpload", "UploadPartCopy", "CompleteMultipartUpload", "AbortMultipartUpload"}
    copies |= {"CopyObject", "GetObject", "GetObjectTagging"}
    told = {name for name in tolerated if name.removesuffix(" probe") in copies}
    assert tolerated - told == {f"GET /segments/{TABLE}/isStale", "DeleteObject probe"}
    assert "CopyObject probe" in told
    assert sync.look() == before
    stale.rule = lambda segment, name: None
    assert outcomes(stale.run()) == {Outcome.SYNCED}
    assert outcomes(sync.run()) == {Outcome.SKIPPED}


def test_a_step_that_a_fault_has_ended_is_done_again(sync: Sync, stale: FaultySync) -> None:
    """As Airflow does it, with the same plan. What the first try has published is not published again."""

    def ended_by_faults(step: Any, *arguments: Any, call: str) -> None:
        for fault in FAULTS:
            stale.rule = lambda _, name, fault=fault: fault if name == call else None
            with pytest.raises((DeepStoreUnavailableError, PinotUnavailableError), match=call.split(" ")[0]) as error:
                step(*arguments)
            assert error.value.transient
        stale.rule = lambda segment, name: None

    before = sync.look()[SEGMENT]
    (batch,) = stale.find().batches
    ended_by_faults(stale.rebuild, batch.id, call="GetObject plan")
    ended_by_faults(stale.rebuild, batch.id, call="GET /version")
    stale.rule = lambda _, name: SILENT_ANSWER if name == f"PutObject rebuilt/{batch.id}" else None
    with pytest.raises(DeepStoreUnavailableError, match="PutObject"):
        stale.rebuild(batch.id)
    stale.rule = lambda segment, name: None
    rebuilt = stale.rebuild(batch.id)
    ended_by_faults(stale.upload, batch.id, rebuilt, call="GET /tables/flights")
    ended_by_faults(stale.upload, batch.id, rebuilt, call=f"GET /segments/{TABLE}/isStale")
    ended_by_faults(stale.upload, batch.id, rebuilt, call="GET /tables/flights/idealstate")
    assert sync.look()[SEGMENT] == before
    ended_by_faults(stale.upload, batch.id, rebuilt, call=f"PutObject published/{batch.id}")
    published = sync.look()[SEGMENT]
    assert is_rebuilt(published)
    result = stale.upload(batch.id, rebuilt)
    ended_by_faults(stale.stamp, batch.id, result, call=f"PutObject stamped/{batch.id}")
    stale.stamp(batch.id, result)
    ended_by_faults(stale.report, call="PutObject report")
    row = stale.report()[SEGMENT]
    assert (row.outcome, row.mode, row.unproven) == (Outcome.SYNCED, PublishMode.REFRESH, ())
    assert sync.downloads() == dict.fromkeys(sync.sandbox.servers, 1)
    assert outcomes(sync.run()) == {Outcome.SKIPPED}
    assert sync.look()[SEGMENT] == published


def test_an_answer_of_the_controller_is_taken_whole_or_not_at_all(sync: Sync, toxiproxy: Toxiproxy) -> None:
    sync.sandbox.load_flights(months=[1])
    whole = sync.services.controller.segments(TABLE)
    network = Network(toxiproxy, sync.sandbox.controller_url)
    refused = 0
    with ControllerClient(network.clean.url, retries=0) as controller:
        for place in range(0, 100_000, 29):
            with network.clean.toxic(Toxic("limit_data", "downstream", place)):
                try:
                    got = controller.segments(TABLE)
                except PinotUnavailableError:
                    refused += 1
                    continue
            break
    assert got == whole
    assert refused > 10
    network.close()


def test_what_cannot_be_proven_is_said_to_be_unproven(sync: Sync, stale: FaultySync) -> None:
    stale.rule = lambda _, name: RESET_ANSWER if name.startswith("GET /instances/") else None
    row = stale.run()[SEGMENT]
    assert (row.outcome, row.proven, row.unproven) == (Outcome.SYNCED, (), tuple(sorted(sync.sandbox.servers)))
    assert "unproven on" in row.message
    assert sync.look()[SEGMENT].stamp
    assert outcomes(sync.run()) == {Outcome.SKIPPED}


@pytest.mark.parametrize("lost", ["the request", "the status"])
def test_of_a_forced_reload_the_servers_have_the_last_word(sync: Sync, toxiproxy: Toxiproxy, lost: str) -> None:
    leave_servers_behind(sync)
    reload, status = f"POST /segments/{TABLE}/{SEGMENT}/reload", "GET /segments/segmentReloadStatus/"
    with far_away(sync, toxiproxy, proof_timeout=timedelta(seconds=3)) as faulty:

        def rule(_: str, name: str) -> Fault | None:
            asked_for = any(call.name == reload for call in faulty.calls[""])
            lose = name == reload if lost == "the request" else asked_for and name.startswith(status)
            return RESET_ANSWER if lose else None

        faulty.rule = rule
        row = faulty.run()[SEGMENT]
    if lost == "the request":
        assert row.outcome is Outcome.FAILED
        assert "not accepted" in row.message
        assert any(remedy in row.message for remedy in REMEDIES)
    else:
        assert (row.outcome, row.proven) == (Outcome.SYNCED, tuple(sorted(sync.sandbox.servers))), row.message
    # The reload did arrive: the servers are where the deep store is, or will be in a moment.
    sync.sandbox.reload(TABLE, SEGMENT)
    assert outcomes(sync.run()) == {Outcome.SKIPPED}
