"""The exception tree.

Everything that this package raises on purpose derives from `DeepStoreSyncError`. A message says what is wrong, where,
and what to do next. Where a caller decides by kind (retry, leave alone, stop), it asks for the class, never for words
in the message.
"""

from __future__ import annotations


class DeepStoreSyncError(Exception):
    """Root of the tree. `transient` says whether the same call may succeed later without anybody's help."""

    transient: bool = False


class ConfigError(DeepStoreSyncError):
    """A table file, a setting or a parameter is wrong: no retry helps until somebody edits it."""


class NotInTableError(ConfigError):
    """The table has no segment or run of the name that was given: another table may."""


# --- controller and servers ------------------------------------------------------------------------------------------


class PinotError(DeepStoreSyncError):
    """Pinot's controller or one of its servers did not do what was asked."""


class PinotUnavailableError(PinotError):
    """No usable answer: connection refused, time-out, 5xx. A write may have been done: it has to be read back."""

    transient = True


class PinotTlsError(PinotUnavailableError):
    """No answer, since TLS is not agreed upon: a certificate is not trusted, or missing, or there is no TLS."""

    transient = False


class PinotAccessError(PinotError):
    """401 or 403 on a call that changes nothing: credentials or permissions."""


class PinotNotFoundError(PinotError):
    """The table, segment, job or instance is not there."""


class PinotAnswerError(PinotError):
    """The answer is not what Pinot's API gives: no JSON, or of another shape (a proxy's page, another service)."""


class PushRefusedError(PinotError):
    """The controller refused a push for good (403: storage quota, disk use, time range, permissions; other 4xx)."""


class PushConflictError(PinotError):
    """Another push of the same segment is under way (409). The same push may succeed later."""

    transient = True


class SegmentChangedError(PinotError):
    """The segment's CRC in ZooKeeper is not the expected one (412): somebody else pushed it."""


class SegmentGoneError(PinotNotFoundError):
    """The segment was deleted (404, or 410 on a push)."""


# --- deep store ------------------------------------------------------------------------------------------------------


class DeepStoreError(DeepStoreSyncError):
    """The object store did not do what was asked."""


class DeepStoreUnavailableError(DeepStoreError):
    """No usable answer: connection, time-out, 5xx. For a write, the outcome is unknown and has to be read back."""

    transient = True


class DeepStoreAccessError(DeepStoreError):
    """The store refuses the credentials, or they do not permit the call."""


class ObjectNotFoundError(DeepStoreError):
    """No such bucket or key."""


class ObjectChangedError(DeepStoreError):
    """A conditional write or read was refused (412): the object is not the one that was seen before."""


class WriteConflictError(DeepStoreError):
    """The store could not decide a conditional write now (409): the same call may succeed later."""

    transient = True


class StoreCapabilityError(DeepStoreError):
    """The store ignores the conditions that safe overwriting depends on."""


class BackupError(DeepStoreSyncError):
    """There is no backup of an object, or not any more, or it is not what was backed up."""


# --- segments --------------------------------------------------------------------------------------------------------


class SegmentError(DeepStoreSyncError):
    """A segment's archive or folder cannot be used."""


class ArchiveError(SegmentError):
    """The archive is truncated, is no tar, holds no segment, or holds a path outside the segment's folder."""


class EngineError(DeepStoreSyncError):
    """Pinot's segment library could not be started or refused to work."""


class RebuildError(SegmentError):
    """The segment could not be rebuilt for the table config and schema."""


class RebuildRefusedError(RebuildError):
    """What the segment holds must not be rebuilt for the table config and schema: it would lose something."""


class EngineDiedError(RebuildError):
    """The process that Java runs in ended in the middle of a segment."""


class VerificationError(SegmentError):
    """The rebuilt segment does not hold what the original held. It must not leave the worker."""


# --- runs ------------------------------------------------------------------------------------------------------------


class StoppedError(DeepStoreSyncError):
    """The kill switch is on."""
