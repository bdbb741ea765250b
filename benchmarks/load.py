"""Drivers: a fixed number of requests at a fixed concurrency, and how long each one took."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import aiohttp
import grpc
import uvloop

from boundary.channel import OPTIONS

Request = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a driver saw: seconds for all requests, and for each one."""

    requests: int
    seconds: float
    latencies: Sequence[float]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    def percentile(self, percent: int) -> float:
        """A percentile of the latencies, in milliseconds."""
        return statistics.quantiles(self.latencies, n=100)[percent - 1] * 1000


async def _drive(request: Request, *, requests: int, concurrency: int) -> Load:
    latencies: list[float] = []
    numbers = iter(range(requests))

    async def worker() -> None:
        for number in numbers:
            started = time.perf_counter()
            await request(number)
            latencies.append(time.perf_counter() - started)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return Load(requests=requests, seconds=time.perf_counter() - began, latencies=latencies)


def drive_grpc(
    address: str,
    path: str,
    payload: bytes,
    *,
    metadata: Sequence[Sequence[tuple[str, str]]],
    requests: int,
    concurrency: int,
) -> Load:
    """Calls a unary method with the same bytes again and again; the metadata are taken in turn."""

    async def run() -> Load:
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            call = channel.unary_unary(path)

            async def request(number: int) -> None:
                await call(payload, metadata=metadata[number % len(metadata)], timeout=30)

            await request(0)
            return await _drive(request, requests=requests, concurrency=concurrency)

    return uvloop.run(run())


def drive_http(url: str, *, headers: dict[str, str], requests: int, concurrency: int) -> Load:
    """Gets a URL again and again over connections that are kept."""

    async def run() -> Load:
        connector = aiohttp.TCPConnector(limit=concurrency)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

            async def request(_: int) -> None:
                async with session.get(url) as response:
                    await response.read()
                    response.raise_for_status()

            await request(0)
            return await _drive(request, requests=requests, concurrency=concurrency)

    return uvloop.run(run())
