"""Builds and runs a gRPC server of the suite."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
from collections.abc import Awaitable, Callable, Sequence

import grpc
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from boundary.accepting import accepting_server
from boundary.channel import FLOW_CONTROL
from boundary.http import HttpServer
from boundary.interceptors.serve import HARD_MAX_MESSAGE_BYTES, METADATA_BYTES
from boundary.interceptors.shapes import ByPath
from boundary.memory import keep_freed_memory
from boundary.tls import Tls

_log = logging.getLogger(__name__)

_OPTIONS = (
    *FLOW_CONTROL,
    ("grpc.max_receive_message_length", HARD_MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", HARD_MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", 2 * METADATA_BYTES),
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_ping_strikes", 0),
)

_LOOPBACK = ("127.", "localhost:", "[::1]:", "unix:")

EDGE_OPTIONS = (
    ("grpc.max_concurrent_streams", 256),
    ("grpc.max_connection_idle_ms", 600_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
)
"""What one client of the edge can hold: calls at once on a connection, a connection on which nothing happens, one
whose other end is gone, and one that never becomes HTTP/2."""


class Server:
    """A process's gRPC and HTTP servers and its background work, started and ended together."""

    def __init__(
        self,
        *,
        name: str,
        listen: str,
        handler: ByPath,
        services: Sequence[str],
        http: HttpServer,
        tls: Tls | None,
        drain_seconds: float,
        background: Sequence[Callable[[], Awaitable[None]]] = (),
        drain: Sequence[Callable[[], object]] = (),
        close: Sequence[Callable[[], object]] = (),
        options: Sequence[tuple[str, int]] = (),
    ) -> None:
        """Takes the parts.

        Args:
            services: the full names of the proto services, for health and reflection.
            tls: what gRPC is served with; in the clear where None.
            background: what runs beside the servers until they end.
            drain: what is called first when the process stops, to end streams that have no end of their own.
            close: what is called when all else has ended; may block.
            options: gRPC's own, beside those that every server of the suite has.
        """
        self.name = name
        self._listen = listen
        self._handler = handler
        self._services = services
        self._http = http
        self._tls = tls
        self._drain_seconds = drain_seconds
        self._background = background
        self._drain = drain
        self._close = close
        self._options = (*_OPTIONS, *options)
        self._tasks: list[asyncio.Task[None]] = []
        self._grpc: grpc.aio.Server | None = None
        self._health = health.aio.HealthServicer()
        self.port = 0

    async def start(self) -> None:
        """Starts background work, HTTP and gRPC, in this order.

        Raises:
            OSError, RuntimeError: an address is taken.
        """
        self._tasks = [asyncio.create_task(_forever(work)) for work in self._background]
        await self._http.start()
        server = accepting_server(self._handler.handlers, options=self._options)
        server.add_generic_rpc_handlers((self._handler,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, _Unregistered(server))
        names = (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            reflection.aio.ReflectionServicer(names), _Unregistered(server)
        )
        self.port = (
            server.add_insecure_port(self._listen)
            if self._tls is None
            else server.add_secure_port(self._listen, self._tls.server_credentials())
        )
        await server.start()
        self._grpc = server
        for service in ("", *self._services):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        if self._tls is None and not self._listen.startswith(_LOOPBACK):
            _log.warning(
                "%s listens on %s in the clear, beyond this machine", self.name, self._listen
            )
        _log.info("%s listens on %s", self.name, self._listen)

    async def stop(self) -> None:
        """Takes no new calls, lets those under way end within the drain time, then closes everything."""
        await self._health.enter_graceful_shutdown()
        for drain in self._drain:
            drain()
        if self._grpc is not None:
            await self._grpc.stop(self._drain_seconds)
        await self._http.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for close in self._close:
            await asyncio.to_thread(close)
        _log.info("%s has stopped", self.name)

    async def run(self) -> None:
        """Serves until the process is told to stop by SIGTERM or SIGINT."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await self.start()
        gc.collect()
        gc.freeze()  # what start-up made lives as long as the process; collections need not visit it
        await stop.wait()
        await self.stop()


class _Unregistered:
    """A server that takes handlers and no registrations.

    Registered are the methods that the server was made with (boundary/accepting.py). Generic handlers serve health
    and reflection the same.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Adds the handlers."""
        self._server.add_generic_rpc_handlers(tuple(handlers))

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """Leaves the registration out."""


def closing(close: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    """Background work that closes something when the server has stopped, and does nothing until then."""

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await close()

    return wait


async def _forever(work: Callable[[], Awaitable[None]]) -> None:
    """Background work that fails is logged and begun again; it must not end unnoticed."""
    while True:
        try:
            await work()
            return
        except Exception:  # noqa: BLE001 - whatever it was, it is logged and begun again
            _log.exception("background work failed; it begins again")
            await asyncio.sleep(1.0)


def _raise_file_limit() -> None:
    """Lets the process have as many connections and files open as the system allows it at all."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(build: Callable[[], Awaitable[Server]], *, log_level: str) -> None:
    """Builds a server and serves until the process is told to stop. The entry of every process."""
    _raise_file_limit()
    keep_freed_memory()
    logging.basicConfig(level=log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    async def serve() -> None:
        await (await build()).run()

    uvloop.run(serve())
