"""Makes gRPC handlers out of a servicer's methods, for all four call shapes.

Messages are parsed here, after the chain has let the call through, so that bytes which are no message are an
INVALID_ARGUMENT like any other and nothing of an unauthenticated caller's is ever parsed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from boundary.catalog import UNKNOWN, Called, Method
from boundary.context import make_current
from boundary.errors import InvalidArgument, unknown_method
from boundary.interceptors.call import Call
from boundary.interceptors.chain import Chain
from boundary.interceptors.serve import (
    Rpc,
    read_message,
    read_request,
    serve,
)
from boundary.metadata import ADMITTED

Handler = Callable[[Any, Call], Any]
AnyHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_GRPC_OWN = "/grpc."
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def handlers_of(methods: Sequence[Method], servicers: Mapping[str, object], chain: Chain) -> ByPath:
    """The gRPC handler of every method.

    Args:
        servicers: by the proto service's full name; each has a method in snake_case for every RPC.

    Raises:
        AttributeError, KeyError: a method has no handler; the server must not start.
    """
    handlers: dict[str, AnyHandler] = {}
    for method in methods:
        servicer = servicers[method.descriptor.containing_service.full_name]
        handler = getattr(servicer, _WORD_START.sub("_", method.descriptor.name).lower())
        handlers[method.path] = _shape(method, handler, chain)
    return ByPath(handlers, chain)


class ByPath(grpc.GenericRpcHandler):
    """All handlers of a server by path, and an answer for every path that has none.

    Attributes:
        handlers: the handlers by path.
    """

    def __init__(self, handlers: Mapping[str, AnyHandler], chain: Chain) -> None:
        """Takes the handlers by path, and the chain that records calls of any other path."""
        self.handlers = handlers
        self._chain = chain

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> AnyHandler | None:
        """The handler of a path; None for gRPC's own services, which the server itself has."""
        path = handler_call_details.method
        handler = self.handlers.get(path)
        if handler is not None:
            return handler
        return None if path.startswith(_GRPC_OWN) else _refusing(path, self._chain)


def _refusing(path: str, chain: Chain) -> AnyHandler:
    """Refuses calls of a path that no method has, whatever their shape, and records them."""

    async def handle(call: Call, _: Rpc) -> None:
        call.resource = path
        raise unknown_method()

    return handler_for(chain, UNKNOWN, handle, server_streaming=True)


def handler_for(
    chain: Chain,
    method: Called,
    handle: Callable[[Call, Rpc], Awaitable[bytes | None]],
    *,
    server_streaming: bool,
) -> AnyHandler:
    """The gRPC handler of a method, whether its client sends one message or a stream.

    To gRPC every client sends a stream: then messages are received when they are read, and nothing that a caller
    sends is received before the call has passed the chain. It also lets a call be answered whose one message never
    comes.

    Args:
        handle: serves a call that passed the chain. It reads what the client sends from the call, and writes there
            what the server streams; where the server does not, it returns the answer.
    """
    serving = _Serving(serve, chain, method, handle)
    if server_streaming:
        return grpc.stream_stream_rpc_method_handler(serving)
    return grpc.stream_unary_rpc_method_handler(serving)


class _Serving(partial):  # type: ignore[type-arg]
    """Serves a call when gRPC has it.

    gRPC asks of every call's handler whether it is awaitable or else a coroutine function; the first question is
    answered at once, the second takes half a dozen calls.
    """

    __slots__ = ()

    def __await__(self) -> Generator[None, None, NoReturn]:
        raise TypeError("gRPC calls the handler; it does not await it")


def _shape(method: Method, handler: Handler, chain: Chain) -> AnyHandler:
    shapes: dict[tuple[bool, bool], Callable[[Method, Handler, Chain], Any]] = {
        (False, False): _unary_unary,
        (False, True): _unary_stream,
        (True, False): _stream_unary,
        (True, True): _stream_stream,
    }
    handle = shapes[method.client_streaming, method.server_streaming](method, handler, chain)
    return handler_for(chain, method, handle, server_streaming=method.server_streaming)


def _unary_unary(
    method: Method, handler: Handler, _: Chain
) -> Callable[[Call, Rpc], Awaitable[bytes]]:
    async def handle(call: Call, rpc: Rpc) -> bytes:
        request = _parse(method, await read_request(rpc, call), call)
        make_current(call.context)
        response: Message = await handler(request, call)
        return response.SerializeToString()

    return handle


def _unary_stream(
    method: Method, handler: Handler, chain: Chain
) -> Callable[[Call, Rpc], Awaitable[None]]:
    async def handle(call: Call, rpc: Rpc) -> None:
        request = _parse(method, await read_request(rpc, call), call)
        make_current(call.context)
        await chain.begin(call)
        await _write_all(handler(request, call), rpc)

    return handle


def _stream_unary(
    method: Method, handler: Handler, chain: Chain
) -> Callable[[Call, Rpc], Awaitable[bytes]]:
    async def handle(call: Call, rpc: Rpc) -> bytes:
        await rpc.send_initial_metadata(ADMITTED)
        make_current(call.context)
        response: Message = await handler(_requests(method, rpc, call, chain), call)
        return response.SerializeToString()

    return handle


def _stream_stream(
    method: Method, handler: Handler, chain: Chain
) -> Callable[[Call, Rpc], Awaitable[None]]:
    async def handle(call: Call, rpc: Rpc) -> None:
        await rpc.send_initial_metadata(ADMITTED)
        make_current(call.context)
        await _write_all(_after_beginning(handler, method, rpc, call, chain), rpc)

    return handle


async def _write_all(responses: AsyncIterator[Message | bytes], rpc: Rpc) -> None:
    """Writes messages as they come; bytes are one that the servicer has serialised itself."""
    try:
        async for response in responses:
            raw = response if isinstance(response, bytes) else response.SerializeToString()
            await rpc.write(raw)
    finally:
        close = getattr(responses, "aclose", None)
        if close is not None:
            await close()


async def _after_beginning(
    handler: Handler, method: Method, rpc: Rpc, call: Call, chain: Chain
) -> AsyncIterator[Message]:
    """The handler's responses; none goes out before the beginning is recorded, whichever side speaks first."""
    responses = handler(_requests(method, rpc, call, chain), call)
    try:
        async for response in responses:
            await chain.begin(call)
            yield response
    finally:
        close = getattr(responses, "aclose", None)
        if close is not None:
            await close()


async def _requests(method: Method, rpc: Rpc, call: Call, chain: Chain) -> AsyncIterator[Message]:
    """The client's messages as they come; the resource is that of the first, with which the stream begins."""
    first = True
    while (raw := await read_message(rpc, call)) is not None:
        message = _parse(method, raw, call if first else None)
        if first:
            await chain.begin(call)
            first = False
        yield message


def _parse(method: Method, raw: bytes, call: Call | None) -> Message:
    """The message in raw; where a call is given, its resource is taken from it.

    Raises:
        InvalidArgument: the bytes are not a message of the method.
    """
    try:
        request = method.request_type.FromString(raw)
    except DecodeError as error:
        raise InvalidArgument(
            "message", f"is not a {method.descriptor.input_type.name}", reason="MALFORMED_MESSAGE"
        ) from error
    if call is not None:
        call.resource = method.resource_of(request)
    return request
