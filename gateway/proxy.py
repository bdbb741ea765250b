"""Forwards calls as bytes, in all four shapes. No message is decoded.

Backpressure is end to end: the next message is read only when the one before it has been taken, so that a
transfer of any size holds a message or two. Where either side ends a call, the other side's end is cancelled.

Streams pass the service's metadata on, initial and trailing. A unary call that succeeds does not: services send
none then, and asking for it would be paid for by every call. Errors always come with theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from boundary.channel import keep_ending, what_ended
from boundary.interceptors.call import Call
from boundary.interceptors.chain import Chain
from boundary.interceptors.serve import Rpc, read_bytes, read_request
from boundary.interceptors.shapes import AnyHandler, handler_for
from boundary.metadata import ADMITTED_KEY, Metadata
from gateway.failures import failure_of, passed_on
from gateway.forwarding import Forwarding
from gateway.unary import UnaryMethod

Upstream = Any
"""A call to the service behind: one of grpc.aio's call objects, whose common base has no reading or writing."""


def handler_of(forwarding: Forwarding, chain: Chain) -> AnyHandler:
    """The gRPC handler that forwards calls of a method."""
    method = forwarding.method
    shapes: dict[tuple[bool, bool], Callable[[Forwarding], Any]] = {
        (False, False): _unary_unary,
        (False, True): _unary_stream,
        (True, False): _stream_unary,
        (True, True): _stream_stream,
    }
    handle = shapes[method.client_streaming, method.server_streaming](forwarding)
    return handler_for(chain, method, handle, server_streaming=method.server_streaming)


def _unary_unary(forwarding: Forwarding) -> Callable[[Call, Rpc], Awaitable[bytes]]:
    upstream = UnaryMethod(forwarding.channel, forwarding.method.path)

    async def handle(call: Call, rpc: Rpc) -> bytes:
        return await forwarding.start(call, upstream, await read_request(rpc, call))

    return handle


def _unary_stream(forwarding: Forwarding) -> Callable[[Call, Rpc], Awaitable[None]]:
    open_call: Any = forwarding.channel.unary_stream(forwarding.method.path)

    async def start(
        metadata: Metadata, seconds: float | None, raw: bytes
    ) -> tuple[Upstream, bytes | None]:
        upstream = open_call(raw, metadata=metadata, timeout=seconds)
        return upstream, _message(await upstream.read())

    async def handle(call: Call, rpc: Rpc) -> None:
        raw = await read_request(rpc, call)
        upstream, first = await forwarding.start(call, start, raw)
        with _Ending(upstream):
            await _pass_initial_metadata(upstream, rpc)
            await _pass_responses(upstream, rpc, call, first)

    return handle


def _stream_unary(forwarding: Forwarding) -> Callable[[Call, Rpc], Awaitable[bytes]]:
    open_call: Any = forwarding.channel.stream_unary(forwarding.method.path)

    async def start(metadata: Metadata, seconds: float | None) -> Upstream:
        return await _admitted(keep_ending(open_call(metadata=metadata, timeout=seconds)))

    async def handle(call: Call, rpc: Rpc) -> bytes:
        upstream = await forwarding.start(call, start)
        with _Ending(upstream):
            await _pass_initial_metadata(upstream, rpc)
            async with _passing_requests(upstream, rpc, call):
                response: bytes = await _answer(upstream, call)
            rpc.set_trailing_metadata(passed_on(await upstream.trailing_metadata()))
        return response

    return handle


def _stream_stream(forwarding: Forwarding) -> Callable[[Call, Rpc], Awaitable[None]]:
    open_call: Any = forwarding.channel.stream_stream(forwarding.method.path)

    async def start(metadata: Metadata, seconds: float | None) -> Upstream:
        return await _admitted(keep_ending(open_call(metadata=metadata, timeout=seconds)))

    async def handle(call: Call, rpc: Rpc) -> None:
        upstream = await forwarding.start(call, start)
        with _Ending(upstream):
            await _pass_initial_metadata(upstream, rpc)
            async with _passing_requests(upstream, rpc, call):
                first = await _next_response(upstream, call)
                await _pass_responses(upstream, rpc, call, first)

    return handle


async def _admitted(upstream: Upstream) -> Upstream:
    """The call, once the service has let it through and before any of the client's messages is read.

    The service says so in its initial metadata. Where it does not, it has refused, and its status says why.
    """
    try:
        metadata = await upstream.initial_metadata()
        if ADMITTED_KEY in metadata:
            return upstream
        if await upstream.code() is not grpc.StatusCode.OK:
            raise grpc.aio.AioRpcError(
                await upstream.code(),
                await upstream.initial_metadata(),
                await upstream.trailing_metadata(),
                await upstream.details(),
            )
    except asyncio.CancelledError:
        upstream.cancel()
        raise
    return upstream


async def _pass_initial_metadata(upstream: Upstream, rpc: Rpc) -> None:
    await rpc.send_initial_metadata(passed_on(await upstream.initial_metadata()))


async def _pass_responses(upstream: Upstream, rpc: Rpc, call: Call, first: bytes | None) -> None:
    """Writes the service's messages to the client as they come, then the service's trailing metadata."""
    message = first
    while message is not None:
        await rpc.write(message)
        message = await _next_response(upstream, call)
    rpc.set_trailing_metadata(passed_on(await upstream.trailing_metadata()))


async def _next_response(upstream: Upstream, call: Call) -> bytes | None:
    try:
        return _message(await upstream.read())
    except grpc.aio.AioRpcError as error:
        raise failure_of(await what_ended(upstream, error), call) from error


async def _answer(upstream: Upstream, call: Call) -> bytes:
    try:
        response: bytes = await upstream
    except grpc.aio.AioRpcError as error:
        raise failure_of(await what_ended(upstream, error), call) from error
    return response


@asynccontextmanager
async def _passing_requests(upstream: Upstream, rpc: Rpc, call: Call) -> AsyncIterator[None]:
    """Within the block, the client's messages go to the service; the block waits for the service's answer.

    The service may answer before the client is done, and the client may send what is not taken; whichever comes
    first ends the other.
    """
    requests = asyncio.create_task(_pass_requests(upstream, rpc, call))
    try:
        yield
    except asyncio.CancelledError:
        ended_from_outside = call.task is not None and call.task.cancelling()
        if not ended_from_outside and requests.done() and not requests.cancelled():
            failure = requests.exception()
            if failure is not None:
                raise failure from None
        raise
    finally:
        requests.cancel()
        requests.add_done_callback(_retrieve)


async def _pass_requests(upstream: Upstream, rpc: Rpc, call: Call) -> None:
    try:
        # A message that is too large is the service's to refuse, and to record.
        while (raw := await read_bytes(rpc, call)) is not None:
            await upstream.write(raw)
        await upstream.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return  # the service has ended the call; whoever waits for its answer sees how
    except Exception:
        upstream.cancel()
        raise


class _Ending:
    """Cancels a call to the service, where it is still under way, when its block ends."""

    __slots__ = ("_upstream",)

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        if not self._upstream.done():
            self._upstream.cancel()


def _message(read: object) -> bytes | None:
    return read if isinstance(read, bytes) else None


def _retrieve(requests: asyncio.Task[None]) -> None:
    """Looks at how the task ended, so that a failure which came second is not reported as overlooked."""
    if not requests.cancelled():
        requests.exception()
