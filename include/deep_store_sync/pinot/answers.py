"""What the controller answers, as typed values: pure functions over decoded JSON.

Shapes are those of Pinot 1.5.1 (`pinot-controller`); where 1.3 and 1.4 answer less, that is named. A function that
meets another shape raises ValueError, TypeError, KeyError or AttributeError, and the client says which call it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from deep_store_sync.model import Lineage, SegmentRecord
from deep_store_sync.pinot.operations import RebalanceJob, Replacement
from deep_store_sync.pinot.reload_job import ReloadJob, ReloadStatus
from deep_store_sync.pinot.zk_metadata import segment_record

Json = dict[str, Any]


def version(body: Json) -> str:
    """The controller's version out of the components' versions, without a build suffix."""
    for component in ("pinot-controller", "pinot-spi", "pinot-common", *sorted(body)):
        if found := re.match(r"\d+\.\d+\.\d+(-SNAPSHOT)?", str(body.get(component) or "")):
            return found.group()
    raise ValueError


def table_names(body: Json, kind: str) -> list[str]:
    """The tables of a type, by name with type."""
    names = body["tables"]
    if not isinstance(names, list) or not all(isinstance(name, str) and name.endswith(f"_{kind}") for name in names):
        raise ValueError
    return names


def host_and_port(body: Json) -> tuple[str, int | None]:
    """Host and plain admin port of an instance. Old instances have their role before the host name."""
    host, port = body["hostName"].removeprefix("Server_"), body.get("adminPort")
    return (f"[{host}]" if ":" in host else host), port if isinstance(port, int) and port > 0 else None


def tls_admin_port(body: Json) -> int | None:
    """The TLS admin port out of an instance's ZooKeeper node."""
    port = str(body["simpleFields"].get("adminHttpsPort", ""))
    return int(port) if port.isdecimal() and int(port) > 0 else None


def created_ms(body: Json, kind: str) -> int | None:
    """The creation time out of a table's stats."""
    try:
        created = datetime.strptime(body[kind]["creationTime"], "%Y%m%dT%H%M%SZ")
    except (ValueError, KeyError, TypeError):
        return None
    return int(created.replace(tzinfo=UTC).timestamp() * 1000)


def ideal_state(body: Json, kind: str) -> dict[str, dict[str, str]] | None:
    """Segment to server to state; None where the table is not there."""
    states = body.get(kind)
    if states is None:
        return None
    return {segment: dict(servers.items()) for segment, servers in states.items()}


def lineage(body: Json | None) -> Lineage:
    """The segments of lineage entries; a table without any has an empty answer.

    Pinot does not query `segmentsFrom` of a completed entry, nor `segmentsTo` of one that is in progress or reverted
    (`SegmentLineageUtils`). What is not queried any more counts as replaced.
    """
    in_progress: set[str] = set()
    replaced: set[str] = set()
    for entry in ((body or {}).get("lineageEntries") or {}).values():
        old, new = entry["segmentsFrom"], entry["segmentsTo"]
        if entry["state"] == "COMPLETED":
            replaced.update(old)
        elif entry["state"] == "REVERTED":
            replaced.update(new)
        else:
            in_progress.update(old, new)
    return Lineage(frozenset(in_progress), frozenset(replaced))


def segments(pieces: Iterable[bytes]) -> list[SegmentRecord]:
    """ZooKeeper metadata of all segments, by name, from pieces of JSON."""
    records = [segment_record(name, fields) for piece in pieces for name, fields in json.loads(piece).items()]
    return sorted(records, key=lambda record: record.name)


def need_reload(body: Json) -> dict[str, bool]:
    """Whether each server that answered would change something in a reload."""
    return {server: bool(answer["needReload"]) for server, answer in body["serverToSegmentsCheckReloadList"].items()}


def replacements(body: Json | None) -> list[Replacement]:
    """The lineage entries that are in progress: whatever their state is called, if it is not one of the two ends."""
    return [
        Replacement(id_, frozenset((*entry["segmentsFrom"], *entry["segmentsTo"])))
        for id_, entry in sorted(((body or {}).get("lineageEntries") or {}).items())
        if entry["state"] not in ("COMPLETED", "REVERTED")
    ]


