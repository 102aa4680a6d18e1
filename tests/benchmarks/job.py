"""What a measured process is told, on its standard input, and what it tells, in the last line of its output."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinot_sandbox.gateway import S3Gateway

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class Job:
    """The S3 gateway, the jars, the segments' names, where their objects are, and where to work."""

    gateway: S3Gateway
    jars: str
    segments: list[str]
    crcs: list[int]
    prefix: str
    workdir: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def client(self) -> S3Client:
        return self.gateway.client()

    def key(self, segment: str) -> str:
        return f"{self.prefix}/segments/{segment}"


def perform(work: Callable[[Job], dict[str, Any]]) -> None:
    """Read the job, do it, and tell what it came to with the process's processor time and largest memory."""
    told = json.loads(sys.stdin.read())
    job = Job(**(told | {"gateway": S3Gateway(**told["gateway"])}))
    Path(job.workdir).mkdir(parents=True, exist_ok=True)
    answer = work(job)
    rss_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(answer | {"rss_mb": round(rss_kib * 1024 / 1e6), "cpu_s": time.process_time()}))
