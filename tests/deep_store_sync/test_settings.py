from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from deep_store_sync.errors import ConfigError
from deep_store_sync.settings import TableSync
from deep_store_sync.table_files import BrokenTable, LoadedTable, load_tables

GOOD = """\
table: flights_OFFLINE
deepStorePrefixes: [s3://pinot/deepstore]
workspace: s3://pinot/deep-store-sync
"""
REPOSITORY = Path(__file__).resolve().parents[2]


def load(folder: Path, content: str) -> LoadedTable | BrokenTable:
    (folder / "flights.yaml").write_text(content)
    (table,) = load_tables(folder)
    return table


def settings(folder: Path, content: str) -> TableSync:
    table = load(folder, content)
    assert isinstance(table, LoadedTable), table.message
    return table.settings


def broken(folder: Path, content: str) -> BrokenTable:
    table = load(folder, content)
    assert isinstance(table, BrokenTable)
    return table


def test_defaults(tmp_path: Path) -> None:
    got = settings(tmp_path, GOOD)
    assert got.table == "flights_OFFLINE"
    assert got.deep_store_prefixes == ("s3://pinot/deepstore",)
    assert got.schedule == "0 3 * * *"
    assert got.audit_budget == 50 * 1024**3
    assert got.batch_bytes == 4 * 1024**3
    assert (got.batch_segments, got.wave_segments, got.retries) == (50, 10, 3)
    assert got.proof_timeout == timedelta(minutes=5)
    assert got.reload_give_up_after == timedelta(hours=6)
    assert got.max_deferred_share == 0
    assert (got.max_failures, got.max_failed_share, got.max_active_waves) == (100, 0.2, 1)
    assert got.backup == "auto"
    assert got.engine.jars is got.engine.heap is got.engine.parallel_segments is got.engine.disk is None
    assert got.engine.max_growth == 5
    assert got.engine.segment_timeout == timedelta(hours=1)
    assert got.pool is None


def test_everything_can_be_set(tmp_path: Path) -> None:
    got = settings(
        tmp_path,
        """\
table: sales.flights_REALTIME
schedule: null
timezone: Europe/Berlin
startDate: 2026-02-03
controllerConnection: pinot_eu
awsConnection: aws_eu
deepStorePrefixes: [s3://pinot/a/, s3a://other]
workspace: s3://pinot/deep-store-sync/
auditBudget: 0
maxDeferredShare: 0.25
maxFailures: 7
maxFailedShare: 0.5
maxActiveWaves: 4
batchBytes: 512MiB
batchSegments: 7
waveSegments: 3
proofTimeout: 90
reloadGiveUpAfter: 1.5h
backup: none
engine:
  jars: /opt/pinot/lib
  heap: 2GiB
  parallelSegments: 4
  disk: 100GiB
  workdir: /mnt/scratch
  maxGrowth: 1.5
  segmentTimeout: 2h
  allowVersionMismatch: true
controllerTimeout: 2m
serverTimeout: 500ms
pool: deep_store_sync
retries: 0
maxActiveBatches: 2
""",
    )
    assert got.schedule is None
    assert got.start_date == date(2026, 2, 3)
    assert got.deep_store_prefixes == ("s3://pinot/a", "s3a://other")
    assert got.workspace == "s3://pinot/deep-store-sync"
    assert got.audit_budget == 0
    assert got.batch_bytes == 512 * 1024**2
    assert got.proof_timeout == timedelta(seconds=90)
    assert got.reload_give_up_after == timedelta(minutes=90)
    assert got.server_timeout == timedelta(milliseconds=500)
    assert got.engine.jars == Path("/opt/pinot/lib")
    assert got.engine.heap == 2 * 1024**3
    assert (got.engine.parallel_segments, got.engine.disk) == (4, 100 * 1024**3)
    assert (got.engine.workdir, got.engine.max_growth) == (Path("/mnt/scratch"), 1.5)
    assert got.engine.segment_timeout == timedelta(hours=2)
    assert got.engine.allow_version_mismatch
    assert got.max_active_batches == 2
    assert (got.max_failures, got.max_failed_share, got.max_active_waves) == (7, 0.5, 4)


def test_settings_do_not_change() -> None:
    got = TableSync.model_validate({"table": "t_OFFLINE", "deepStorePrefixes": ["s3://a/b"], "workspace": "s3://c/d"})
    with pytest.raises(ValidationError, match="frozen"):
        got.table = "u_OFFLINE"  # type: ignore[misc]


