"""The errors that operations raise and the statuses that callers get.

Every error names a canonical status code (google.rpc.Code), a stable UPPER_SNAKE reason and a message for
people. `status_of` is the only place that turns an error into a google.rpc.Status; it attaches exactly one
ErrorInfo (AIP-193) and never lets a driver's text through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

DOMAIN = "silo"

_MAX_TEXT = 400


class SiloError(Exception):
    """An outcome that the caller is told about.

    Attributes:
        code: the canonical code's name, for example `NOT_FOUND`.
        reason: what went wrong, for programs; stable.
        message: what went wrong, for people.
        field: the request field at fault, or empty.
        retry_after: seconds after which a retry may succeed, or None.
        metadata: further facts for ErrorInfo, for example the permission that is missing.
    """

    code: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        field: str = "",
        retry_after: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.field = field
        self.retry_after = retry_after
        self.metadata = dict(metadata or {})


class InvalidArgument(SiloError):
    """A field of the request is out of grammar, out of range or out of place."""

    code = "INVALID_ARGUMENT"

    def __init__(self, field: str, description: str, *, reason: str = "INVALID_FIELD") -> None:
        message = f"{field}: {description}" if field else description
        super().__init__(reason, message, field=field)
        self.description = description


class Unauthenticated(SiloError):
    """The caller has not proved who it is."""

    code = "UNAUTHENTICATED"


class PermissionDenied(SiloError):
    """The caller is known and may not do this."""

    code = "PERMISSION_DENIED"


class NotFound(SiloError):
    """The resource is not there, or is another tenant's: both read alike."""

    code = "NOT_FOUND"

    def __init__(self, resource: str, *, field: str = "") -> None:
        super().__init__(
            "RESOURCE_NOT_FOUND",
            f"{resource} was not found",
            field=field,
            metadata={"resource": resource},
        )


class AlreadyExists(SiloError):
    """The id, path or slug is taken."""

    code = "ALREADY_EXISTS"

    def __init__(self, resource: str, *, reason: str = "RESOURCE_EXISTS", field: str = "") -> None:
        super().__init__(
            reason, f"{resource} already exists", field=field, metadata={"resource": resource}
        )


class Aborted(SiloError):
    """Somebody else changed the resource first; read it again and retry (AIP-154)."""

    code = "ABORTED"


class FailedPrecondition(SiloError):
    """The resource is not in the state that the request needs."""

    code = "FAILED_PRECONDITION"


class ResourceExhausted(SiloError):
    """A limit is reached: a quota, a message size, the disk."""

    code = "RESOURCE_EXHAUSTED"


class OutOfRange(SiloError):
    """A range lies beyond the end of what it ranges over."""

    code = "OUT_OF_RANGE"


class Unavailable(SiloError):
    """Something that is needed does not answer; nothing was done."""

    code = "UNAVAILABLE"

    def __init__(self, reason: str, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(reason, message, retry_after=retry_after)


class Unimplemented(SiloError):
    """There is no such method here."""

    code = "UNIMPLEMENTED"


def unknown_method() -> Unimplemented:
    """The answer for a method that does not exist, and for one that is not exposed: nobody learns which."""
    return Unimplemented("METHOD_UNKNOWN", "there is no such method")


class DataLoss(SiloError):
    """What is stored is damaged or was changed by somebody else than us; it is not served."""

    code = "DATA_LOSS"


class DeadlineExceeded(SiloError):
    """The caller's deadline passed first."""

    code = "DEADLINE_EXCEEDED"


class Cancelled(SiloError):
    """The caller went away."""

    code = "CANCELLED"


class Internal(SiloError):
    """A defect of ours. The text is fixed: what happened stands in the log beside the request id."""

    code = "INTERNAL"

    def __init__(self) -> None:
        super().__init__("INTERNAL", "an internal error occurred; quote the request id to support")


def etag_mismatch(resource: str, *, field: str = "etag") -> Aborted:
    """The error for a stale etag (AIP-154)."""
    return Aborted(
        "ETAG_MISMATCH",
        f"{resource} has changed since it was read; read it again",
        field=field,
        metadata={"resource": resource},
    )


def tenant_unavailable() -> PermissionDenied:
    """The one answer for a tenant that does not exist, is suspended, or is someone else's."""
    return PermissionDenied("TENANT_UNAVAILABLE", "the tenant is not available to this caller")


def tenant_read_only() -> Unavailable:
    """The answer to a write of a tenant whose data is being moved or brought in; reads go on."""
    return Unavailable(
        "TENANT_READ_ONLY",
        "the tenant's data is being moved or brought in; it can be read",
        retry_after=5.0,
    )


def key_destroyed() -> FailedPrecondition:
    """The answer for what was encrypted under a tenant's key that is destroyed."""
    return FailedPrecondition(
        "KEY_DESTROYED", "the tenant's key is destroyed, and what was encrypted under it with it"
    )


def status_of(error: SiloError, request_id: str) -> status_pb2.Status:
    """The google.rpc.Status for error, with ErrorInfo and, where they fit, BadRequest and RetryInfo."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    for name, value in error.metadata.items():
        info.metadata[name] = bounded(value)
    if request_id:
        info.metadata["request_id"] = request_id
    if error.field:
        info.metadata["field"] = bounded(error.field)
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=bounded(error.message))
    status.details.append(_packed(info))
    if isinstance(error, InvalidArgument):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=bounded(error.field),
            description=bounded(error.description),
            reason=error.reason,
        )
        status.details.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
    if isinstance(error, ResourceExhausted):
        failure = error_details_pb2.QuotaFailure.Violation(
            subject=error.reason, description=bounded(error.message)
        )
        status.details.append(_packed(error_details_pb2.QuotaFailure(violations=[failure])))
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(error.retry_after * 1e9))
        status.details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status


def bounded(text: str) -> str:
    """A text that may echo what a caller sent, cut so that the error it is in always fits its trailers."""
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."


def error_info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo | None:
    """The ErrorInfo of a status, or None where it has none."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return info
    return None


def _packed(
    message: error_details_pb2.ErrorInfo
    | error_details_pb2.BadRequest
    | error_details_pb2.QuotaFailure
    | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
