"""What an operation sends to a service, where it is the source that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from boundary.channel import open_channel
from boundary.errors import FailedPrecondition, Unavailable
from devstack.addresses import Addresses
from services.resolver.lifecycle.services import Access

PATH = "/tests.Sink/Take"


class Sink:
    """A server that takes messages until their end."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.begun = asyncio.Event()

    async def take(self, requests: AsyncIterator[bytes], _: Any) -> bytes:
        async for request in requests:
            self.taken.append(request)
            self.begun.set()
        return b"%d" % len(self.taken)


@pytest.fixture
async def sink() -> AsyncIterator[tuple[Sink, Access, Any]]:
    sink, address = Sink(), Addresses.free().grpc["storage"]
    server = grpc.aio.server()
    handlers = {"Take": grpc.stream_unary_rpc_method_handler(sink.take)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tests.Sink", handlers),))
    server.add_insecure_port(address)
    await server.start()
    async with open_channel(address) as channel:
        yield sink, Access("storage", channel, lambda: ()), channel.stream_unary(PATH)
    await server.stop(None)


async def test_everything_is_sent(sink: tuple[Sink, Access, Any]) -> None:
    server, access, method = sink

    async def two() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    assert await access.send(method, two(), seconds=10) == b"2"
    assert server.taken == [b"one", b"two"]


@pytest.mark.parametrize(
    "error", [FailedPrecondition("KEY_DESTROYED", "gone"), Unavailable("X", "x")]
)
async def test_a_source_that_fails_ends_the_call_with_its_own_error(
    sink: tuple[Sink, Access, Any], error: Exception
) -> None:
    server, access, method = sink

    async def failing() -> AsyncIterator[bytes]:
        yield b"one"
        await server.begun.wait()
        raise error

    async with asyncio.timeout(5):
        with pytest.raises(type(error)) as caught:
            await access.send(method, failing(), seconds=10)
        assert caught.value is error
