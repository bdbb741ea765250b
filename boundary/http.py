"""The HTTP side of a process: health, readiness and metrics, and what a service adds of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from aiohttp import web

from boundary.metrics import CallMetrics

_UNSAID = logging.getLogger("boundary.http.unsaid")
"""Where aiohttp says what a client sent that is no HTTP: with the request line, which may be a signed URL."""
_UNSAID.addHandler(logging.NullHandler())
_UNSAID.propagate = False


class HttpServer:
    """Serves `/healthz`, `/readyz`, `/metrics` and further routes."""

    def __init__(
        self,
        listen: str,
        *,
        metrics: CallMetrics,
        ready: Callable[[], bool],
        routes: Sequence[web.RouteDef] = (),
    ) -> None:
        self._host, _, port = listen.rpartition(":")
        self._port = int(port)
        self._metrics = metrics
        self._ready = ready
        self._routes = routes
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Starts to listen.

        Raises:
            OSError: the address is taken.
        """
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._exposition)
        app.router.add_routes(self._routes)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=2.0, logger=_UNSAID, keepalive_timeout=30.0
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        """Stops listening, after the requests that are under way."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._ready():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="not ready\n")

    async def _exposition(self, _: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.exposition(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )
