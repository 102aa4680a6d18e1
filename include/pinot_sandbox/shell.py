"""What a shell needs to work with a sandbox: addresses, credentials, and the folder of table files, to be sourced."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from pinot_sandbox.sandbox import Sandbox

_FILE = "sandbox.env"


def write_environment(sandbox: Sandbox, tables: Path) -> Path:
    """Writes it into a file that only its owner can read. `tables` is the folder for `DEEP_STORE_SYNC_TABLES`."""
    path = sandbox.root / _FILE
    variables = {
        "PINOT_CONTROLLER_URL": sandbox.controller_url,
        "PINOT_DEEP_STORE_URL": sandbox.deep_store_url,
        "AWS_ENDPOINT_URL": sandbox.s3.endpoint_url,
        "AWS_ENDPOINT_URL_S3": sandbox.s3.endpoint_url,
        "AWS_ACCESS_KEY_ID": sandbox.s3.access_key,
        "AWS_SECRET_ACCESS_KEY": sandbox.s3.secret_key,
        "AWS_REGION": sandbox.s3.region,
        "AWS_DEFAULT_REGION": sandbox.s3.region,
        "DEEP_STORE_SYNC_TABLES": str(tables),
        **without_proxy(),
    }
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        # What a shell has of its own for other stores.
        file.write("unset AWS_PROFILE AWS_SESSION_TOKEN\n")
        file.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    return path


def without_proxy() -> dict[str, str]:
    """Everything is on this machine, whatever proxy the environment names for the rest of the world."""
    hosts = ",".join(filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), "127.0.0.1,localhost"]))
    return {"NO_PROXY": hosts, "no_proxy": hosts}


def program(name: str, *, here: bool = False) -> str:
    """A program beside this Python (`python` for itself), as one would type it: from this folder, if `here`."""
    path = sys.executable if name == "python" else str(Path(sys.executable).with_name(name))
    near = os.path.relpath(path)
    return near if here and not near.startswith("..") else path
