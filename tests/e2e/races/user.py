"""What users and their ingestion jobs ask of a cluster, over the controller's REST API and S3, with no word to us."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import httpx
from tests.e2e.races.table import RAW_TABLE, TABLE

from deep_store_sync.segment.archive import metadata_archive, read_metadata
from pinot_sandbox import Sandbox

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class User:
    """Safe to use from several threads. A refusal comes back in words; None is a success."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._http = httpx.Client(base_url=sandbox.controller_url, timeout=60, trust_env=False)
        self._bucket = sandbox.s3.bucket
        self._folder = f"{sandbox.deep_store_url}/{RAW_TABLE}"
        self._s3: S3Client = sandbox.s3.client()

    def __enter__(self) -> User:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        self._s3.close()

    def push(self, archive: Path, *, protected: bool) -> str | None:
        """A tar push: the controller writes the object, then ZooKeeper.

        `protected` pushes, which minions make, keep one another away; batch ingestion jobs do without by default.
        """
        with archive.open("rb") as file:
            return self._upload({"UPLOAD_TYPE": "SEGMENT"}, protected, file.read())

    def push_in_place(self, segment: str, archive: Path, *, protected: bool) -> str | None:
        """A metadata push of a job whose output folder is the deep store. `put` has written the object before."""
        headers = {
            "UPLOAD_TYPE": "METADATA",
            "DOWNLOAD_URI": f"{self._folder}/{segment}",
            "COPY_SEGMENT_TO_DEEP_STORE": "false",
        }
        return self._upload(headers, protected, metadata_archive(segment, *read_metadata(archive, segment)))

    def put(self, segment: str, archive: Path) -> None:
        """Write a segment's object, whatever is there."""
        self._s3.put_object(Bucket=self._bucket, Key=self.key(segment), Body=archive.read_bytes())

    def delete(self, segment: str, *, for_good: bool) -> str | None:
        """Delete a segment. The controller does it by and by; not `for_good`, it keeps the object elsewhere."""
        params = {"retention": "0d"} if for_good else {}
        return _refusal(self._http.delete(f"/segments/{TABLE}/{segment}", params=params))

    def reload(self, segment: str | None, *, force_download: bool) -> str | None:
        """Have servers reload a segment, or the table, without waiting for it."""
        path = f"/segments/{TABLE}/{segment}/reload" if segment else f"/segments/{TABLE}/reload"
        return _refusal(self._http.post(path, params={"forceDownload": str(force_download).lower()}))

    def has_record(self, segment: str) -> bool:
        """Whether ZooKeeper knows of a segment."""
        return self._http.get(f"/segments/{RAW_TABLE}/{segment}/metadata").status_code != httpx.codes.NOT_FOUND

    def has_object(self, segment: str) -> bool:
        found = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=self.key(segment))
        return any(item["Key"] == self.key(segment) for item in found.get("Contents", []))

    def key(self, segment: str) -> str:
        return f"{self._folder}/{segment}".removeprefix(f"s3://{self._bucket}/")

    def _upload(self, headers: dict[str, str], protected: bool, body: bytes) -> str | None:
        protection = {"enableParallelPushProtection": str(protected).lower()}
        params = {"tableName": RAW_TABLE, "tableType": "OFFLINE", **protection}
        files = {"segment": ("segment.tar.gz", body)}
        return _refusal(self._http.post("/v2/segments", params=params, headers=headers, files=files))


def _refusal(answer: httpx.Response) -> str | None:
    return f"HTTP {answer.status_code}: {answer.text[:300]}" if answer.is_error else None
