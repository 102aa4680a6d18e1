"""A table's settings, in camelCase, validated here. `table_files` reads them from files."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterable
from datetime import date, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from croniter import croniter
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    PositiveInt,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

_TABLE = re.compile(r"[\w.\-]{1,200}_(OFFLINE|REALTIME)")
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")
_SHORTEST = timedelta(days=1)
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _table(value: str) -> str:
    if not _TABLE.fullmatch(value):
        raise ValueError(f"{value!r} is not a table name with its type, as Pinot's controller lists it")
    return value


def _cron(value: str) -> str:
    if len(value.split()) != 5 or not croniter.is_valid(value):
        raise ValueError(f"{value!r} is not a cron expression of five fields")
    return value


def _timezone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is not a time zone of the IANA database") from None
    return value


def _duration(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a duration is a number with a unit")
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        value = float(match[1]) * _DURATION_UNITS[match[2]]
    if isinstance(value, (int, float)):
        value = timedelta(seconds=value)
    if not isinstance(value, timedelta):
        raise ValueError(f"{value!r} is not a duration: ms, s, m, h and d are the units, a bare number is seconds")
    if value <= timedelta(0):
        raise ValueError("a duration is above zero")
    return value


def _s3_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("s3", "s3a") or not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"{value!r} is not an S3 URL of the form s3://bucket/folder")
    return value.rstrip("/")


def _or_text(number: dict[str, Any], pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "string", "pattern": pattern}, number]})


# Each with what an editor is told of it. Where the two differ, it is the validator that decides.
TableName = Annotated[
    str, AfterValidator(_table), WithJsonSchema({"type": "string", "pattern": f"^(?:{_TABLE.pattern})$"})
]
Cron = Annotated[str, AfterValidator(_cron), WithJsonSchema({"type": "string", "pattern": r"^\s*\S+(\s+\S+){4}\s*$"})]
Timezone = Annotated[str, AfterValidator(_timezone)]
Glob = Annotated[str, Field(min_length=1)]
S3Url = Annotated[
    str, AfterValidator(_s3_url), WithJsonSchema({"type": "string", "pattern": "^s3a?://[^/?#@]+(/[^?#]*)?$"})
]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    _or_text({"type": "number", "exclusiveMinimum": 0}, rf"^(?:{_DURATION.pattern})$"),
]
Size = Annotated[
    ByteSize,
    _or_text({"type": "integer", "minimum": 0}, r"^\s*\d*\.?\d+\s*([kmgtpeKMGTPE]([iI]?[bB])?|[bB])?\s*$"),
]


class _Settings(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
    )


class EngineSettings(_Settings):
    """Pinot's segment library, which rebuilds segments in JVMs beside the task, and what they may take of the worker.

    Limits are those of one task. Several on one worker know nothing of one another: divide memory and disk yourself.
    """

    jars: Path | None = Field(default=None, examples=["/opt/pinot/lib"])
    """Folder with the jars of the cluster's Pinot version. Null: where `DEEP_STORE_SYNC_PINOT_JARS` or `PINOT_HOME`
    point, else the cache."""

    heap: Annotated[Size, Field(ge=64 * 1024**2)] | None = Field(default=None, examples=["1GiB"])
    """Largest Java heap of each segment that is rebuilt at once, 64 MiB at least. Null: an eighth of the worker's
    memory, of 512 MiB to 4 GiB. Raise it for segments with large dictionaries or star-trees, when one fails for want
    of heap."""

    parallel_segments: PositiveInt | None = Field(default=None, examples=[2])
    """Segments that a task rebuilds at once, each in a JVM of its own; two more may be under way, downloaded or
    uploaded. Null: half of the worker's cores, as far as twice the heap of each fits into its memory, one at least.
    Lower it where several tasks share a worker."""

    disk: Annotated[Size, Field(gt=0)] | None = Field(default=None, examples=["100GiB"])
    """Disk that a task may take. A segment needs its archive and four times its unpacked size (a sort has its files as
    often for a moment), and waits for others to finish until that is free. Null: four fifths of what is free when the
    task starts. Set it where several tasks share a disk."""

    workdir: Path | None = Field(default=None, examples=["/mnt/scratch"])
    """Folder for the segments that are rebuilt or published, on a fast local disk. What a killed task left there is
    removed by the next one on that machine. Null: the system's folder for temporary files."""

    max_growth: Annotated[float, Field(gt=1)] = Field(default=5.0, examples=[5])
    """How many times its unpacked size a rebuilt segment may take, with what Pinot adds for a while as it builds an
    index. The original and other copies do not count. One that takes more is stopped and fails: a star-tree over
    columns with many values grows without end. Raise it for new indexes that are meant to be much larger than the
    data."""

    segment_timeout: Duration = Field(default=timedelta(hours=1), examples=["1h"])
    """How long rebuilding one segment may take. After that it is stopped and fails, with what Java was doing in the
    log. Raise it for very large segments, or heavy indexes such as text and vector ones."""

    allow_version_mismatch: bool = False
    """Rebuild although the jars are of another Pinot version than the cluster. Set it for the time of a rolling
    upgrade, if runs should go on, and take it away afterwards."""


