"""The process around the S3 gateway. It ends the gateway with whoever started it, however that happens.

Run as ``python -m pinot_sandbox.gateway_process``. The first line of standard input is the configuration, with the
credentials in it; the first line of standard output is ``{"port": …}`` or ``{"error": …}``. The next line of standard
input, or its end, is the end of the gateway.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

_ATTEMPTS = 5
_START_TIMEOUT_S = 20.0


def main() -> None:
    """Starts the gateway, says where it listens, and waits to be told to end it."""
    config = json.loads(sys.stdin.readline())
    start = _start_moto if config["kind"] == "moto" else _start_versitygw
    try:
        port, stop = start(config)
    except Exception as error:
        _answer({"error": str(error)})
        sys.exit(1)
    _answer({"port": port})
    sys.stdin.readline()
    stop()


def _answer(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _start_moto(config: Mapping[str, Any]) -> tuple[int, Callable[[], object]]:
    try:
        from moto.server import ThreadedMotoServer
    except ModuleNotFoundError as error:
        raise RuntimeError("moto is not installed: pip install 'pinot-deep-store-sync[sandbox]'") from error

    os.environ["AWS_DEFAULT_REGION"] = config["region"]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    # Its thread is no daemon and has nothing to put in order.
    return server.get_host_and_port()[1], lambda: os._exit(0)


def _start_versitygw(config: Mapping[str, Any]) -> tuple[int, Callable[[], object]]:
    """Starts the binary on a free port; on another one when somebody was quicker."""
    data = Path(config["dir"])
    data.mkdir(parents=True, exist_ok=True)
    options = ["--versioning-dir", str(_made(data.with_name("versions")))]
    if not _has_attributes(data):
        options += ["--sidecar", str(_made(data.with_name("attributes")))]
    accounts = ["--iam-dir", str(_made(Path(config["accounts"])))]
    # The environment of a process is readable by its user alone; a command line by all.
    environment = {
        "ROOT_ACCESS_KEY_ID": config["accessKey"],
        "ROOT_SECRET_ACCESS_KEY": config["secretKey"],
        "VGW_REGION": config["region"],
    }
    for _ in range(_ATTEMPTS):
        port = _free_port()
        with Path(config["log"]).open("ab") as log:
            process = subprocess.Popen(
                [config["binary"], "--port", f"127.0.0.1:{port}", "--quiet", *accounts, "posix", *options, str(data)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
            )
        if _answers(port, process):
            return port, partial(_kill, process)
        _kill(process)
    tail = Path(config["log"]).read_text(errors="replace")[-1000:]
    raise RuntimeError(f"versitygw did not start in {_ATTEMPTS} attempts: {tail}")


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether the gateway (and nobody else on that port) answers before it exits."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/")
            return connection.getresponse().getheader("Server") == "VERSITYGW"
        time.sleep(0.02)
    return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _die_with_parent() -> None:
    """On Linux, has the kernel end the gateway should this process be killed before it can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _has_attributes(folder: Path) -> bool:
    """Whether the file system keeps extended attributes, where versitygw stores ETags and user metadata."""
    if not hasattr(os, "setxattr"):
        return sys.platform == "darwin"  # APFS does; Python cannot ask there
    with tempfile.NamedTemporaryFile(dir=folder) as file, contextlib.suppress(OSError):
        os.setxattr(file.name, "user.sandbox", b"1")
        return True
    return False


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
