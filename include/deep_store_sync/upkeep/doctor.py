"""Whether a table can be synced from here: every connection, permission, version and capability that a run needs.

Nothing is changed but for a small object in the workspace, which is removed again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pyarrow.compute as pc

from deep_store_sync.decide import lies_in, online_servers
from deep_store_sync.errors import DeepStoreSyncError, PinotError
from deep_store_sync.jvm.jars import find_jars
from deep_store_sync.jvm.process import EngineProcess
from deep_store_sync.pinot.server_columns import ReplicaSets
from deep_store_sync.pinot.storage_quota import LARGE, quota_words, storage_quota
from deep_store_sync.rebuilding.limits import decide_limits, limits_line, look_at_machine
from deep_store_sync.services import Services
from deep_store_sync.store.versioning import Versioning
from deep_store_sync.system_trouble import in_words
from deep_store_sync.workdir import work_folder

# Of a table with very many segments, so many are looked at in the deep store.
_SAMPLE = 5


class Verdict(StrEnum):
    """What a check came to."""

    OK = "ok"
    WARNING = "warning"
    """A run works, and does less or costs more than it could."""
    FAILED = "failed"
    """A run would fail, or leave segments undone."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was looked at, its verdict, and what was found, with the remedy where there is one."""

    subject: str
    verdict: Verdict
    message: str


def _failed(subject: str, error: Exception) -> Check:
    return Check(subject, Verdict.FAILED, f"{type(error).__name__}: {in_words(error)}")