class TableSync(_Settings):
    """Everything that can be set for one table.

    Sizes are bytes or carry a unit (`50GiB`), durations are seconds or carry one (`6h`).
    """

    table: TableName = Field(examples=["flights_OFFLINE"])
    """The table's name with its type, `_OFFLINE` or `_REALTIME`, and with its database if it has one
    (`sales.flights_OFFLINE`)."""

    schedule: Cron | None = Field(default="0 3 * * *", examples=["0 3 * * *"])
    """When the table is synced: cron, five fields. Null: only when somebody starts it. The distance between two of
    these times is also the data interval of a backfill's runs; without a schedule there is no backfill. Let it follow
    how often config and schema change, and how soon new segments should be looked into."""

    timezone: Timezone = Field(default="UTC", examples=["Europe/Berlin"])
    """Time zone of the schedule, by its IANA name. Set it when the schedule has to keep to local hours."""

    start_date: date = Field(default=date(2024, 1, 1), examples=["2024-01-01"])
    """First day of the schedule. Missed runs are never caught up, so it only matters if it is in the future; a
    backfill may go before it."""

    controller_connection: str = Field(default="pinot_controller_default", min_length=1)
    """Airflow connection of type `pinot_controller`, to the controller of the table's cluster. Set it when tables are
    on several clusters."""

    aws_connection: str = Field(default="aws_default", min_length=1)
    """Airflow connection of type `aws`, for the deep store and the workspace. Set it when buckets need credentials of
    their own."""

    deep_store_prefixes: Annotated[tuple[S3Url, ...], Field(min_length=1)] = Field(
        examples=[["s3://bucket/controller-data"]]
    )
    """Where the table's segments may lie. A segment whose download URL is elsewhere is not eligible: nothing outside
    is ever written."""

    workspace: S3Url = Field(examples=["s3://bucket/deep-store-sync"])
    """Folder for plans, results, staged archives and backups. It must lie outside the deep store: Pinot cleans up
    what it finds there."""

    backup: Literal["auto", "versioning", "copy", "none"] = Field(default="auto", examples=["auto"])
    """What is kept of an object before it is overwritten, so that a run can be rolled back. `versioning`: the bucket
    keeps versions, and the old one's id is noted; where the bucket does not, nothing is overwritten (and an object that
    the store does not show as a version, as it was written before, is copied once). `copy`: the old
    object is copied into the workspace, inside the store. `auto`: versioning where the bucket has it, else copy.
    `none`: nothing, and no rollback."""

    publish_by: Literal["auto", "stream"] = Field(default="auto", examples=["auto"])
    """How a rebuilt archive gets from the workspace to the deep store. `auto`: by a copy inside the store, where the
    store is seen to honour conditions on copies (it is tried out in each run that has work), else through the worker.
    `stream`: always through the worker. Set that for a store whose copies are slow, or are not to be relied on."""

    keep_backups: Duration | None = Field(default=timedelta(days=14), examples=["14d"])
    """How long a run can be rolled back: its notes on what it overwrote, and the copies of `backup: copy`, are kept so
    long. What bucket versioning keeps is the business of the bucket's lifecycle rules. Null: until somebody removes
    them."""

    keep_runs: Duration | None = Field(default=timedelta(days=90), examples=["90d"])
    """How long plan, results and report of a run are kept. Backups go with them at the latest. Null: until somebody
    removes them."""

    keep_staged: Duration | None = Field(default=timedelta(days=2), examples=["2d"])
    """How long rebuilt archives are kept that a run has left behind without publishing them. Null: until somebody
    removes them."""

    audit_budget: Size = Field(default=ByteSize(50 * 1024**3), examples=["50GiB"], validate_default=True)
    """Bytes that a run may download to look into segments that no server reports as stale. A table that is only ever
    run on schedule converges at this pace. 0: only what the servers report, until a run with forceReload. Lower it
    when runs load network or workers too much, raise it when a config change should be through sooner."""

    max_server_download_bytes: Size | None = Field(default=None, examples=["500GiB"])
    """Bytes that servers may download because of one run: of each segment that is refreshed, or that servers are made
    to take, its archive times its replicas, and once more where a server ignores the refresh. The rest is left to later
    runs. What is published quietly is downloaded by nobody, and not bounded. Null: as much as there is. Set it where a
    config change that servers were not reloaded for should reach them over several nights. 0: nothing is published but
    quietly."""

    max_deferred_share: float = Field(default=0.0, ge=0, le=1, examples=[0.05])
    """Share of the eligible segments, 0 to 1, that a run may leave for later without having been asked to, before it
    fails: servers did not answer, config or schema changed meanwhile, or the kill switch was put on. Raise it when a
    server that is down for a while should not make runs red."""

    max_failures: PositiveInt | None = Field(default=100, examples=[100])
    """Failed segments after which a run begins no others, in any batch, and leaves the rest of the table as it is.
    Null: only the share counts. Lower it where somebody should look sooner; raise it to get past segments that nobody
    can mend."""

    max_failed_share: float = Field(default=0.2, gt=0, le=1, examples=[0.2])
    """The same as a share of the segments that the run is to work on, above 0 to 1, from five failures on. 1: only the
    number counts."""

    max_run_time: Duration | None = Field(default=None, examples=["4h"])
    """How long a run begins segments, from its plan on. What is under way then is finished and published, and the rest
    waits for the next run. The first batch is worked on in any case, and so is one that has been begun before, when its
    task is tried again or cleared. Null: until everything is done. Set it when a run that finds much to do, after a
    config change for example, has to end before the day begins. Batches then begin in the order of work instead of with
    the largest."""

    batch_bytes: Annotated[Size, Field(gt=0)] = Field(
        default=ByteSize(4 * 1024**3), examples=["4GiB"], validate_default=True
    )
    """Size of a batch, the unit of parallel work, in bytes of archives. A larger segment is a batch of its own. Lower
    it for shorter tasks, of which less is done again when one fails; raise it when there are many small ones."""

    batch_segments: PositiveInt = 50
    """Segments in a batch at most. A run has 1,000 batches at most: where that is too few, batches grow beyond both
    limits. Raise it for tables of many small segments."""

    wave_segments: PositiveInt = 10
    """Segments of a batch that are published at once, before waiting until every server has loaded them. Lower it if
    servers struggle to download, raise it for many small segments."""

    max_active_waves: PositiveInt = 1
    """Batches of a run that publish at once. This times `waveSegments` is how many segments of the table are in flight
    at most: written, and not seen to be loaded yet. Raise it for a first run over a large table, if servers can
    download so much at once, or have nothing to download."""

    proof_timeout: Duration = Field(default=timedelta(seconds=300), examples=["300s"])
    """How long to wait until the servers are seen to have loaded a wave; after half of it, those that answer and have
    not are made to download it. What they have not loaded even then is reported as failed, what no answer was had
    about as unproven. Raise it for large segments, or servers that download slowly."""

    reload_give_up_after: Duration = Field(default=timedelta(hours=6), examples=["6h"])
    """Age at which another operation on the table that never ends is no longer waited for: a server reload, a segment
    replacement, a minion task, a rebalance without a sign of life. Raise it when those of a table really take
    longer."""

    engine: EngineSettings = Field(default=EngineSettings())
    """Pinot's segment library, and what it may take of a worker: see below."""

    controller_timeout: Duration = Field(default=timedelta(seconds=60), examples=["60s"])
    """How long a call to the controller may take. Raise it for tables with very many segments."""

    server_timeout: Duration = Field(default=timedelta(seconds=30), examples=["30s"])
    """How long a call to a server's admin port may take. Raise it when busy servers are reported as unproven."""

    store_timeout: Duration = Field(default=timedelta(seconds=60), examples=["60s"])
    """How long the store may be silent within a call; a transfer may take as long as it goes on. Raise it for a store
    that is slow to begin its answers, when it copies large objects for example."""

    pool: str | None = Field(default=None, examples=["deep_store_sync"])
    """Airflow pool of the batches' tasks, to bound them over all tables. It has to exist. Null: the default pool."""

    queue: str | None = Field(default=None, examples=["pinot_rebuild"])
    """Queue of the tasks that need Java, memory and disk, `rebuild_segment` and `upload_and_refresh`, where the
    executor has queues, as Celery's. Workers have to listen to it. Null: the default queue. Set it to keep these tasks
    on machines of their own."""

    pod_template_file: Path | None = Field(default=None, examples=["/opt/airflow/pod_templates/rebuild.yaml"])
    """Pod template of the same tasks, for the KubernetesExecutor; the scheduler reads it. Null: the executor's own. Set
    it to give these pods more memory and disk than others."""

    retries: int = Field(default=3, ge=0, examples=[3])
    """Tries after the first one for a task that failed for a reason that may pass. Other failures are never tried
    again. The pause before each is about twice the one before, from 30 s to 10 minutes: raise it to sit out longer
    outages."""

    task_timeout: Duration | None = Field(default=timedelta(days=1), examples=["1d"])
    """How long a single try of a task may take; after that it is stopped, with its Java processes, and tried again as
    `retries` says. Waiting for other operations does not count. Null: as long as it takes. Raise it for batches that
    take longer, lower it where a task that hangs should be noticed sooner."""

    max_active_batches: PositiveInt | None = Field(default=None, examples=[4])
    """Batches of a run that are worked on at once. Null: as many as Airflow has slots for. Set it to bound what one
    table takes of workers, network and servers."""

    @property
    def give_up_after_ms(self) -> int:
        """`reload_give_up_after` in milliseconds, as Pinot tells ages."""
        return round(self.reload_give_up_after.total_seconds() * 1000)

    @model_validator(mode="after")
    def _workspace_is_outside(self) -> TableSync:
        workspace = _folder(self.workspace)
        for prefix in self.deep_store_prefixes:
            folder = _folder(prefix)
            if workspace.startswith(folder) or folder.startswith(workspace):
                raise ValueError(
                    f"workspace: {self.workspace} and the deep store's {prefix} lie within one another; give the "
                    "workspace a folder of its own, since Pinot deletes what it does not know in a deep-store folder"
                )
        return self

    @model_validator(mode="after")
    def _backups_stay_within_runs(self) -> TableSync:
        if self.keep_runs is None:
            return self
        for name, kept in (("keepBackups", self.keep_backups), ("keepStaged", self.keep_staged)):
            if kept is None or kept > self.keep_runs:
                raise ValueError(f"{name}: what a run left cannot outlive the run's plan: make keepRuns longer")
        if self.keep_runs < _SHORTEST:
            raise ValueError("keepRuns: less than a day could remove the plan of a run that is still at work")
        return self


