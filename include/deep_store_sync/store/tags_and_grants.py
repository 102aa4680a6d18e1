"""What an object carries that only calls of their own tell: its tags and its grants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from deep_store_sync.errors import DeepStoreAccessError, DeepStoreError, DeepStoreUnavailableError
from deep_store_sync.store.object_info import ObjectInfo
from deep_store_sync.store.object_url import parse_url
from deep_store_sync.store.store_errors import translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_GRANTS = {
    "FULL_CONTROL": "GrantFullControl",
    "READ": "GrantRead",
    "READ_ACP": "GrantReadACP",
    "WRITE_ACP": "GrantWriteACP",
}


def tagging(client: S3Client, like: ObjectInfo) -> dict[str, str]:
    """The object's tags as an argument for writing one like it.

    Raises:
        DeepStoreAccessError: it has some that may not be read, and that would be lost.
    """
    if like.tag_count == 0:
        return {}
    bucket, key = parse_url(like.url)
    try:
        with translated("GetObjectTagging", like.url):
            tags = client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    except DeepStoreUnavailableError:
        raise
    except DeepStoreError as error:
        if not like.tag_count:  # the store does not tell whether there are any, and does not serve them
            return {}
        raise DeepStoreAccessError(
            f"{like.url} has {like.tag_count} tags that cannot be read and would be lost. Grant "
            f"s3:GetObjectTagging and s3:PutObjectTagging ({error})"
        ) from error
    return {"Tagging": urlencode([(tag["Key"], tag["Value"]) for tag in tags])} if tags else {}


def grants(client: S3Client, like: ObjectInfo) -> dict[str, str]:
    """The object's grants as arguments for writing one like it; none where they may not be read."""
    bucket, key = parse_url(like.url)
    try:
        with translated("GetObjectAcl", like.url):
            acl: Any = client.get_object_acl(Bucket=bucket, Key=key)
    except DeepStoreUnavailableError:
        raise
    except DeepStoreError:
        return {}
    grants, owner = acl.get("Grants", []), acl.get("Owner", {}).get("ID")
    if all(grant["Permission"] == "FULL_CONTROL" and grant["Grantee"].get("ID") == owner for grant in grants):
        return {}  # what every new object has; where ACLs are disabled, naming it would be refused
    arguments: dict[str, list[str]] = {}
    for grant in grants:
        grantee = grant["Grantee"]
        who = f'uri="{grantee["URI"]}"' if "URI" in grantee else f'id="{grantee.get("ID", "")}"'
        arguments.setdefault(_GRANTS[grant["Permission"]], []).append(who)
    return {argument: ", ".join(who) for argument, who in arguments.items()}