def rebalance_jobs(body: Json) -> list[RebalanceJob]:
    """The rebalances of a table. Their progress is JSON in a string (`TableRebalanceProgressStats`)."""
    return [
        RebalanceJob(
            id_, str(json.loads(job["REBALANCE_PROGRESS_STATS"])["status"]), _count(job.get("submissionTimeMs"))
        )
        for id_, job in sorted(body.items())
    ]


def rebalance_time_ms(body: Json) -> int:
    """The controller's time out of the status of a rebalance."""
    return int(body["tableRebalanceProgressStats"]["startTimeMs"]) + 1000 * int(body["timeElapsedSinceStartInSeconds"])


def waiting_or_running(body: Json | None) -> list[str]:
    """The minion tasks that are not over, by Helix' states of a job. Those of a stopped queue have stopped, too."""
    over = {"STOPPED", "FAILED", "COMPLETED", "ABORTED", "TIMED_OUT"}
    return sorted(name for name, state in (body or {}).items() if state not in over)


def minion_task_input(body: list[Json], table: str) -> frozenset[str] | None:
    """The segments of a table that a minion task's subtasks have as input; None where one of them names none.

    Their configs may hold credentials, and are not kept.
    """
    configs = [task["configs"] for task in body if task["configs"].get("tableName") == table]
    if not configs or not all(config.get("segmentName") for config in configs):
        return None
    return frozenset(name for config in configs for name in config["segmentName"].split(","))


def minion_task_started_ms(name: str) -> int | None:
    """When a minion task was submitted: the controller puts that into its name, unless somebody else named it.

    `Task_<type>_<uuid>_<ms>` (Pinot 1.5.1, `PinotHelixTaskResourceManager.submitTask`), and whatever suffix was asked
    for.
    """
    found = re.search(r"_(1\d{12})(?!\d)", name)
    return int(found.group(1)) if found else None


def start_time_ms(body: Json | None) -> int | None:
    """When a minion task began, out of its debug information; None where its time zone is not UTC, or it has not."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (UTC|GMT|Z)", str((body or {}).get("startTime") or ""))
    if not found:
        return None
    began = datetime.strptime(found.group(1), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    return int(began.timestamp() * 1000)


def reload_jobs(body: Json, table: str) -> list[ReloadJob]:
    """The reload jobs of a table. Several segment names are joined with a bar (`SEGMENT_NAME_SEPARATOR`)."""
    return [
        ReloadJob(
            id=id_,
            table=table,
            submitted_ms=_count(job.get("submissionTimeMs")),
            segments=tuple(name for name in (job.get("segmentName") or "").split("|") if name),
            instance=job.get("instanceName"),
            messages=_count(job.get("messageCount")),
        )
        for id_, job in sorted(body.items())
    ]


def reload_status(body: Json) -> ReloadStatus:
    """How far a reload job is. `status` and `failureCount` came with 1.5."""
    elapsed = body.get("timeElapsedInMinutes")
    return ReloadStatus(
        status=body.get("status"),
        total=_count(body["totalSegmentCount"]),
        succeeded=_count(body["successCount"]),
        failed=_count(body.get("failureCount")),
        unanswered=_count(body.get("totalServerCallsFailed")) or 0,
        age_ms=int(elapsed * 60_000) if isinstance(elapsed, int | float) else None,
    )


def reload_job_id(text: str) -> str | None:
    """The job's id in the answer to a reload, or None.

    The answer for one segment is a sentence, that for a table JSON; either comes inside a JSON object's `status`
    (`PinotTableReloadService`).
    """
    try:
        body = json.loads(text)
    except ValueError:
        body = text
    if not isinstance(body, dict):
        found = re.search(r"reload job id:\s*([^\s,\"']+)", str(body))
        return found.group(1) if found else None
    if isinstance(job := body.get("reloadJobId"), str):
        return job
    inner = (value if isinstance(value, str) else json.dumps(value) for value in body.values())
    return next((job for value in inner if (job := reload_job_id(value))), None)


def _count(value: Any) -> int | None:
    return None if value is None else int(value)
