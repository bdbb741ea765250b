"""Runs one call: through the chain, into its handler, and back out with exactly one answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc

from boundary.audit import durable
from boundary.catalog import Called
from boundary.errors import (
    Cancelled,
    InvalidArgument,
    ResourceExhausted,
    SiloError,
    bounded,
    status_of,
)
from boundary.interceptors.call import Call
from boundary.interceptors.chain import Chain
from boundary.interceptors.endings import why_ended, why_failed
from boundary.metadata import REQUEST_ID_KEY, STATUS_KEY, Metadata

T = TypeVar("T")
Rpc = grpc.aio.ServicerContext[Any, Any]

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The largest message that is served. gRPC itself receives up to HARD_MAX_MESSAGE_BYTES, so that a message over
the limit gets an answer with a reason and an audit record, and not only a transport error."""

HARD_MAX_MESSAGE_BYTES = 4 * MAX_MESSAGE_BYTES

METADATA_BYTES = 32 * 1024
"""Metadata up to this size always passes; gRPC's own 8 KiB would turn away the largest tokens at random."""


class Relayed(SiloError):
    """The answer of a service behind this one, passed on as it came.

    Attributes:
        status_code: its status code.
        trailers: its trailing metadata, rich error included.
    """

    def __init__(
        self, status_code: grpc.StatusCode, details: str, trailers: Metadata, *, reason: str = ""
    ) -> None:
        super().__init__(reason, details)
        self.status_code = status_code
        self.trailers = trailers


async def serve(
    chain: Chain,
    method: Called,
    handle: Callable[[Call, Rpc], Awaitable[T]],
    _: object,
    rpc: Rpc,
) -> T:
    """What handle returns for a call that passed the chain. gRPC's iterator over the messages is not used.

    Whatever is raised on the way becomes the call's status, with one ErrorInfo, and is recorded by the chain
    before the caller has its answer.
    """
    remaining = rpc.time_remaining()
    started = time.monotonic()
    call = Call(
        method=method,
        metadata=tuple(rpc.invocation_metadata() or ()),
        deadline=None if remaining is None else started + remaining,
        started=started,
        task=asyncio.current_task(),
    )
    try:
        await chain.enter(call)
        result = await handle(call, rpc)
    except asyncio.CancelledError:
        error = why_ended(call)
        _close(chain, call, error)
        if isinstance(error, Cancelled):
            raise
    except grpc.aio.InternalError as raised:
        # gRPC takes nothing more for a call that was cut off, and says so before it cancels the task.
        _close(
            chain, call, call.refusal or Cancelled("CALLER_GONE", "the caller cancelled the call")
        )
        raise asyncio.CancelledError from raised
    except Exception as raised:  # noqa: BLE001 - the caller must have an answer whatever happened
        error = why_failed(call, raised)
        _close(chain, call, error)
    else:
        chain.leave(call)
        if call.recorded is None:
            return result
        unrecorded = await why_unrecorded(call)
        if unrecorded is None:
            return result
        error = unrecorded
    await _abort(rpc, call, await why_unrecorded(call) or error)
    raise AssertionError("abort always raises")


async def read_message(rpc: Rpc, call: Call) -> bytes | None:
    """The caller's next message as bytes, or None once the caller has ended its stream.

    Raises:
        ResourceExhausted: the message is over the limit.
        Cancelled: see read_bytes.
    """
    raw = await read_bytes(rpc, call)
    if raw is not None and len(raw) > MAX_MESSAGE_BYTES:
        raise message_too_large()
    return raw


async def read_request(rpc: Rpc, call: Call) -> bytes:
    """The one message of a caller that sends one.

    Raises:
        ResourceExhausted: the message is over the limit.
        InvalidArgument: the caller ended its stream without a message.
        Cancelled: see read_bytes.
    """
    raw = await rpc.read()
    if not isinstance(raw, bytes):
        await _settle(rpc, call)
        raise InvalidArgument("message", "is missing", reason="MESSAGE_MISSING")
    if len(raw) > MAX_MESSAGE_BYTES:
        raise message_too_large()
    return raw


async def read_bytes(rpc: Rpc, call: Call) -> bytes | None:
    """The caller's next message, whatever its size, or None once the caller has ended its stream.

    Raises:
        Cancelled: the call was cut off; raised where another task than the call's own reads.
    """
    raw = await rpc.read()
    if isinstance(raw, bytes):
        return raw
    await _settle(rpc, call)
    return None


async def _settle(rpc: Rpc, call: Call) -> None:
    """Returns where the caller has ended its stream, and does not where the call was cut off.

    grpc.aio's read answers EOF in both cases, and in the second cancels the call's task a moment later. What was
    cut off must never pass for complete. A second read goes through gRPC's core behind the event that tells of
    the cut, so that by its return the task is being cancelled if it ever will be.

    Raises:
        Cancelled: the call was cut off; raised where another task than the call's own reads.
    """
    await rpc.read()
    if call.task is not None and call.task.cancelling():
        raise Cancelled("CALLER_GONE", "the caller cancelled the call")


def message_too_large() -> ResourceExhausted:
    """The error for a message over MAX_MESSAGE_BYTES."""
    return ResourceExhausted(
        "MESSAGE_TOO_LARGE", f"a message may have {MAX_MESSAGE_BYTES} bytes", field="message"
    )


async def why_unrecorded(call: Call) -> SiloError | None:
    """None once the call's record is durable, or is not to be waited for; else what its caller is told instead."""
    if call.recorded is None:
        return None
    try:
        await durable(call.recorded)
    except SiloError as error:
        return error
    return None


def _close(chain: Chain, call: Call, error: SiloError) -> None:
    call.error = error
    call.status = error.status_code.name if isinstance(error, Relayed) else error.code
    chain.leave(call)


async def _abort(rpc: Rpc, call: Call, error: SiloError) -> None:
    if isinstance(error, Relayed):
        await rpc.abort(error.status_code, error.message, error.trailers)
    status = status_of(error, call.request_id)
    trailers = (
        (STATUS_KEY, status.SerializeToString()),
        (REQUEST_ID_KEY, call.request_id),
    )
    await rpc.abort(grpc.StatusCode[error.code], bounded(error.message), trailers)