def is_table_name(name: str) -> bool:
    """Whether it is the name, with type, that a table may have here."""
    return _TABLE.fullmatch(name) is not None


class Discovery(_Settings):
    """A file with `discover: true` stands for many tables: those that the controller lists.

    Beside these settings, it takes every one of a table but `table`: they hold for each of its tables. A table with a
    file of its own goes by that file.
    """

    discover: bool = Field(default=False, strict=True)
    """True: this file stands for the tables of its controller (and database) that `include` and `exclude` let through,
    present and future. A DAG of its own asks the controller for them. Set it when a new table should be covered without
    a deploy."""

    include: Annotated[tuple[Glob, ...], Field(min_length=1)] = Field(default=("*",), examples=[["*_OFFLINE"]])
    """Globs of the names, with type, of the tables that are meant (`*`, `?`, `[…]`; upper and lower case differ).
    Narrow it when the deep store of only some tables is to be kept in sync."""

    exclude: tuple[Glob, ...] = Field(default=(), examples=[["tmp_*"]])
    """Globs of tables that are not meant, although `include` has them. Set it for tables that come and go, or that
    somebody else looks after."""

    discover_schedule: Cron | None = Field(default="0 * * * *", examples=["0 * * * *"])
    """When the controller is asked: cron, five fields, in `timezone`. It takes two calls. Null: only when somebody
    starts it. Make it more frequent when new tables should be covered sooner."""

    max_tables: PositiveInt = 500
    """Tables at most. Where the controller lists more that are meant, those that were known stay, and the run that
    asked is red: each table is a DAG, and a glob that is too wide should not make thousands of them. Raise it when
    there are so many."""

    start_paused: bool = False
    """Whether the DAG of a table that is new begins paused. Set it when somebody should look at each new table before
    its first run."""

    def means(self, table: str) -> bool:
        """Whether a table, given by name with type, is one of those that the file stands for."""
        return _any_matches(self.include, table) and not _any_matches(self.exclude, table)


def _any_matches(globs: Iterable[str], table: str) -> bool:
    return any(fnmatchcase(table, glob) for glob in globs)


def _folder(url: str) -> str:
    """Bucket and key with a closing slash, whatever the scheme."""
    return url.partition("://")[2].rstrip("/") + "/"
