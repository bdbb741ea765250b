"""What a failure of the service behind means to the caller in front."""

from __future__ import annotations

import logging
import time

import grpc
from google.protobuf.message import DecodeError

from boundary.errors import (
    DeadlineExceeded,
    ResourceExhausted,
    SiloError,
    Unavailable,
    error_info,
    unknown_method,
)
from boundary.interceptors.call import Call
from boundary.interceptors.serve import Relayed
from boundary.metadata import REQUEST_ID_KEY, STATUS_KEY, Metadata
from boundary.resolver_client import rich_status, unreachable

_log = logging.getLogger(__name__)

_OURS = "x-silo-"
_RESERVED = "grpc-"


def failure_of(error: grpc.aio.AioRpcError, call: Call) -> SiloError:
    """The error to end call with.

    An answer of the service itself, which carries a google.rpc.Status, is passed on as it came. What gRPC made
    up because there was no answer gets an ErrorInfo of ours. Notes in call whether the service recorded it.
    """
    trailers = passed_on(error.trailing_metadata())
    keys = {key for key, _ in trailers}
    call.recorded_downstream = REQUEST_ID_KEY in keys
    if STATUS_KEY in keys:
        return Relayed(error.code(), error.details() or "", trailers, reason=_reason(error))
    _log.warning(
        "%s failed at %s, request %s: %s %s",
        call.method.name,
        call.method.service,
        call.request_id,
        error.code().name,
        error.details(),
    )
    return _transport_failure(error.code(), call)


def passed_on(metadata: grpc.aio.Metadata | None) -> Metadata:
    """The metadata of a service that callers see: all of it but gRPC's own and what is between ourselves."""
    return tuple(
        (key, value)
        for key, value in metadata or ()
        if key == STATUS_KEY or not key.startswith((_OURS, _RESERVED))
    )


def _transport_failure(code: grpc.StatusCode, call: Call) -> SiloError:
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        if call.deadline is not None and time.monotonic() >= call.deadline - 0.1:
            return DeadlineExceeded("DEADLINE_PASSED", "the caller's deadline passed")
        return Unavailable(
            "TIMED_OUT", f"the {call.method.service} service does not answer in time"
        )
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return ResourceExhausted("TRANSPORT_LIMIT", "the call is over a limit of the transport")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return unknown_method()
    return unreachable(call.method.service)


def _reason(error: grpc.aio.AioRpcError) -> str:
    try:
        info = error_info(rich_status(error))
    except DecodeError:
        return ""
    return info.reason if info is not None else ""
