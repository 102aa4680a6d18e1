"""The S3 gateway that serves as deep store: versitygw, a real one over a folder, or moto, a mock."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pinot_sandbox.errors import SandboxError
from pinot_sandbox.toolchain import Progress, ensure_versitygw

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

GatewayKind = Literal["versitygw", "moto"]

BUCKET: Final = "pinot"
REGION: Final = "us-east-1"


@dataclass(frozen=True, slots=True)
class S3Gateway:
    """Where the gateway is and how to sign in. The credentials are made up anew for every start."""

    kind: GatewayKind
    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = REGION
    bucket: str = BUCKET

    def client(self) -> S3Client:
        """A boto3 client for it, whatever AWS settings the environment has."""
        import boto3
        from botocore.config import Config

        session = boto3.Session(self.access_key, self.secret_key, region_name=self.region)
        return session.client(
            "s3", endpoint_url=self.endpoint_url, config=Config(s3={"addressing_style": "path"}, proxies={})
        )


class GatewayProcess:
    """A running gateway. It ends with `close`, or when this process does, however that happens."""

    def __init__(self, kind: GatewayKind, binary: Path | None, root: Path) -> None:
        logs = root / "logs"
        access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)
        config: dict[str, Any] = {
            "kind": kind,
            "binary": str(binary),
            "dir": str(root / "s3"),
            "accounts": str(root / "accounts"),
            "log": str(logs / "gateway.log"),
            "accessKey": access_key,
            "secretKey": secret_key,
            "region": REGION,
        }
        self._accounts = root / "accounts" / "users.json"
        python_path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
        with (logs / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pinot_sandbox.gateway_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"PYTHONPATH": python_path},
                start_new_session=True,  # Ctrl-C is for who started the sandbox, who then closes it
            )
        assert self._process.stdin and self._process.stdout  # noqa: PT018, S101
        self._process.stdin.write(json.dumps(config) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or "{}")
        if "port" not in answer:
            self.close()
            raise SandboxError(
                f"The S3 gateway ({kind}) did not start: "
                + (answer.get("error") or (logs / "gateway.log").read_text(errors="replace")[-1000:])
            )
        self.s3 = S3Gateway(kind, f"http://127.0.0.1:{answer['port']}", access_key, secret_key)

    def add_account(self) -> S3Gateway:
        """Makes another account, which may do nothing until a bucket policy permits it. Its name is its access key.

        Raises:
            SandboxError: The gateway is moto, which permits everything to everybody.
        """
        if self.s3.kind != "versitygw":
            raise SandboxError("moto has no accounts: the gateway has to be versitygw, which takes Go.")
        account = replace(self.s3, access_key=secrets.token_hex(10), secret_key=secrets.token_hex(20))
        users = json.loads(self._accounts.read_text())
        users["accessAccounts"][account.access_key] = {
            "access": account.access_key,
            "secret": account.secret_key,
            "role": "user",
        }
        changed = self._accounts.with_suffix(".new")
        changed.touch(mode=0o600)
        changed.write_text(json.dumps(users))
        changed.replace(self._accounts)
        return account

    def close(self) -> None:
        """Ends the gateway and waits for it."""
        assert self._process.stdin and self._process.stdout  # noqa: PT018, S101
        with contextlib.suppress(OSError):
            self._process.stdin.write("end\n")  # somebody forked from us may hold the pipe open
            self._process.stdin.flush()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def choose_gateway(wanted: Literal["auto"] | GatewayKind, progress: Progress) -> tuple[GatewayKind, Path | None]:
    """The kind of gateway to run, and versitygw's binary.

    ``auto`` is versitygw where it is built already or Go can build it, else moto; `progress` is told which, and why.

    Raises:
        SandboxError: versitygw was asked for and cannot be had.
    """
    if wanted == "moto":
        return "moto", None
    try:
        binary = ensure_versitygw(progress)
    except SandboxError as error:
        if wanted == "versitygw":
            raise
        progress(f"S3 gateway: moto, a mock, since versitygw cannot be built. {error}")
        return "moto", None
    progress("S3 gateway: versitygw")
    return "versitygw", binary