def test_every_setting_is_documented() -> None:
    schema = TableSync.model_json_schema(by_alias=True)
    fields = {**schema["properties"], **schema["$defs"]["EngineSettings"]["properties"]}
    assert not [name for name, field in fields.items() if not field.get("description")]
    assert {"auditBudget", "deepStorePrefixes", "allowVersionMismatch"} <= set(fields)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("batchByts: 4GiB", "batchByts: unknown setting; did you mean batchBytes?"),
        ("batch_bytes: 4GiB", "batch_bytes: unknown setting; did you mean batchBytes?"),
        ("zzz: 1", "zzz: unknown setting; known are table, schedule,"),
        ("engine: {heep: 1GiB}", "engine.heep: unknown setting; did you mean heap?"),
        ("engine: {heap: 5}", "engine.heap: input should be greater than or equal to 67108864 (it is 5); give 1GiB"),
        ("engine: {maxGrowth: 0.5}", "engine.maxGrowth: input should be greater than 1 (it is 0.5); give 5"),
        ("engine: {segmentTimeout: 0}", "engine.segmentTimeout: a duration is above zero (it is 0); give 1h"),
        ("engine: {parallelSegments: 0}", "engine.parallelSegments: input should be greater than 0; give 2"),
        ("engine: none", "engine: input should be a valid dictionary"),
        ("schedule: 0 3 * *", "schedule: '0 3 * *' is not a cron expression of five fields; give 0 3 * * *"),
        ("schedule: 61 3 * * *", "schedule: '61 3 * * *' is not a cron expression"),
        ("timezone: Mars/Base", "timezone: 'Mars/Base' is not a time zone of the IANA database; give Europe/Berlin"),
        ("timezone: ../../etc/passwd", "is not a time zone"),
        ("startDate: soon", "startDate: input should be a valid date"),
        ("controllerConnection: ''", "controllerConnection: string should have at least 1 character"),
        (
            "auditBudget: 50 apples",
            "auditBudget: could not interpret byte unit: apples (it is '50 apples'); give 50GiB",
        ),
        ("auditBudget: -1", "auditBudget: could not parse value and unit from byte string (it is -1)"),
        ("batchBytes: 0", "batchBytes: input should be greater than 0"),
        ("batchSegments: 0", "batchSegments: input should be greater than 0"),
        ("waveSegments: many", "waveSegments: input should be a valid integer"),
        ("maxDeferredShare: 2", "maxDeferredShare: input should be less than or equal to 1 (it is 2); give 0.05"),
        ("proofTimeout: soon", "proofTimeout: 'soon' is not a duration: ms, s, m, h and d are the units"),
        ("proofTimeout: 0", "proofTimeout: a duration is above zero (it is 0); give 300s"),
        ("proofTimeout: true", "proofTimeout: a duration is a number with a unit"),
        ("backup: yes", "backup: input should be 'auto', 'versioning', 'copy' or 'none' (it is True); give auto"),
        ("retries: -1", "retries: input should be greater than or equal to 0"),
        ("maxActiveBatches: 0", "maxActiveBatches: input should be greater than 0"),
    ],
)
def test_a_wrong_value_is_named_with_file_field_and_remedy(tmp_path: Path, line: str, says: str) -> None:
    table = broken(tmp_path, f"{GOOD}{line}\n")
    assert table.path == tmp_path / "flights.yaml"
    assert table.message.startswith(f"{tmp_path / 'flights.yaml'}: ")
    assert says in table.message
    assert "\n" not in table.message
    assert table.table == "flights_OFFLINE"


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    lines = broken(tmp_path, f"{GOOD}retries: x\nbatchByts: 1\n").message.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(str(tmp_path)) for line in lines)


@pytest.mark.parametrize("table", ["flights", "flights_offline", "a b_OFFLINE", "_OFFLINE", "a/b_OFFLINE"])
def test_the_table_carries_its_type(tmp_path: Path, table: str) -> None:
    got = broken(tmp_path, GOOD.replace("flights_OFFLINE", f"'{table}'"))
    assert f"table: '{table}' is not a table name with its type" in got.message
    assert got.table is None


def test_what_is_required(tmp_path: Path) -> None:
    message = broken(tmp_path, "table: flights_OFFLINE\n").message
    assert "deepStorePrefixes: required, and not given; give ['s3://bucket/controller-data'], for example" in message
    assert "workspace: required, and not given; give s3://bucket/deep-store-sync, for example" in message


@pytest.mark.parametrize("url", ["/data/pinot", "gs://pinot/deepstore", "s3://", "s3:///key", "s3://b/k?versionId=1"])
def test_only_s3_urls(tmp_path: Path, url: str) -> None:
    message = broken(tmp_path, GOOD.replace("s3://pinot/deepstore", f"'{url}'")).message
    assert f"deepStorePrefixes.0: '{url}' is not an S3 URL of the form s3://bucket/folder" in message
    assert "\n" not in message