@dataclass(slots=True)
class Doctor:
    """Checks one table. What a failed check is needed for is left out: it could only fail as well."""

    services: Services
    log: logging.Logger
    _replicas: ReplicaSets = field(default_factory=ReplicaSets.none)

    def examine(self) -> list[Check]:
        """All checks, in the order in which a run needs what they look at."""
        checks = [self._check("controller", self._controller)]
        if checks[-1].verdict is not Verdict.FAILED:
            checks.append(self._check("table", self._table))
        if checks[-1].verdict is not Verdict.FAILED:
            checks.append(self._check("isStale", self._answers))
            checks += self._servers()
            checks.append(self._check("deep store", self._deep_store))
        checks.append(self._check("workspace", self._workspace))
        checks.append(self._check("backup", self._backup))
        checks += self._machine()
        return checks

    def _check(self, subject: str, look: Callable[[], tuple[Verdict, str]]) -> Check:
        self.log.info("%s: checking %s", self.services.settings.table, subject)
        try:
            return Check(subject, *look())
        except (DeepStoreSyncError, OSError) as error:
            return _failed(subject, error)

    def _controller(self) -> tuple[Verdict, str]:
        return Verdict.OK, f"Pinot {self.services.controller.version()} at {self.services.controller.base_url}"

    def _table(self) -> tuple[Verdict, str]:
        controller, table = self.services.controller, self.services.settings.table
        quota = storage_quota(controller.table_config(table))
        controller.schema(table)
        controller.reload_jobs(table)
        controller.lineage(table)
        self._replicas = controller.long.wanted_replicas(table)
        segments, servers = len(self._replicas.names), {server for states in self._replicas.sets for server in states}
        found = f"{table}: {segments} segments on {len(servers)} servers"
        if quota and segments >= LARGE:
            return Verdict.WARNING, f"{found}; {quota_words(quota, segments)}"
        return Verdict.OK, found

    def _answers(self) -> tuple[Verdict, str]:
        answers, hosting = self.services.controller.stale(self.services.settings.table, ()), self._hosting()
        silent = {
            server: answers[server].error or "no valid answer" if server in answers else "not in the answer"
            for server in hosting
            if server not in answers or not answers[server].valid
        }
        if silent:
            listed = "; ".join(f"{server}: {why}" for server, why in silent.items())
            return (
                Verdict.WARNING,
                f"{len(silent)} of {len(hosting)} servers do not say which segments are stale, and what only they host "
                f"is deferred: {listed}. Start them, look at their logs, or raise controllerTimeout",
            )
        return Verdict.OK, f"{len(hosting)} servers say which segments are stale"

    def _hosting(self) -> list[str]:
        """The servers that are to have a segment of the table loaded."""
        return sorted({server for servers in self._replicas.sets for server in online_servers(servers)})

    def _servers(self) -> Iterator[Check]:
        """Each server that hosts a segment, on its admin port: without it, nothing can be proven to be loaded."""
        for server in self._hosting():
            yield self._check(f"server {server}", lambda server=server: self._server(server))  # type: ignore[misc]

    def _server(self, server: str) -> tuple[Verdict, str]:
        remedy = "what is published is reported as unproven on it. Let the workers reach the servers' admin ports"
        try:
            url = self.services.controller.instance_admin_url(server)
            if url is None:
                return Verdict.WARNING, f"the cluster does not tell its admin port, so {remedy}"
            crcs = self.services.servers.segment_crcs(url, self.services.settings.table)
        except PinotError as error:
            return Verdict.WARNING, f"{error}; {remedy}"
        return Verdict.OK, f"{len(crcs)} segments loaded, {url}"

    def _deep_store(self) -> tuple[Verdict, str]:
        """A few objects, by the URLs that ZooKeeper has."""
        controller, settings = self.services.controller, self.services.settings
        some = pc.take(self._replicas.names, pc.select_k_unstable(self._replicas.names, _SAMPLE, [("", "ascending")]))
        urls = [controller.segment(settings.table, name).url for name in some.to_pylist()]
        known = [url for url in urls if url]
        outside = [url for url in known if not lies_in(url, settings.deep_store_prefixes)]
        if outside:
            return (
                Verdict.FAILED,
                f"segments lie outside deepStorePrefixes ({', '.join(settings.deep_store_prefixes)}), and are never "
                f"touched: {outside[0]}. Add the prefix if it is this table's deep store",
            )
        for url in known:
            self.services.store.head(url)
        if not known:
            return Verdict.WARNING, "there is no segment yet whose object could be looked at"
        return Verdict.OK, f"{len(known)} of {len(self._replicas.names)} objects looked at, {known[0]} first"

    def _workspace(self) -> tuple[Verdict, str]:
        url = self.services.settings.workspace
        self.services.store.probe(url, multipart=True)
        copied = self.services.settings.publish_by == "auto" and self.services.store.probe_copies(url)
        by = "copied inside the store" if copied else "streamed through the workers"
        return (
            Verdict.OK,
            f"{url}: writable, and the store honours conditional writes, in parts, too; archives are {by}",
        )

    def _backup(self) -> tuple[Verdict, str]:
        settings = self.services.settings
        if settings.backup == "none":
            return Verdict.WARNING, "backup: none, so no run can be rolled back"
        if settings.backup == "copy":
            return Verdict.OK, "what is overwritten is copied into the workspace"
        versioning = Versioning(self.services.store)
        reasons = [reason for prefix in settings.deep_store_prefixes if (reason := versioning.off(prefix))]
        if not reasons:
            return Verdict.OK, "the bucket keeps versions of what is overwritten"
        if settings.backup == "versioning":
            return Verdict.FAILED, f"backup: versioning, but {reasons[0]}: nothing would be overwritten"
        return Verdict.OK, f"{reasons[0]}, so what is overwritten is copied into the workspace"

    def _machine(self) -> Iterator[Check]:
        """What this machine has to have, in a folder such as a task works in."""
        try:
            with work_folder(self.services.settings.engine.workdir, self.log) as folder:
                yield self._check("segment library", lambda: self._engine(folder))
                yield self._check("worker", lambda: self._worker(folder))
        except OSError as error:  # there is no such folder: the checks have their own errors
            yield _failed("worker", error)

    def _engine(self, folder: Path) -> tuple[Verdict, str]:
        """Java and the jars, by starting them."""
        settings = self.services.settings.engine
        try:
            cluster: str | None = self.services.controller.version()
        except PinotError:
            cluster = None
        jars = find_jars(cluster, configured=settings.jars, allow_mismatch=settings.allow_version_mismatch)
        limits = decide_limits(settings, look_at_machine(folder))
        engine = EngineProcess(jars, limits.heap_bytes, temp_dir=folder)
        try:
            engine.start()
        finally:
            engine.close()
        verdict = Verdict.OK if jars.of_cluster or cluster is None else Verdict.WARNING
        return verdict, f"Pinot {jars.version} from {jars.source}" + (
            "" if verdict is Verdict.OK else f", while the cluster runs {cluster}: for a rolling upgrade only"
        )

    def _worker(self, folder: Path) -> tuple[Verdict, str]:
        settings = self.services.settings.engine
        machine = look_at_machine(folder)
        return Verdict.OK, limits_line(settings, machine, decide_limits(settings, machine), folder.parent)
