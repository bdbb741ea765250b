"""Makes gRPC handlers out of a servicer's methods, for all four call shapes.

Messages are parsed here, after the chain has let the call through, so that bytes which are no message are an
INVALID_ARGUMENT like any other and nothing of an unauthenticated caller's is ever parsed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from boundary.catalog import Method
from boundary.context import serving
from boundary.errors import InvalidArgument
from boundary.interceptors.call import Call
from boundary.interceptors.chain import Chain
from boundary.interceptors.serve import Rpc, read_message, require_message_size, serve
from boundary.metadata import ADMITTED

Handler = Callable[[Any, Call], Any]

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def handlers_of(
    methods: Sequence[Method], servicers: Mapping[str, object], chain: Chain
) -> grpc.GenericRpcHandler:
    """The gRPC handler of every method.

    Args:
        servicers: by the proto service's full name; each has a method in snake_case for every RPC.

    Raises:
        AttributeError, KeyError: a method has no handler; the server must not start.
    """
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    for method in methods:
        servicer = servicers[method.descriptor.containing_service.full_name]
        handler = getattr(servicer, _WORD_START.sub("_", method.descriptor.name).lower())
        handlers[method.path] = _shape(method, handler, chain)
    return ByPath(handlers)


class ByPath(grpc.GenericRpcHandler):
    """All handlers of a server in one look-up; gRPC asks each generic handler in turn, for every call."""

    def __init__(self, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._handlers = handlers

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a path, or None."""
        return self._handlers.get(handler_call_details.method)


def _shape(method: Method, handler: Handler, chain: Chain) -> grpc.RpcMethodHandler[Any, Any]:
    if method.client_streaming and method.server_streaming:
        return grpc.stream_stream_rpc_method_handler(_stream_stream(method, handler, chain))
    if method.client_streaming:
        return grpc.stream_unary_rpc_method_handler(_stream_unary(method, handler, chain))
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(_unary_stream(method, handler, chain))
    return grpc.unary_unary_rpc_method_handler(_unary_unary(method, handler, chain))


def _unary_unary(method: Method, handler: Handler, chain: Chain) -> Any:
    async def behaviour(raw: bytes, rpc: Rpc) -> bytes:
        async def handle(call: Call) -> bytes:
            request = _parse(method, raw, call)
            with _serving(call):
                response: Message = await handler(request, call)
            return response.SerializeToString()

        return await serve(chain, method, rpc, handle)

    return behaviour


def _unary_stream(method: Method, handler: Handler, chain: Chain) -> Any:
    async def behaviour(raw: bytes, rpc: Rpc) -> None:
        async def handle(call: Call) -> None:
            request = _parse(method, raw, call)
            with _serving(call):
                await _write_all(handler(request, call), rpc)

        await serve(chain, method, rpc, handle)

    return behaviour


def _stream_unary(method: Method, handler: Handler, chain: Chain) -> Any:
    async def behaviour(_: object, rpc: Rpc) -> bytes:
        async def handle(call: Call) -> bytes:
            await rpc.send_initial_metadata(ADMITTED)
            with _serving(call):
                response: Message = await handler(_requests(method, rpc, call), call)
            return response.SerializeToString()

        return await serve(chain, method, rpc, handle)

    return behaviour


def _stream_stream(method: Method, handler: Handler, chain: Chain) -> Any:
    async def behaviour(_: object, rpc: Rpc) -> None:
        async def handle(call: Call) -> None:
            await rpc.send_initial_metadata(ADMITTED)
            with _serving(call):
                await _write_all(handler(_requests(method, rpc, call), call), rpc)

        await serve(chain, method, rpc, handle)

    return behaviour


async def _write_all(responses: AsyncIterator[Message], rpc: Rpc) -> None:
    try:
        async for response in responses:
            await rpc.write(response.SerializeToString())
    finally:
        close = getattr(responses, "aclose", None)
        if close is not None:
            await close()


async def _requests(method: Method, rpc: Rpc, call: Call) -> AsyncIterator[Message]:
    """The client's messages as they come; the resource is that of the first."""
    first = True
    while (raw := await read_message(rpc, call)) is not None:
        yield _parse(method, raw, call if first else None)
        first = False


def _parse(method: Method, raw: bytes, call: Call | None) -> Message:
    """The message in raw; where a call is given, its resource is taken from it.

    Raises:
        ResourceExhausted: the message is over the limit.
        InvalidArgument: the bytes are not a message of the method.
    """
    require_message_size(raw)
    try:
        request = method.request_type.FromString(raw)
    except DecodeError as error:
        raise InvalidArgument(
            "message", f"is not a {method.descriptor.input_type.name}", reason="MALFORMED_MESSAGE"
        ) from error
    if call is not None:
        call.resource = method.resource_of(request)
    return request


class _NoContext:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


_NO_CONTEXT = _NoContext()


def _serving(call: Call) -> Any:
    return serving(call.context) if call.context is not None else _NO_CONTEXT
