"""How a sandbox begins and ends, also when it is killed: in processes of their own."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

import pinot_sandbox
from pinot_sandbox import Sandbox, SandboxError
from pinot_sandbox import sandbox as sandbox_module
from pinot_sandbox.jvm import PortTakenError

INCLUDE = Path(pinot_sandbox.__file__).parents[1]
START_AND_WAIT = """
import sys, time
from pinot_sandbox import Sandbox
sandbox = Sandbox.start()
print(sandbox.root, flush=True)
time.sleep(600)
"""


def run(*command: str) -> subprocess.Popen[str]:
    path = os.pathsep.join(filter(None, [str(INCLUDE), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )


@pytest.fixture
def started() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process with a running sandbox, and the sandbox's folder."""
    process = run("-c", START_AND_WAIT)
    assert process.stdout
    root = Path(process.stdout.readline().strip())
    yield process, root
    process.kill()
    process.communicate()


def processes_of(root: Path) -> list[psutil.Process]:
    """Whoever has the sandbox's folder on the command line or as an open file."""
    found = []
    for process in psutil.process_iter():
        try:
            files = [file.path for file in process.open_files()]
            if any(str(root) in text for text in [*process.cmdline(), *files]):
                found.append(process)
        except psutil.Error:  # gone, or not ours
            continue
    return found


def wait_for(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


def test_a_killed_process_leaves_nothing(started: tuple[subprocess.Popen[str], Path]) -> None:
    process, root = started
    names = sorted(Path(found.cmdline()[0]).name.split(".")[0] for found in processes_of(root))
    assert "java" in names
    assert len(names) >= 2
    process.send_signal(signal.SIGKILL)
    wait_for(lambda: not processes_of(root))
    wait_for(lambda: not root.exists())


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does this on Linux alone")
def test_a_killed_guard_takes_the_gateway_with_it(tmp_path: Path) -> None:
    with Sandbox.start(tmp_path / "root") as sandbox:
        if sandbox.s3.kind == "moto":
            pytest.skip("moto runs in the guard")
        [gateway] = [found for found in processes_of(sandbox.root) if "versitygw" in found.name()]
        guard = gateway.parent()
        assert guard is not None
        guard.kill()
        wait_for(lambda: not gateway.is_running() or gateway.status() == psutil.STATUS_ZOMBIE)


def test_secrets_are_on_no_command_line(sandbox: Sandbox) -> None:
    assert processes_of(sandbox.root)
    for process in psutil.process_iter():
        try:
            assert sandbox.s3.secret_key not in " ".join(process.cmdline())
        except psutil.Error:
            continue


def test_everything_listens_on_the_loopback_address_alone(sandbox: Sandbox) -> None:
    listening = [
        connection.laddr
        for process in processes_of(sandbox.root)
        if process.pid != os.getpid()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 5  # ZooKeeper, the controller, two servers, the gateway
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_a_jvm_that_dies_is_reported(tmp_path: Path) -> None:
    with Sandbox.start(tmp_path / "root", servers=1) as sandbox:
        [jvm] = [found for found in processes_of(sandbox.root) if found.name().startswith("java")]
        jvm.kill()
        jvm.wait(30)
        with pytest.raises(SandboxError, match=r"The sandbox's JVM has ended. Its log is .*pinot.log"):
            sandbox.downloads()
    assert (tmp_path / "root" / "logs" / "pinot.log").exists()  # a folder that was given stays
    assert not processes_of(tmp_path)


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(SandboxError, match="is not empty"):
        Sandbox.start(tmp_path)


def test_a_server_whose_port_was_taken_gets_another(sandbox: Sandbox) -> None:
    server = sandbox.servers[0]
    old = httpx.URL(sandbox.server_admin_url(server))
    sandbox.stop_server(server)
    with socket.create_server(("127.0.0.1", old.port or 0)):
        sandbox.start_server(server)
    assert sandbox.server_admin_url(server) != str(old)
    instance = httpx.get(f"{sandbox.controller_url}/instances/{server}").json()
    assert f"http://{instance['hostName']}:{instance['adminPort']}" == sandbox.server_admin_url(server)
    assert httpx.get(f"{sandbox.server_admin_url(server)}/health").text == "OK"


def test_a_start_that_loses_its_port_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = []

    def fake_cluster_process(*args: object) -> Any:
        starts.append(args)
        if len(starts) < 3:
            raise PortTakenError("Address already in use")
        return "third"

    monkeypatch.setattr(sandbox_module, "ClusterProcess", fake_cluster_process)
    s3 = pinot_sandbox.S3Gateway("moto", "http://127.0.0.1:1", "key", "secret")
    cluster: Any = sandbox_module._start_cluster(tmp_path, tmp_path, tmp_path, s3, 2, own_root=True)
    assert cluster == "third"
    starts.clear()
    monkeypatch.setattr(sandbox_module, "_START_ATTEMPTS", 2)
    with pytest.raises(PortTakenError):
        sandbox_module._start_cluster(tmp_path, tmp_path, tmp_path, s3, 2, own_root=True)


def test_the_command_stays_until_it_is_interrupted(tmp_path: Path) -> None:
    process = run("-m", "pinot_sandbox", "up", "--flights", "--s3", "moto", "--root", str(tmp_path / "root"))
    assert process.stdout
    lines: list[str] = []
    while not lines or not lines[-1].startswith("Ctrl-C"):
        lines.append(process.stdout.readline())
        assert lines[-1], "".join(lines)
    printed = "".join(lines)
    file = tmp_path / "root" / "sandbox.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    unset, *exports = file.read_text().splitlines()
    assert unset == "unset AWS_PROFILE AWS_SESSION_TOKEN"
    variables = dict(line.removeprefix("export ").split("=", 1) for line in exports)
    assert variables["AWS_SECRET_ACCESS_KEY"] not in printed
    (command,) = [line.partition("&& ")[2].strip() for line in lines if line.startswith("in a shell")]
    # A shell that has settings of its own for other stores.
    own = {"AWS_PROFILE": "of-work", "AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}
    planned = subprocess.run(
        ["bash", "-ec", f"source {file}; {command} --json"],
        env=os.environ | own,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert planned.returncode == 0, planned.stderr
    assert '"flights_OFFLINE"' in planned.stdout
    tables = httpx.get(variables["PINOT_CONTROLLER_URL"] + "/segments/flights_OFFLINE").json()
    assert len(tables[0]["OFFLINE"]) == 12
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert not processes_of(tmp_path)


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "pinot_sandbox", "setup"],
        env={"PYTHONPATH": str(INCLUDE), "PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr.startswith("No java in PATH")
