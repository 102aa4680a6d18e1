"""What boto3 raises, as errors of this package: by kind, with bucket, key and call in the message, and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ResponseStreamingError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.exceptions import ConnectionError as ConnectionFailedError
from botocore.parsers import ResponseParserError

from deep_store_sync.errors import (
    DeepStoreAccessError,
    DeepStoreError,
    DeepStoreUnavailableError,
    ObjectChangedError,
    ObjectNotFoundError,
    StoreCapabilityError,
    WriteConflictError,
)
from deep_store_sync.quoting import excerpt, quoted_error

_BAD_CREDENTIALS = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
        "TokenRefreshRequired",
        "AuthorizationHeaderMalformed",
    }
)
_BUSY = frozenset({"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequestsException"})
_NO_ANSWER = (
    HTTPClientError,
    ConnectionFailedError,
    ResponseStreamingError,
    IncompleteReadError,
    FlexibleChecksumError,
    ResponseParserError,  # no XML: cut short, or from somebody in between
)
_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)


@contextmanager
def translated(call: str, url: str, *, conditional_write: bool = False) -> Iterator[None]:
    """Turn what boto3 raises inside into this package's errors. `call` is S3's name for it.

    botocore sends a request again after a time-out or a 5xx. For a conditional write whose first try did arrive, that
    one fails by our own doing, so with `conditional_write` a refusal that came after a retry counts as an unknown
    outcome, not as a lost race.
    """
    where = f"{call} {url}"
    try:
        yield
    except ClientError as error:
        raise _refused(error, where, conditional_write=conditional_write) from error
    except _NO_ANSWER as error:
        unknown = " Whether the store has done it is unknown." if conditional_write else ""
        raise DeepStoreUnavailableError(
            f"{where}: no usable answer ({_text(error)}).{unknown} Check the endpoint URL of the AWS connection and "
            "the network"
        ) from error
    except _NO_CREDENTIALS as error:
        raise DeepStoreAccessError(f"{where}: no credentials ({_text(error)}). Check the AWS connection") from error
    except BotoCoreError as error:
        raise DeepStoreError(
            f"{where}: could not be sent ({_text(error)}). Check the AWS connection and the object's attributes"
        ) from error


def _refused(error: ClientError, where: str, *, conditional_write: bool) -> DeepStoreError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    metadata: dict[str, Any] = dict(error.response.get("ResponseMetadata", {}))
    status = int(metadata.get("HTTPStatusCode", 0))
    said = f"{status} {code}: {excerpt(error.response.get('Error', {}).get('Message', '') or 'no reason given')}"
    if (status >= 500 and status != 501) or status == 429 or code in _BUSY:
        unknown = " Whether it was done is unknown." if conditional_write else ""
        return DeepStoreUnavailableError(
            f"{where}: the store failed ({said}).{unknown} Look at its health and its request limits"
        )
    if conditional_write and metadata.get("RetryAttempts", 0) and status in (404, 409, 412):
        return DeepStoreUnavailableError(
            f"{where}: refused ({said}) after it had been sent again. An earlier try may be what is there now: the "
            "outcome is unknown. Check the network to the store"
        )
    if code in _BAD_CREDENTIALS or status == 401:
        return DeepStoreAccessError(
            f"{where}: the store refuses the credentials ({said}). Check the AWS connection: key, secret, region"
        )
    if code == "RequestTimeTooSkewed":
        return DeepStoreAccessError(f"{where}: the clocks differ too much ({said}). Set this machine's clock")
    if code == "InvalidObjectState":
        return DeepStoreError(
            f"{where}: the object is archived ({said}). Restore it into a storage class that can be read"
        )
    if status == 403:
        return DeepStoreAccessError(
            f"{where}: the credentials do not permit this call ({said}). Grant it for this bucket and key; without "
            "s3:ListBucket a missing object is answered like this as well"
        )
    if status == 404:
        missing = (
            "the bucket does not exist" if code == "NoSuchBucket" else "there is no such object, or no such bucket"
        )
        return ObjectNotFoundError(f"{where}: {missing} ({said})")
    if status == 412:
        return ObjectChangedError(f"{where}: the object is not the one that was seen before ({said})")
    if status == 409:
        return WriteConflictError(
            f"{where}: the store could not decide between concurrent writes ({said}). The same call may succeed later"
        )
    if conditional_write and (status == 501 or code in ("NotImplemented", "InvalidArgument")):
        return StoreCapabilityError(
            f"{where}: the store does not take conditional writes ({said}). Use one that honours If-Match"
        )
    return DeepStoreError(f"{where}: refused ({said})")


def _text(error: Exception) -> str:
    return quoted_error(error, 300)
