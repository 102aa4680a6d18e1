"""What a measured process is told, on its standard input, and what it tells, in the last line of its output."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinot_sandbox.gateway import S3Gateway

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class Job:
    """The S3 gateway, the jars, the segments and where their objects are, what is asked for, and where to work.

    `config` and `schema` are those that the segments are to be rebuilt for. `engine` are settings of `EngineSettings`.
    """

    gateway: S3Gateway
    jars: str
    segments: list[str]
    crcs: list[int]
    prefix: str
    workdir: str
    config: dict[str, Any]
    schema: dict[str, Any]
    engine: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def client(self) -> S3Client:
        return self.gateway.client()

    def key(self, segment: str) -> str:
        return f"{self.prefix}/segments/{segment}"


def perform(work: Callable[[Job], dict[str, Any]]) -> None:
    """Read the job, do it, and tell what it came to, with the processor time of the process and its children."""
    told = json.loads(sys.stdin.read())
    job = Job(**(told | {"gateway": S3Gateway(**told["gateway"])}))
    Path(job.workdir).mkdir(parents=True, exist_ok=True)
    answer = work(job)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps(answer | {"cpu_s": time.process_time() + children.ru_utime + children.ru_stime}))
