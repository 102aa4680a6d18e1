"""What networks do to requests and answers, as toxics."""

from __future__ import annotations

from dataclasses import dataclass

from tests.network.toxiproxy import Toxic

NEVER_MS = 3_600_000
LATE_MS = 250


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a connection: whether a request on it reaches the server whole, and the whole answer comes back."""

    name: str
    toxics: tuple[Toxic, ...]
    arrives: bool = True
    answered: bool = False

    def __str__(self) -> str:
        return self.name


RESET_REQUEST = Fault("reset_request", (Toxic("reset_peer", "upstream", 0),), arrives=False)
RESET_ANSWER = Fault("reset_answer", (Toxic("reset_peer", "downstream", 0),))
SILENT_REQUEST = Fault("silent_request", (Toxic("timeout", "upstream", 0),), arrives=False)
SILENT_ANSWER = Fault("silent_answer", (Toxic("timeout", "downstream", 0),))
LATENCY = Fault(
    "latency",
    (Toxic("latency", "upstream", LATE_MS), Toxic("latency", "downstream", LATE_MS)),
    answered=True,
)
SLOW_CLOSE = Fault("slow_close", (Toxic("slow_close", "downstream", NEVER_MS),), answered=True)


def cut_request(after_bytes: int) -> Fault:
    """The connection ends after so many bytes of the request."""
    return Fault("cut_request", (Toxic("limit_data", "upstream", after_bytes),), arrives=False)


def cut_answer(after_bytes: int) -> Fault:
    """The connection ends after so many bytes of the answer."""
    return Fault("cut_answer", (Toxic("limit_data", "downstream", after_bytes),))


def stalled_answer(after_bytes: int) -> Fault:
    """After so many bytes of the answer no more come, and the connection does not end."""
    limit, slow = Toxic("limit_data", "downstream", after_bytes), SLOW_CLOSE.toxics
    return Fault("stalled_answer", (limit, *slow))
