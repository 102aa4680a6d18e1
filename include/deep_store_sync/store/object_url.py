"""Object URLs: `s3://bucket/key` as a download URL in ZooKeeper has them, and bucket and key as S3 has them."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit

from deep_store_sync.errors import ConfigError


def parse_url(url: str) -> tuple[str, str]:
    """Bucket and key of an `s3://` or `s3a://` URL.

    The key is the path, percent-decoded once, with empty parts left out, which is how Pinot's own S3 file system finds
    the object (`S3PinotFS`, by `URI.relativize` and `URI.getPath`): `+` stays `+`. A trailing slash is kept, so that
    prefixes work as well.

    Raises:
        ConfigError: another scheme, no bucket, credentials or a port in it, a query or fragment, or `.` or `..` as a
        part.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigError(f"{shown_url(url)} is no URL. Give s3://bucket/key") from None
    if parts.scheme not in ("s3", "s3a"):
        raise ConfigError(f"{shown_url(url)} does not lie in S3. Give s3://bucket/key (other stores are not supported)")
    if not parts.netloc or re.search(r"[@:\[\]]", parts.netloc):
        raise ConfigError(f"{shown_url(url)} names no bucket. Give s3://bucket/key, without credentials or port")
    # urlsplit() drops an empty query or fragment, Pinot does not take the sign for part of the key either.
    if "?" in url or "#" in url:
        raise ConfigError(
            f"{shown_url(url)} has a query or fragment. Percent-encode ? as %3F and # as %23 where they are of the key"
        )
    pieces = parts.path.split("/")
    if "." in pieces or ".." in pieces:
        raise ConfigError(f"{shown_url(url)} has . or .. as a part of its path. Give the path that is meant")
    try:
        key = "/".join(unquote(piece, errors="strict") for piece in pieces if piece)
    except UnicodeDecodeError:
        raise ConfigError(f"{shown_url(url)} has percent-encoded bytes that are no UTF-8. Encode it anew") from None
    return parts.netloc, key + "/" if key and pieces[-1] == "" else key


def object_url(bucket: str, key: str) -> str:
    """The URL that `parse_url` turns into this bucket and key."""
    path = quote(key, safe="/!$&'()*+,;=:@~")
    # What would be read as an empty part or as a step up is part of the key here.
    path = re.sub(r"(?<=/)/|^/", "%2F", path)
    path = re.sub(r"(?<![^/])(\.{1,2})(?![^/])", lambda dots: dots.group().replace(".", "%2E"), path)
    return f"s3://{bucket}/{path}"


def shown_url(url: str) -> str:
    """A URL for a message: without what may be credentials.

    A key may hold any sign (those of S3 do hold slashes), so of a URL with one before the bucket only the scheme is
    shown.
    """
    if "@" in url and re.match(r"[^/]*//[^/?#]*[:@]", url):
        return repr(url.split("//", 1)[0] + "//…")
    return repr(re.split(r"[?#]", url, maxsplit=1)[0])
