"""What an S3 server's answers mean, in one place. No driver's text leaves it except into the log."""

from __future__ import annotations

import logging
from enum import Enum, auto

from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
)

from boundary.errors import Internal, ResourceExhausted, SiloError, Unavailable

_log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""What a caller is told to wait after the engine failed or throttled."""


class Kind(Enum):
    """What an answer means for the call."""

    MISSING = auto()  # no such key, version or bucket entry
    NO_UPLOAD = auto()  # the multipart upload is over, one way or the other
    PRECONDITION = auto()  # If-Match or If-None-Match does not hold
    CONFLICT = auto()  # another conditional write is under way
    RANGE = auto()  # the range begins beyond the end
    THROTTLED = auto()  # slow down
    UNREACHED = auto()  # no connection, so nothing was done
    UNKNOWN = auto()  # cut off or failed inside, so anything may have been done
    REFUSED = auto()  # the credentials do not reach this
    FULL = auto()  # no space left
    LACKING = auto()  # the server has no such thing
    OTHER = auto()  # the call was wrong: a defect of ours or a server that lacks something


TRANSIENT = frozenset({Kind.THROTTLED, Kind.UNREACHED, Kind.UNKNOWN})
"""What may go away by itself."""

UNDONE = frozenset({Kind.THROTTLED, Kind.UNREACHED})
"""What certainly did nothing, so that even a write that must happen once can be tried again."""

_BY_CODE = {
    "NoSuchKey": Kind.MISSING,
    "NoSuchVersion": Kind.MISSING,
    "NotFound": Kind.MISSING,
    "404": Kind.MISSING,
    "NoSuchUpload": Kind.NO_UPLOAD,
    "PreconditionFailed": Kind.PRECONDITION,
    "412": Kind.PRECONDITION,
    "ConditionalRequestConflict": Kind.CONFLICT,
    "OperationAborted": Kind.CONFLICT,
    "InvalidRange": Kind.RANGE,
    "416": Kind.RANGE,
    "SlowDown": Kind.THROTTLED,
    "Throttling": Kind.THROTTLED,
    "ThrottlingException": Kind.THROTTLED,
    "TooManyRequests": Kind.THROTTLED,
    "TooManyRequestsException": Kind.THROTTLED,
    "RequestLimitExceeded": Kind.THROTTLED,
    "BandwidthLimitExceeded": Kind.THROTTLED,
    "429": Kind.THROTTLED,
    # What is answered for one key among many has no status of its own.
    "InternalError": Kind.UNKNOWN,
    "ServiceUnavailable": Kind.UNKNOWN,
    # The content arrived damaged, or not in time: sent again, it may arrive.
    "BadDigest": Kind.UNKNOWN,
    "XAmzContentSHA256Mismatch": Kind.UNKNOWN,
    "IncompleteBody": Kind.UNKNOWN,
    "RequestTimeout": Kind.UNKNOWN,
    "NotImplemented": Kind.LACKING,
    "501": Kind.LACKING,
    "AccessDenied": Kind.REFUSED,
    "403": Kind.REFUSED,
    "Forbidden": Kind.REFUSED,
    "QuotaExceeded": Kind.FULL,
    "InsufficientStorage": Kind.FULL,
    "XMinioStorageFull": Kind.FULL,
    "507": Kind.FULL,
}

_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidToken",
        "TokenRefreshRequired",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "RequestTimeTooSkewed",
        "RequestExpired",
    }
)
"""Credentials or a clock that are out of order: nothing was done, and only somebody's hand helps."""


class Refused(Exception):
    """The engine answered in a way that the call provides for."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind.name)
        self.kind = kind


def kind_of(error: Exception) -> Kind:
    """What a failed call means. Anything that is not an answer of the server is a connection's failure."""
    if isinstance(error, ClientError):
        return _answer(error)
    if isinstance(error, (EndpointConnectionError, ConnectTimeoutError)):
        return Kind.UNREACHED
    return Kind.UNKNOWN


def _answer(error: ClientError) -> Kind:
    code = error.response.get("Error", {}).get("Code", "")
    if code in _BY_CODE:
        return _BY_CODE[code]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return Kind.UNKNOWN if status >= 500 else Kind.OTHER


def translated(error: Exception, kind: Kind) -> SiloError:
    """The error for the caller of a call that failed; what the engine said goes to the log."""
    if kind is Kind.THROTTLED:
        _log.warning("the object store throttles: %s", _described(error))
        return ResourceExhausted(
            "ENGINE_THROTTLED", "the object store is asked too much", retry_after=RETRY_SECONDS
        )
    if kind is Kind.FULL:
        _log.error("the object store is full: %s", _described(error))
        return ResourceExhausted("STORAGE_FULL", "the object store has no space left")
    if kind in (Kind.UNREACHED, Kind.UNKNOWN, Kind.CONFLICT, Kind.NO_UPLOAD):
        _log.warning("the object store failed: %s", _described(error))
        return Unavailable("ENGINE_UNAVAILABLE", "the object store does not answer")
    if isinstance(error, ClientError) and error.response["Error"].get("Code") in _CREDENTIALS:
        _log.error("the object store refuses our credentials: %s", _described(error))
        return Unavailable("ENGINE_UNAVAILABLE", "the object store does not answer")
    _log.critical("the object store refused a call: %s", _described(error))
    return Internal()


def _described(error: Exception) -> str:
    """The operation and the code; not the message, in which servers repeat keys and access keys."""
    if isinstance(error, ClientError):
        return f"{error.operation_name}: {error.response.get('Error', {}).get('Code', '')}"
    return type(error).__name__
