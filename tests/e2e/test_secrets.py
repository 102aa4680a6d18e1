"""Credentials that a run has or comes across turn up nowhere: not in logs, nor in anything that is kept or shown."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil
import pyarrow.parquet
import pytest
from tests.e2e.kit import TABLE, Sync, add_indexes, syncing

from deep_store_sync.segment.archive import metadata_archive, read_metadata
from deep_store_sync.segment.segment_files import CreationMeta
from deep_store_sync.store.object_url import parse_url
from deep_store_sync.workspace import Workspace
from pinot_sandbox import Sandbox

PASSWORD = "controller/password+of=the@operator"
TOKEN = "token.of.the.controller"
IN_CONFIG = "secret-of-the-table-config"
IN_URL = "secret/of+the=download-url"


@dataclass
class Seen:
    """All that can be seen of a run, from outside or afterwards, by where it is; and what Airflow keeps, parsed."""

    kept: dict[str, Any]
    texts: dict[str, bytes]

    def find(self, *secrets: str) -> list[str]:
        """Where one of these is, plain or in an encoding that is as good as plain."""
        spelled = {
            form
            for secret in secrets
            for form in (
                secret.encode(),
                json.dumps(secret)[1:-1].encode(),
                base64.b64encode(secret.encode()),
                base64.b64encode(f"operator:{secret}".encode()),
            )
        }
        return sorted(where for where, text in self.texts.items() if any(form in text for form in spelled))


@pytest.fixture(scope="module")
def run(sandbox: Sandbox) -> Iterator[Sync]:
    """A table that is full of secrets: two stale months, and a third that lies where no run may go."""
    with syncing(sandbox) as sync:
        sandbox.load_flights(months=[1, 2, 3])
        _move_with_credentials(sync, "flights_2013-03")
        add_indexes(sandbox)
        _put_secrets_into_config(sandbox)
        assert IN_CONFIG in json.dumps(sandbox.table_config(TABLE))
        yield sync


def _put_secrets_into_config(sandbox: Sandbox) -> None:
    secret = {"sasl.jaas.config": f'password="{IN_CONFIG}";', "secretKey": IN_CONFIG}
    config = sandbox.table_config(TABLE)
    config["metadata"] = {"customConfigs": secret}
    config["task"] = {"taskTypeConfigsMap": {"SegmentGenerationAndPushTask": secret}}
    config["tableIndexConfig"]["streamConfigs"] = secret
    config["ingestionConfig"] = {
        **(config.get("ingestionConfig") or {}),
        "batchIngestionConfig": {"segmentIngestionType": "APPEND", "batchConfigMaps": [secret]},
        "streamIngestionConfig": {"streamConfigMaps": [secret]},
    }
    # The sandbox has no minion, so its controller knows no task.
    answer = httpx.put(
        f"{sandbox.controller_url}/tables/{TABLE}", params={"validationTypesToSkip": "ALL"}, json=config, timeout=30
    )
    assert answer.is_success, answer.text


def _move_with_credentials(sync: Sync, segment: str) -> None:
    """Give a segment a download URL with credentials, as some ingestion jobs do."""
    controller = sync.services.controller
    record = controller.segment(TABLE, segment)
    with TemporaryDirectory() as folder:
        archive = Path(folder) / "object"
        archive.write_bytes(sync.services.store.read(str(record.url)))
        creation_meta, properties = read_metadata(archive, segment)
    bucket, key = parse_url(str(record.url))
    controller.push_metadata(
        TABLE,
        segment,
        archive=metadata_archive(segment, creation_meta, properties),
        url=f"s3://AKIA:{IN_URL}@{bucket}/{key}",
        expected_crc=CreationMeta.from_bytes(creation_meta).crc,
        custom={},
    )
    assert IN_URL in str(controller.segment(TABLE, segment).url)


def look_at_a_run(sync: Sync, *, home: Path, s3_secret: str | None = None, **controller: Any) -> Seen:
    """Run the table by its operators, watching the processes; then look at everything that is left."""
    s3 = sync.sandbox.s3
    host, _, port = sync.sandbox.controller_url.removeprefix("http://").partition(":")
    aws = {
        "conn_type": "aws",
        "login": s3.access_key,
        "password": s3_secret or s3.secret_key,
        "extra": {"region_name": s3.region, "endpoint_url": s3.endpoint_url},
    }
    pinot = {"conn_type": "pinot_controller", "host": host, "port": int(port), **controller}
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "XDG_CACHE_HOME", "JAVA_HOME") if name in os.environ}
    environ = kept | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(aws),
        "AIRFLOW_CONN_PINOT_CONTROLLER_DEFAULT": json.dumps(pinot),
        "AIRFLOW_VAR_DEEP_STORE_SYNC_STOP": "off",
        f"AIRFLOW_VAR_DEEP_STORE_SYNC_STOP__{TABLE.upper()}": "off",
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
    }
    settings = {
        "table": TABLE,
        "deepStorePrefixes": [sync.sandbox.deep_store_url],
        "workspace": sync.workspace,
        "engine": {"jars": str(sync.sandbox.jars_dir)},
        "proofTimeout": "60s",
    }
    script = Path(__file__).with_name("secrets_run.py")
    with (home / "out").open("wb") as out, (home / "err").open("wb") as err:
        process = psutil.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=out, stderr=err, env=environ, cwd=home
        )
        process.stdin.write(json.dumps(settings).encode())
        process.stdin.close()
        processes = _watch(process)
    texts = {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert process.returncode == 0, texts["err"][-3000:].decode()
    return Seen(json.loads(texts["kept.json"]), texts | processes | _left_in_store(sync))


def _command_line(pid: int) -> bytes | None:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None


def _watch(process: psutil.Popen) -> dict[str, bytes]:
    """Command lines of the process and its children, and the environment of the children, until it ends."""
    found: dict[str, bytes] = {}
    deadline = time.monotonic() + 240
    while process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
            pytest.fail("the run did not end in time")
        try:
            started = process.children(recursive=True)
        except psutil.NoSuchProcess:
            break
        for child in [process, *started]:
            if child.pid != process.pid and _command_line(child.pid) == _command_line(process.pid):
                continue  # forked, and not what it is to become yet: what it has is still its parent's
            for what in ("cmdline",) if child.pid == process.pid else ("cmdline", "environ"):
                try:
                    text = Path(f"/proc/{child.pid}/{what}").read_bytes()
                except (FileNotFoundError, ProcessLookupError, PermissionError):
                    continue
                found[f"{what} of {child.pid}"] = found.get(f"{what} of {child.pid}", b"") + text
        time.sleep(0.05)
    process.wait()
    return found


def _left_in_store(sync: Sync) -> dict[str, bytes]:
    """The workspace, unpacked, and what is written beside segments: stamps, object metadata."""
    client = sync.sandbox.s3.client()
    bucket, prefix = parse_url(sync.workspace)
    found: dict[str, bytes] = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            body = client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            found[item["Key"]] = body + item["Key"].encode() + _unpacked(item["Key"], body)
    for record in sync.services.controller.segments(TABLE):
        found[f"stamp of {record.name}"] = json.dumps(dict(record.custom)).encode()
        if str(record.url).startswith(sync.sandbox.deep_store_url):
            bucket, key = parse_url(str(record.url))
            found[f"metadata of {record.name}"] = repr(client.head_object(Bucket=bucket, Key=key)["Metadata"]).encode()
    client.close()
    return found


def _unpacked(key: str, body: bytes) -> bytes:
    if key.endswith(".parquet"):
        table = pyarrow.parquet.read_table(io.BytesIO(body))
        return repr(table.to_pylist()).encode() + repr(table.schema.metadata).encode()
    try:
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            files = [archive.extractfile(member) for member in archive if member.isfile()]
            return b"".join(file.read() for file in files if file is not None)
    except tarfile.TarError:
        return b""


def secrets_of(sync: Sync) -> tuple[str, ...]:
    # Of those with odd signs also the longest part without, which an encoding or a cut leaves as it is.
    return (PASSWORD, "password+of", TOKEN, IN_CONFIG, IN_URL, "of+the=download", sync.sandbox.s3.secret_key)


def test_a_run_leaves_no_secret_anywhere(run: Sync, tmp_path: Path) -> None:
    seen = look_at_a_run(run, home=tmp_path, login="operator", password=PASSWORD)
    assert not seen.kept["errors"]
    rows = Workspace.of_plan(run.services.store, seen.kept["xcoms"]["plan"]).read_report()
    outcomes = {row.segment: str(row.outcome) for row in rows}
    assert outcomes == {"flights_2013-01": "synced", "flights_2013-02": "synced", "flights_2013-03": "not eligible"}
    # It was looked at what there is to be looked at.
    assert b"DEBUG" in seen.texts["err"]
    assert any(where.startswith("environ of") for where in seen.texts)
    assert any(where.endswith("plan.parquet") for where in seen.texts)
    assert seen.texts["stamp of flights_2013-01"] != b"{}"
    assert seen.find(*secrets_of(run)) == []


@pytest.mark.parametrize(
    ("what", "changed"),
    [
        ("another password", {"s3_secret": "not/the+secret"}),
        ("nobody there", {"host": "127.0.0.1", "port": 9, "extra": {"token": TOKEN}}),
        ("a token in a wrong place", {"host": f"http://operator:{PASSWORD}@127.0.0.1"}),
    ],
)
def test_errors_name_no_secret(run: Sync, tmp_path: Path, what: str, changed: dict[str, Any]) -> None:
    seen = look_at_a_run(run.with_settings(), home=tmp_path, **changed)
    assert seen.kept["errors"], what
    assert seen.find(*secrets_of(run), "not/the+secret") == []


def test_the_search_finds_what_is_there() -> None:
    token = base64.b64encode(f"operator:{PASSWORD}".encode())
    seen = Seen({}, {"a": b"x" + PASSWORD.encode(), "b": b"Basic " + token, "c": b"nothing"})
    assert seen.find(PASSWORD) == ["a", "b"]
