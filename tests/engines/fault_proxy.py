"""A TCP proxy in front of an engine that fails as networks and engines do, as told.

    async with FaultProxy(port) as proxy:
        await proxy.set_mode(Mode.CUT)

A change of mode ends no connection by itself, but for REFUSE; each mode rules over what comes after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from types import TracebackType
from typing import Self


class Mode(enum.Enum):
    """What becomes of traffic."""

    PASS = "pass"
    """It passes."""
    SLOW = "slow"
    """Each answer's piece waits `delay` seconds."""
    REFUSE = "refuse"
    """Nobody listens, and every connection is reset."""
    CUT = "cut"
    """The request is delivered; its answer is reset after its first `cut_after` bytes."""
    HOLE = "hole"
    """Connections open, nothing passes and nothing ends."""


class FaultProxy:
    """The proxy, on a port of its own of the loopback. `port` is what clients connect to."""

    def __init__(self, target: int, *, delay: float = 0.2, cut_after: int = 20) -> None:
        """Takes the engine's port on the loopback."""
        self.target = target
        self.delay = delay
        self.cut_after = cut_after
        self.port = 0
        self._mode = Mode.PASS
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def mode(self) -> Mode:
        """What becomes of traffic at present; `set_mode` changes it."""
        return self._mode

    async def set_mode(self, mode: Mode) -> None:
        """From now on traffic fares so."""
        self._mode = mode
        if mode is Mode.HOLE:
            self._flows.clear()
        else:
            self._flows.set()
        if mode is Mode.REFUSE:
            await self._stop()
        elif self._server is None:
            await self._listen()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for link in tuple(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.create_task(self._link(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _link(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        to_engine = None
        try:
            engine, to_engine = await asyncio.open_connection("127.0.0.1", self.target)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pump(client, to_engine, answers=False))
                ways.create_task(self._pump(engine, to_client, answers=True))
        except (OSError, ExceptionGroup):
            pass  # an end hung up, or is to think so
        finally:
            for writer in (to_client, to_engine):
                if writer is not None:
                    writer.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        while piece := await source.read(65536):
            await self._flows.wait()
            if answers and self._mode is Mode.SLOW:
                await asyncio.sleep(self.delay)
            if answers and self._mode is Mode.CUT:
                sink.write(piece[: self.cut_after])
                with contextlib.suppress(OSError):
                    await asyncio.wait_for(sink.drain(), 1)
                await asyncio.sleep(0.005)  # so that the piece is read before the reset
                raise ConnectionResetError
            sink.write(piece)
            await sink.drain()
        raise ConnectionResetError  # one end hung up: so does the other
