"""The controller's REST API, as far as a sync needs it: typed answers, and errors that say what to do.

Paths and parameters are those of Pinot 1.5.1 (`pinot-controller`, package `controller.api.resources`).
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import httpx

from deep_store_sync.errors import PinotAccessError, PinotNotFoundError, SegmentGoneError
from deep_store_sync.model import Lineage, SegmentRecord, ServerAnswer
from deep_store_sync.pinot import answers, push
from deep_store_sync.pinot.http import Certificate, Http, address, part
from deep_store_sync.pinot.long_reads import LongReads
from deep_store_sync.pinot.operations import MinionTask, RebalanceJob, Replacement
from deep_store_sync.pinot.reload_job import ReloadJob, ReloadStatus
from deep_store_sync.pinot.table_name import of_table, split_table
from deep_store_sync.pinot.zk_metadata import segment_record

T = TypeVar("T")


class ControllerClient:
    """One cluster's controller. Safe to use from several threads; close it, or use it as a context manager.

    `table` is always a name with type (`flights_OFFLINE`). A `database` header, where the cluster has several, is a
    header like any other. Reads are retried as `http.Http` describes; a write is sent once, and where its outcome is
    unknown the error says so.

    Besides what each method names, all raise: PinotUnavailableError (no usable answer), PinotAccessError (401, 403),
    PinotAnswerError (something else than Pinot's API answers there), PinotError (any other refusal). Those of a table
    raise PinotNotFoundError where there is no such table.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: httpx.Auth | None = None,
        headers: Mapping[str, str] | None = None,
        verify: bool | str | ssl.SSLContext = True,
        cert: Certificate | None = None,
        timeout_s: float = 60,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url, auth = address(base_url, auth)
        self._http = Http(
            "controller",
            auth=auth,
            headers=headers,
            verify=verify,
            cert=cert,
            timeout_s=timeout_s,
            retries=retries,
            transport=transport,
            sleep=sleep,
        )
        self.long = LongReads(self._http, self.base_url)
        """The reads for tables with very many segments."""

    def __enter__(self) -> ControllerClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # --- the cluster -------------------------------------------------------------------------------------------------

    def version(self) -> str:
        """The controller's Pinot version (`1.5.1`), without the build's suffix."""
        return self._read("/version", answers.version, "an object of component and version")

    def tables(self) -> list[str]:
        """Every table, by name with type: of the database that the header names, else of the default one."""
        found: list[str] = []
        for kind in ("OFFLINE", "REALTIME"):
            read = partial(answers.table_names, kind=kind)
            found += self._read("/tables", read, f"an object with a list of {kind} tables", {"type": kind.lower()})
        return found

    def instance_admin_url(self, instance: str) -> str | None:
        """The URL of a server's admin port, or None where the cluster does not tell one.

        The plain port is preferred, as the controller itself does (`InstanceUtils.getServerAdminEndpoint`). The
        instance API leaves the TLS port out, so that one is read from the instance's ZooKeeper node, which needs more
        permissions.

        Raises:
            PinotNotFoundError: there is no such instance.
        """
        expected = "an object with hostName and adminPort"
        host, port = self._read(f"/instances/{part(instance)}", answers.host_and_port, expected)
        if port is not None:
            return f"http://{host}:{port}"
        try:
            cluster = self._read("/cluster/info", lambda body: body["clusterName"], "an object with clusterName")
            node = {"path": f"/{cluster}/CONFIGS/PARTICIPANT/{instance}"}
            port = self._read("/zk/get", answers.tls_admin_port, "a ZooKeeper node with simpleFields", node)
        except (PinotAccessError, PinotNotFoundError):
            return None
        return None if port is None else f"https://{host}:{port}"

    # --- the table ---------------------------------------------------------------------------------------------------

    def table_config(self, table: str) -> dict[str, Any]:
        """The table's config."""
        raw, kind = split_table(table)
        path, expected = f"/tables/{part(raw)}", f"an object with {kind}"
        return self._of_table(table, path, lambda body: _object(body.get(kind)), expected, {"type": kind})

    def schema(self, table: str) -> dict[str, Any]:
        """The table's schema. A table without one counts as not there."""
        path = f"/tables/{part(split_table(table)[0])}/schema"
        return self._of_table(table, path, lambda body: body if body["schemaName"] else None, "a schema")

    def table_created_ms(self, table: str) -> int | None:
        """When the table was created, by ZooKeeper's clock, cut to seconds. None where the controller does not tell."""
        raw, kind = split_table(table)
        path = f"/tables/{part(raw)}/stats"
        return self._read(path, lambda body: answers.created_ms(body, kind), f"an object with {kind}", {"type": kind})

    def ideal_state(self, table: str, segments: Collection[str] | None = None) -> Mapping[str, Mapping[str, str]]:
        """Which server is to hold which segment how: segment to server to state (ONLINE, CONSUMING, OFFLINE).

        With `segments`, of these alone: of a table of any size, that is little to hold.
        """
        if segments is not None:
            return self.long.wanted_replicas(table, segments).of(segments)
        raw, kind = split_table(table)
        path, expected = f"/tables/{part(raw)}/idealstate", "an object of segment, server and state"
        return self._of_table(table, path, lambda body: answers.ideal_state(body, kind), expected, {"tableType": kind})

    def lineage(self, table: str) -> Lineage:
        """The segments that a segment replacement touches."""
        raw, kind = split_table(table)
        path, expected = f"/segments/{part(raw)}/lineage", "lineage entries with state, segmentsFrom and segmentsTo"
        return self._of_table(table, path, answers.lineage, expected, {"type": kind})

    # --- segments ----------------------------------------------------------------------------------------------------

    def segments(self, table: str) -> list[SegmentRecord]:
        """Every segment as ZooKeeper knows it, by name."""
        return self.long.segments(table)

    def segment(self, table: str, name: str) -> SegmentRecord:
        """One segment as ZooKeeper knows it now.

        Raises:
            SegmentGoneError: there is no such segment.
        """
        path = f"/segments/{part(table)}/{part(name)}/metadata"
        try:
            return self._read(path, lambda body: segment_record(name, body), "a segment's ZooKeeper metadata")
        except PinotNotFoundError as error:
            raise SegmentGoneError(f"segment {name} of {table} is not there, probably deleted ({error})") from error

    def stale(self, table: str, segments: Collection[str] | None = None) -> dict[str, ServerAnswer]:
        """What each server says of its segments, held against table config and schema. Needs Pinot 1.3.

        A server that did not answer is simply not in it, and the controller calls that a success: hold the result
        against the servers of the ideal state. With `segments`, of these alone: that takes as long, and less memory.
        """
        return self.long.stale_of(table, segments)

    def need_reload(self, table: str) -> dict[str, bool]:
        """Whether each server would change something in a reload. As with `stale`, silent servers are not in it."""
        path, expected = f"/segments/{part(table)}/needReload", "an object with serverToSegmentsCheckReloadList"
        return self._read(path, answers.need_reload, expected, {"verbose": "true"})

    def push_metadata(
        self, table: str, segment: str, *, archive: bytes, url: str, expected_crc: int, custom: Mapping[str, str]
    ) -> None:
        """Make known to the cluster what lies at `url`, in one compare-and-set on the segment's CRC in ZooKeeper.

        `archive` is a small tar.gz with `<segment>/creation.meta` and `<segment>/metadata.properties`; `custom` is
        merged into the custom map, whose other entries stay. With the CRC that ZooKeeper has, only custom map, creation
        time and refresh time change (and the URL, if another is given), and no server hears of it. With another CRC a
        refresh message goes out, and every hosting server downloads the segment.

        Raises:
            SegmentChangedError: ZooKeeper's CRC is not `expected_crc`. Nothing was changed.
            SegmentGoneError: the segment is not there any more. Nothing was changed.
            PushConflictError: another push of the segment is under way. Nothing was changed; it may succeed later.
            PushRefusedError: the controller refuses it for good, with its reason: quota, disk use, time range,
            credentials. PinotUnavailableError: the outcome is unknown: read the segment's record back.
            PinotAnswerError: somebody else than a controller answered: read back as well.
        """
        raw, kind = split_table(table)
        push.push_metadata(
            self._http, self.base_url, raw, kind, segment, archive=archive, url=url, expected_crc=expected_crc,
            custom=custom
        )  # fmt: skip

    # --- reloads -----------------------------------------------------------------------------------------------------

    def reload(self, table: str, segment: str, *, force_download: bool) -> str:
        """Have every hosting server reload a segment, from the deep store with `force_download`. Returns the job's id.

        Raises:
            PinotNotFoundError: there is no such segment, or no live server holds it.
            PinotUnavailableError: the outcome is unknown (a reload may be asked for again without harm).
        """
        url = f"{self.base_url}/segments/{part(table)}/{part(segment)}/reload"
        response = self._http.post(url, {"forceDownload": "true" if force_download else "false"})
        job = answers.reload_job_id(response.text)
        if job is None:
            raise self._http.unexpected(self._http.describe("POST", url), "a reload job's id", response.text)
        return job

    def reload_jobs(self, table: str) -> list[ReloadJob]:
        """Reloads of the table that were ever asked for: ended ones too, and those of an earlier table of that name."""
        raw, kind = split_table(table)
        path, expected = f"/table/{part(raw)}/jobs", "an object of job and properties"
        params = {"type": kind, "jobTypes": "RELOAD_SEGMENT"}
        return self._of_table(table, path, lambda body: answers.reload_jobs(body, table), expected, params)

    def reload_status(self, job_id: str) -> ReloadStatus:
        """How far a reload job is. The controller asks every server concerned; it is asked once, without retries.

        Raises:
            PinotNotFoundError: there is no such job (any more).
            PinotUnavailableError: also when the job's only segment was deleted since.
        """
        path, expected = f"/segments/segmentReloadStatus/{part(job_id)}", "totalSegmentCount and successCount"
        return self._read(path, answers.reload_status, expected, retry=False)

    # --- other operations --------------------------------------------------------------------------------------------

    def rebalance_jobs(self, table: str) -> list[RebalanceJob]:
        """Rebalances of the table that were ever asked for: ended ones too, and those of an earlier table."""
        raw, kind = split_table(table)
        path, expected = f"/table/{part(raw)}/jobs", "an object of job and properties with REBALANCE_PROGRESS_STATS"
        params = {"type": kind, "jobTypes": "TABLE_REBALANCE"}
        return self._of_table(table, path, answers.rebalance_jobs, expected, params)

    def rebalance_time_ms(self, job_id: str) -> int:
        """The controller's time, in whole seconds since a rebalance began that is not done.

        Raises:
            PinotNotFoundError: there is no such job.
        """
        path = f"/rebalanceStatus/{part(job_id)}"
        return self._read(path, answers.rebalance_time_ms, "timeElapsedSinceStartInSeconds and startTimeMs")

    def replacements(self, table: str) -> list[Replacement]:
        """The segment replacements (lineage entries) of the table that are in progress."""
        raw, kind = split_table(table)
        path, expected = f"/segments/{part(raw)}/lineage", "lineage entries with state, segmentsFrom and segmentsTo"
        return self._of_table(table, path, answers.replacements, expected, {"type": kind})

    def minion_tasks(self, table: str) -> list[MinionTask]:
        """The minion tasks of any type that wait or run for the table. It takes permissions on the cluster."""
        types = self._read("/tasks/tasktypes", lambda body: sorted(str(kind) for kind in body or ()), "a list of types")
        tasks: list[MinionTask] = []
        for kind in types:
            path, expected = f"/tasks/{part(kind)}/{part(table)}/state", "an object of task and state"
            tasks += [
                MinionTask(name, kind, self._input_of(name, table), self._started_ms(name))
                for name in self._read(path, answers.waiting_or_running, expected)
            ]
        return tasks

    def _started_ms(self, task: str) -> int | None:
        if (started := answers.minion_task_started_ms(task)) is not None:
            return started
        try:
            path, expected = f"/tasks/task/{part(task)}/debug", "an object with startTime"
            return self._read(path, answers.start_time_ms, expected)
        except (PinotNotFoundError, PinotAccessError):
            return None

    def _input_of(self, task: str, table: str) -> frozenset[str] | None:
        try:
            path, expected = f"/tasks/task/{part(task)}/config", "a list of subtasks with configs"
            return self._read(path, lambda body: answers.minion_task_input(body, table), expected)
        except PinotNotFoundError:
            return None

    # --- plumbing ----------------------------------------------------------------------------------------------------

    def _read(
        self,
        path: str,
        parse: Callable[[Any], T],
        expected: str,
        params: Mapping[str, str] | None = None,
        *,
        retry: bool = True,
    ) -> T:
        url = self.base_url + path
        body = self._http.get(url, params, retry=retry)
        try:
            return parse(body)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._http.unexpected(self._http.describe("GET", url), expected, body) from error

    def _of_table(
        self,
        table: str,
        path: str,
        parse: Callable[[Any], T | None],
        expected: str,
        params: Mapping[str, str] | None = None,
    ) -> T:
        return of_table(self.base_url, table, lambda: self._read(path, parse, expected, params))


def _object(value: Any) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise TypeError
    return value