def test_at_least_one_prefix(tmp_path: Path) -> None:
    message = broken(tmp_path, GOOD.replace("[s3://pinot/deepstore]", "[]")).message
    assert "deepStorePrefixes: tuple should have at least 1 item" in message


@pytest.mark.parametrize(
    ("workspace", "prefix", "apart"),
    [
        ("s3://pinot/deepstore/work", "s3://pinot/deepstore", False),
        ("s3://pinot", "s3://pinot/deepstore", False),
        ("s3a://pinot/deepstore/", "s3://pinot/deepstore", False),
        ("s3://pinot/work", "s3://pinot", False),
        ("s3://pinot/deepstore-sync", "s3://pinot/deepstore", True),
        ("s3://other/deepstore", "s3://pinot/deepstore", True),
    ],
)
def test_the_workspace_lies_outside_the_deep_store(tmp_path: Path, workspace: str, prefix: str, apart: bool) -> None:
    got = load(tmp_path, f"table: t_OFFLINE\ndeepStorePrefixes: [{prefix}]\nworkspace: {workspace}\n")
    assert isinstance(got, LoadedTable) is apart
    if isinstance(got, BrokenTable):
        assert "workspace: " in got.message
        assert "lie within one another; give the workspace a folder of its own" in got.message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("table: [", "not valid YAML: line 1, column 9: expected the node content"),
        ("schedule: @daily", "not valid YAML: line 1, column 11: found character '@'"),
        (f"{GOOD}table: other_OFFLINE\n", "not valid YAML: line 4, column 1: table is given twice; keep one"),
        (f"{GOOD}engine: {{heap: 1GiB, heap: 2GiB}}\n", "heap is given twice"),
        ("", "empty, or no mapping"),
        ("- table", "empty, or no mapping"),
        ("a: !!python/object:os.system {}", "not valid YAML"),
    ],
)
def test_a_file_that_holds_no_settings(tmp_path: Path, content: str, says: str) -> None:
    table = broken(tmp_path, content)
    assert table.message.startswith(f"{tmp_path / 'flights.yaml'}: ")
    assert says in table.message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"table: \xe9t\xe9_OFFLINE\n")
    (tmp_path / "folder.yaml").mkdir()
    tables = load_tables(tmp_path)
    assert [type(table) for table in tables] == [BrokenTable, BrokenTable]
    assert "cannot be read" in str(tables)


def test_a_wrong_file_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yml").write_text("table: [")
    (tmp_path / "c.yaml").write_text(GOOD.replace("flights", "other"))
    (tmp_path / "notes.txt").write_text("no table")
    (tmp_path / ".hidden.yaml").write_text("no table")
    got = [(table.path.name, isinstance(table, LoadedTable)) for table in load_tables(tmp_path)]
    assert got == [("a.yaml", True), ("b.yml", False), ("c.yaml", True)]


def test_a_table_in_two_files_stays_with_the_first(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(f"{GOOD}retries: 1\n")
    first, second = load_tables(tmp_path)
    assert isinstance(first, LoadedTable)
    assert isinstance(second, BrokenTable)
    assert (
        second.message
        == f"{tmp_path / 'b.yaml'}: table: flights_OFFLINE is already set in a.yaml; keep one of the two files"
    )


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such folder; DEEP_STORE_SYNC_TABLES has to name"):
        load_tables(tmp_path / "nowhere")


def test_the_example_is_right() -> None:
    tables = load_tables(REPOSITORY / "include" / "tables")
    assert [table.settings.table for table in tables if isinstance(table, LoadedTable)] == ["flights_OFFLINE"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("keepBackups: 100d", "keepBackups: what a run left cannot outlive the run's plan: make keepRuns longer"),
        ("keepStaged: null", "keepStaged: what a run left cannot outlive"),
        ("keepRuns: 6h\nkeepBackups: 1h\nkeepStaged: 1h", "keepRuns: less than a day could remove the plan of a run"),
    ],
)
def test_what_is_kept_has_to_fit_together(tmp_path: Path, content: str, says: str) -> None:
    assert says in broken(tmp_path, f"{GOOD}{content}\n").message


def test_everything_can_be_kept(tmp_path: Path) -> None:
    got = settings(tmp_path, f"{GOOD}keepRuns: null\nkeepBackups: null\nkeepStaged: null\n")
    assert got.keep_runs is got.keep_backups is got.keep_staged is None
