"""A grpc.aio server that accepts the calls of each method by itself.

grpc.aio waits for the next call of any method with one `asyncio.wait`, which it builds up and takes down for
every call, asks for the handler through two coroutines, and reads the caller's metadata to do so: a tenth of all
work where calls are small. Here each method has a loop that waits for its own next call, and its handler is known
before the call comes. What grpc.aio does for a call once it is accepted stays grpc.aio's.

This stands on names that are private to grpcio, whose version the lock file pins. `tests/unit/boundary/` holds
what is relied on, so that an upgrade which changes it is noticed before it is taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeAlias, cast

import grpc
from grpc._cython import cygrpc
from grpc.aio import _server

AnyHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Serve = Callable[[AnyHandler, Any, asyncio.AbstractEventLoop], Coroutine[Any, Any, None]]


def accepting_server(
    handlers: Mapping[str, AnyHandler], *, options: Sequence[tuple[str, int]]
) -> grpc.aio.Server:
    """A server for methods that are all known when it is made, by path.

    Calls of other methods go to the generic handlers that are added to it, as they do in grpc.aio.
    """
    return cast("grpc.aio.Server", _Server(handlers, options))


class _Server(_server.Server):
    def __init__(
        self, handlers: Mapping[str, AnyHandler], options: Sequence[tuple[str, int]]
    ) -> None:
        self._loop = cygrpc.get_working_loop()
        self._server = _Accepting(self._loop, None, (), (), tuple(options), None)
        self._server.handlers, self._server.under_way = handlers, set()
        self._server.add_registered_method_handlers(dict(handlers))


class _Accepting(cygrpc.AioServer):  # type: ignore[misc]  # it has no stubs
    handlers: Mapping[str, AnyHandler]
    under_way: set[asyncio.Task[None]]
    """The event loop holds tasks weakly, and calls outlive their acceptance when the server drains."""

    def _make_request_call_future(self, method: bytes | None) -> asyncio.Future[Any]:
        """What grpc.aio's own loop waits for: here the next call of no method that is known, and the server's end.

        For each method that is known it is asked once, when the server has started.
        """
        if method is None:
            future: asyncio.Future[Any] = super()._make_request_call_future(None)
            return future
        return asyncio.ensure_future(self._accept(method))

    async def _accept(self, method: bytes) -> None:
        """Serves the calls of a method until the server stops; then asking for the next one fails."""
        path = method.decode()
        handler = self.handlers[path]
        serve = _serve_of(handler)
        loop = asyncio.get_running_loop()
        while True:
            state = await self._request_registered_call(method)
            task = loop.create_task(
                cygrpc._schedule_rpc_coro(serve(handler, state, loop), state, loop, path)  # noqa: SLF001
            )
            self.under_way.add(task)
            task.add_done_callback(self.under_way.discard)


def _serve_of(handler: AnyHandler) -> Serve:
    """What grpc.aio serves a call of the handler's shape with."""
    shapes: dict[tuple[bool, bool], Serve] = {
        (False, False): cygrpc._handle_unary_unary_rpc,  # noqa: SLF001
        (False, True): cygrpc._handle_unary_stream_rpc,  # noqa: SLF001
        (True, False): cygrpc._handle_stream_unary_rpc,  # noqa: SLF001
        (True, True): cygrpc._handle_stream_stream_rpc,  # noqa: SLF001
    }
    return shapes[handler.request_streaming, handler.response_streaming]
