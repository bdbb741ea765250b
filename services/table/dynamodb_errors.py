"""What DynamoDB's failures mean: which calls may be made again, and what the caller is told.

Source: DynamoDB developer guide, "Error handling with DynamoDB".
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
from aiodynamo import errors

from boundary.errors import Aborted, ResourceExhausted, SiloError, Unavailable
from services.table.ports import ItemTooLarge, TransactionTooLarge

ENGINE_ERRORS = (errors.AIODynamoError, aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""Everything that the client raises for a call that failed; ValueError for an answer that is no JSON."""

CONDITION_FAILED = "ConditionalCheckFailed"

_CANCELLED = "TransactionCanceled"


class Failure(enum.Enum):
    """How a call failed."""

    REFUSED = "refused"
    """The engine read the call and did not make it; again would be the same."""
    DENIED = "denied"
    """The engine does not let this process at the table, or the table is missing."""
    THROTTLED = "throttled"
    """Too many calls; this one was not made."""
    CONFLICT = "conflict"
    """Another transaction was at the same items; this one was not made."""
    EXPIRED = "expired"
    """The credentials were too old; the call was not made."""
    UNREACHED = "unreached"
    """No connection; the call was not made."""
    UNKNOWN = "unknown"
    """No answer, or an engine's own failure: the call may have been made."""


_FAILURES = {
    "AccessDenied": Failure.DENIED,
    "ExpiredToken": Failure.EXPIRED,
    "IncompleteSignature": Failure.DENIED,
    "InvalidSignature": Failure.DENIED,
    "MissingAuthenticationToken": Failure.DENIED,
    "ProvisionedThroughputExceeded": Failure.THROTTLED,
    "ReplicatedWriteConflict": Failure.CONFLICT,
    "RequestLimitExceeded": Failure.THROTTLED,
    "ResourceNotFound": Failure.DENIED,
    "Throttling": Failure.THROTTLED,
    "ThrottlingError": Failure.THROTTLED,
    "TransactionConflict": Failure.CONFLICT,
    "TransactionInProgress": Failure.CONFLICT,
    "UnrecognizedClient": Failure.DENIED,
}


def failure_of(error: Exception) -> Failure:
    """How a call failed, by what the client raised."""
    code = code_of(error)
    if code == _CANCELLED:
        return _cancellation(cancellation_reasons(error))
    if isinstance(error, errors.NoCredentialsFound):
        return Failure.DENIED
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return Failure.UNREACHED
    # An answer of the engine's own failure bears no code, or one beside a status of 500 and more.
    if not code or (isinstance(error, errors.UnknownError) and error.status >= 500):
        return Failure.UNKNOWN
    return _FAILURES.get(code, Failure.REFUSED)


def _cancellation(reasons: Sequence[Mapping[str, Any]]) -> Failure:
    """Why a transaction was not made. What refuses a write outweighs what delays one."""
    codes = {str(reason.get("Code", "None")) for reason in reasons} - {"None"}
    if not codes or any(is_refusal(code) for code in codes):
        return Failure.REFUSED
    throttled = any(_FAILURES[code] is Failure.THROTTLED for code in codes)
    return Failure.THROTTLED if throttled else Failure.CONFLICT


def is_refusal(code: str) -> bool:
    """Whether the code of one write of a transaction says that it can never be made as it is."""
    return code != "None" and code not in _FAILURES


def body_of(error: Exception) -> Mapping[str, Any]:
    """What the engine answered; empty where it did not."""
    raw = error.args[0] if error.args else None
    if isinstance(raw, bytes):
        try:
            raw = json.loads(raw)
        except ValueError:
            return {}
    return raw if isinstance(raw, dict) else {}


def code_of(error: Exception) -> str:
    """The engine's code, without its namespace and its `Exception`; empty where there is none."""
    kind = body_of(error).get("__type")
    if not isinstance(kind, str):
        return ""
    return kind.rpartition("#")[2].removesuffix("Exception")


def message_of(body: Mapping[str, Any]) -> str:
    """The text in what the engine answered, whichever way it spells the field."""
    return str(body.get("message") or body.get("Message") or "")


def cancellation_reasons(error: Exception) -> Sequence[Mapping[str, Any]]:
    """Why a transaction was not made, by the place of each write; empty where it was another failure."""
    reasons = body_of(error).get("CancellationReasons")
    return reasons if isinstance(reasons, list) else []


def told(failure: Failure, *, unknown: bool) -> SiloError:
    """What the caller is told.

    Args:
        failure: how the last attempt failed.
        unknown: whether a write may have been made, in this attempt or in an earlier one.
    """
    if unknown:
        return Unavailable(
            "TABLE_OUTCOME_UNKNOWN", "the table did not answer; the write may have been made"
        )
    if failure is Failure.THROTTLED:
        return ResourceExhausted(
            "TABLE_THROTTLED", "the table is asked for too much at present", retry_after=1.0
        )
    if failure is Failure.CONFLICT:
        return Aborted(
            "CONTENTION", "the items are being changed by others; try again", retry_after=0.1
        )
    return Unavailable("TABLE_UNAVAILABLE", "the table does not answer")


def refusal(text: str, *, index: int = 0) -> Exception:
    """The port's exception for a write that the engine found at fault.

    Args:
        text: the engine's message.
        index: the write's place in its transaction.
    """
    if "exceeded the maximum allowed size" in text and "Item size" in text:
        return ItemTooLarge(index)
    if "4MB" in text or "4 MB" in text:
        return TransactionTooLarge()
    if "incorrect data type" in text:
        return TypeError("an attribute that is added to is not an integer")
    return ValueError("the table does not take the request")
