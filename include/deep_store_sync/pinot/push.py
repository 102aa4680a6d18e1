"""The metadata push: how a segment that lies in the deep store already is made known to the cluster.

Facts are from Pinot 1.5.1, `PinotSegmentUploadDownloadRestletResource.uploadSegment` and
`ZKOperator.processExistingSegment`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from deep_store_sync.errors import (
    PinotAnswerError,
    PinotUnavailableError,
    PushConflictError,
    PushRefusedError,
    SegmentChangedError,
    SegmentGoneError,
)
from deep_store_sync.pinot.http import Http


def push_metadata(
    http: Http,
    base_url: str,
    raw_table: str,
    table_type: str,
    segment: str,
    *,
    archive: bytes,
    url: str,
    expected_crc: int,
    custom: Mapping[str, str],
) -> None:
    """Push a segment's metadata, once. `ControllerClient.push_metadata` tells the meaning and the errors."""
    if not url.isascii():
        # The controller reads headers as Latin-1 and would store another URL than this one.
        raise PushRefusedError(
            f"segment {segment}: its download URL {url!r} has characters that an HTTP header cannot carry. Nothing was "
            "sent. Push the segment again under a percent-encoded URL"
        )
    endpoint = f"{base_url}/v2/segments"
    response = http.send(
        "POST",
        endpoint,
        params={
            "tableName": _with_database(raw_table, http.headers.get("database")),
            "tableType": table_type,
            "enableParallelPushProtection": "true",
        },
        headers={
            "UPLOAD_TYPE": "METADATA",
            "DOWNLOAD_URI": url,
            "COPY_SEGMENT_TO_DEEP_STORE": "false",
            "REFRESH_ONLY": "true",
            "If-Match": str(expected_crc),
            "Pinot-SegmentZKMetadataCustomMapModifier": json.dumps({"mapModifyMode": "UPDATE", "map": dict(custom)}),
        },
        # The controller takes the segment's name from the archive; what the part is called does not matter.
        files={"segment": ("segment.tar.gz", archive, "application/octet-stream")},
    )
    call = f"{http.describe('POST', endpoint)} (metadata push of segment {segment})"
    status = response.status_code
    if response.is_success:
        if not isinstance(body := http.decode(call, response), dict) or "status" not in body:
            raise http.unexpected(call, "an object with a status", body)
        return
    said = f"{status}: {http.reason(response)}"
    if status == 409:
        raise PushConflictError(f"{call}: another push of this segment is under way ({said}). Try again later")
    if status == 412:
        raise SegmentChangedError(
            f"{call}: somebody else pushed the segment, its CRC is no longer {expected_crc} ({said})"
        )
    if status in (404, 410):
        raise SegmentGoneError(f"{call}: the segment is no longer there ({said})")
    if status in (408, 429) or status >= 500:
        raise PinotUnavailableError(f"{call}: failed in the controller, and may have been done nevertheless ({said})")
    if response.has_redirect_location:
        raise PinotAnswerError(f"{call}: was redirected ({said}). Use the controller's own address, with its scheme")
    raise PushRefusedError(f"{call}: the controller refuses it ({said}). {_remedy(status)}")


def _with_database(raw_table: str, database: str | None) -> str:
    # Every other call puts the `database` header before the table's name; this one does not look at it.
    if not database or database.lower() == "default" or "." in raw_table:
        return raw_table
    return f"{database}.{raw_table}"


def _remedy(status: int) -> str:
    if status == 401:
        return "Check user and password or token for the controller"
    if status == 403:
        return (
            "403 stands for permissions, the table's storage quota, disk use above the controller's limit, or a "
            "time range that Pinot does not take: mend what the reason names"
        )
    return "Mend what the reason names"
