"""Proof that servers have loaded what was published: each hosting server's own word, asked on its admin port.

The controller's merged answers will not do: its `/segments/{table}/metadata` keeps one replica's answer, external view
and reload status stay green while every server is still on the old CRC (seen on Pinot 1.5.1).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from deep_store_sync.errors import PinotError
from deep_store_sync.services import Services

_ASKED_AT_ONCE = 8
_POLL_S = (0.2, 0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Proof:
    """Servers by what they serve: `loaded` the wanted CRC, `behind` another or none, `silent` gave no answer."""

    loaded: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every server was seen to have it."""
        return not self.behind and not self.silent


@dataclass(slots=True)
class ServerWatch:
    """Asks the servers of a table which CRC they serve, and knows where to ask."""

    services: Services
    log: logging.Logger
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _admin_urls: dict[str, str | None] = field(default_factory=dict)
    _given_up: set[str] = field(default_factory=set)
    """Servers that were waited for in vain: the next waves do not pay for them again."""

    def wait_loaded(
        self,
        wanted: Mapping[str, int],
        replicas: Mapping[str, tuple[str, ...]],
        *,
        force: Callable[[str], None] | None = None,
    ) -> dict[str, Proof]:
        """Wait until each segment of `wanted` is served with its CRC by all its `replicas`, at most `proofTimeout`.

        After half of that time, `force` is called once for each segment that an answering server still has not taken:
        such a server does not compare CRCs (`instance.check.crc.on.segment.load=false`) and needs a forced download.
        Servers that do not answer are waited for only as long as there is something else to wait for.
        """
        timeout = self.services.settings.proof_timeout.total_seconds()
        start = self.clock()
        forced = force is None
        attempt = 0
        while True:
            before = self.clock() - start
            proofs = self.look(wanted, replicas)
            waited = self.clock() - start
            behind = [segment for segment, proof in proofs.items() if proof.behind]
            silent = [segment for segment, proof in proofs.items() if proof.silent]
            if (not behind and (not silent or waited > timeout / 10)) or waited >= timeout:
                self._given_up.update(server for proof in proofs.values() for server in proof.silent)
                return proofs
            if force is not None and not forced and waited >= timeout / 2:
                forced = True
                for segment in behind:
                    self.log.warning(
                        "%s: %s did not take the refresh, asking for a forced download",
                        segment,
                        ", ".join(proofs[segment].behind),
                    )
                    force(segment)
            took = self.clock() - start - before
            # A server with very many segments takes its time to list them all.
            self.sleep(max(_POLL_S[min(attempt, len(_POLL_S) - 1)], took))
            attempt += 1

    def look(self, wanted: Mapping[str, int], replicas: Mapping[str, tuple[str, ...]]) -> dict[str, Proof]:
        """Ask every hosting server once."""
        hosting = sorted({server for segment in wanted for server in replicas[segment]})
        asked = [server for server in hosting if server not in self._given_up]
        with ThreadPoolExecutor(max(1, min(_ASKED_AT_ONCE, len(asked))), thread_name_prefix="proof") as pool:
            served = dict(zip(asked, pool.map(lambda server: self._served(server, wanted), asked), strict=True))
        proofs = {}
        for segment, crc in wanted.items():
            answers = {server: served.get(server) for server in replicas[segment]}
            proofs[segment] = Proof(
                loaded=tuple(s for s, crcs in answers.items() if crcs is not None and crcs.get(segment) == crc),
                behind=tuple(s for s, crcs in answers.items() if crcs is not None and crcs.get(segment) != crc),
                silent=tuple(s for s, crcs in answers.items() if crcs is None),
            )
        return proofs

    def _served(self, server: str, segments: Collection[str]) -> Mapping[str, int] | None:
        """The CRCs of those of these segments that a server has; None without an answer."""
        try:
            if server not in self._admin_urls:
                self._admin_urls[server] = self.services.controller.instance_admin_url(server)
            url = self._admin_urls[server]
            if url is None:
                return None
            crcs = self.services.servers.segment_crcs(url, self.services.settings.table)
            # A server may have hundreds of thousands of others, and several are asked at once.
            return {segment: crcs[segment] for segment in segments if segment in crcs}
        except PinotError as error:
            self.log.debug("%s gives no CRCs: %s", server, error)
            return None
