"""The server that accepts each method's calls by itself: what it relies on in grpcio, and what it must keep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from boundary.accepting import accepting_server


async def _reverse(raw: bytes, _: Any) -> bytes:
    return raw[::-1]


async def _each(raw: bytes, rpc: Any) -> None:
    for number in raw:
        await rpc.write(bytes([number]))


async def _join(_: object, rpc: Any) -> bytes:
    joined = b""
    while isinstance(raw := await rpc.read(), bytes):
        joined += raw
    return joined


async def _echo(_: object, rpc: Any) -> None:
    while isinstance(raw := await rpc.read(), bytes):
        await rpc.write(raw)


SHAPES: Mapping[str, Any] = {
    "/t.S/UnaryUnary": grpc.unary_unary_rpc_method_handler(_reverse),
    "/t.S/UnaryStream": grpc.unary_stream_rpc_method_handler(_each),  # type: ignore[arg-type]
    "/t.S/StreamUnary": grpc.stream_unary_rpc_method_handler(_join),  # type: ignore[arg-type]
    "/t.S/StreamStream": grpc.stream_stream_rpc_method_handler(_echo),  # type: ignore[arg-type]
}


class _Others(grpc.GenericRpcHandler):
    """What the server asks for calls of methods that were not known to it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        self.asked.append(details.method)
        return grpc.unary_unary_rpc_method_handler(_reverse)


@asynccontextmanager
async def served(handlers: Mapping[str, Any]) -> AsyncIterator[tuple[Any, Any, _Others]]:
    others = _Others()
    server = accepting_server(handlers, options=())
    server.add_generic_rpc_handlers((others,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield server, channel, others
    await server.stop(0)


async def _sending(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_known_methods_of_every_shape_are_served_without_asking_for_a_handler() -> None:
    async with served(SHAPES) as (_, channel, others):
        assert await channel.unary_unary("/t.S/UnaryUnary")(b"abc") == b"cba"
        assert [r async for r in channel.unary_stream("/t.S/UnaryStream")(b"ab")] == [b"a", b"b"]
        assert await channel.stream_unary("/t.S/StreamUnary")(_sending(b"a", b"b")) == b"ab"
        echoed = channel.stream_stream("/t.S/StreamStream")(_sending(b"a", b"b"))
        assert [r async for r in echoed] == [b"a", b"b"]
        assert others.asked == []


async def test_other_methods_are_the_generic_handlers() -> None:
    async with served(SHAPES) as (_, channel, others):
        assert await channel.unary_unary("/t.S/Later")(b"abc") == b"cba"
        assert await channel.unary_unary("/t.S/UnaryUnary")(b"abc") == b"cba"
        assert others.asked == ["/t.S/Later"]


async def test_a_burst_of_one_methods_calls_is_served_side_by_side() -> None:
    arrived, all_here = 0, asyncio.Event()

    async def wait_for_all(raw: bytes, _: Any) -> bytes:
        nonlocal arrived
        arrived += 1
        if arrived == 100:
            all_here.set()
        await all_here.wait()
        return raw

    handlers = {"/t.S/Wait": grpc.unary_unary_rpc_method_handler(wait_for_all)}
    async with served(handlers) as (_, channel, _others):
        call = channel.unary_unary("/t.S/Wait")
        answers = await asyncio.wait_for(
            asyncio.gather(*(call(bytes([n])) for n in range(100))), timeout=20
        )
    assert answers == [bytes([n]) for n in range(100)]


async def test_metadata_deadline_and_failure_are_those_of_the_call() -> None:
    async def tell(_: bytes, rpc: Any) -> bytes:
        metadata = dict(rpc.invocation_metadata())
        remaining = rpc.time_remaining()
        if "fail" in metadata:
            await rpc.abort(grpc.StatusCode.ABORTED, "no", (("why", "asked"),))
        return f"{metadata['key']} {remaining is not None and 0 < remaining < 8}".encode()

    handlers = {"/t.S/Tell": grpc.unary_unary_rpc_method_handler(tell)}
    async with served(handlers) as (_, channel, _others):
        call = channel.unary_unary("/t.S/Tell")
        assert await call(b"", metadata=(("key", "a"),), timeout=7) == b"a True"
        assert await call(b"", metadata=(("key", "b"),)) == b"b False"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", metadata=(("fail", "1"),))
        assert caught.value.code() is grpc.StatusCode.ABORTED
        assert caught.value.trailing_metadata()["why"] == "asked"  # type: ignore[index]


async def test_a_client_that_goes_away_cancels_the_handler() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def hold(_: bytes, __: Any) -> bytes:
        began.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()
        return b""

    handlers = {"/t.S/Hold": grpc.unary_unary_rpc_method_handler(hold)}
    async with served(handlers) as (_, channel, _others):
        call = channel.unary_unary("/t.S/Hold")(b"")
        await asyncio.wait_for(began.wait(), 10)
        call.cancel()
        await asyncio.wait_for(ended.wait(), 10)


async def test_a_server_that_stops_takes_no_call_and_ends_those_under_way() -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def hold(raw: bytes, _: Any) -> bytes:
        began.set()
        await go_on.wait()
        return raw

    handlers = {"/t.S/Hold": grpc.unary_unary_rpc_method_handler(hold), **SHAPES}
    before = asyncio.all_tasks()
    async with served(handlers) as (server, channel, _others):
        call = asyncio.ensure_future(_awaited(channel.unary_unary("/t.S/Hold")(b"x")))
        await asyncio.wait_for(began.wait(), 10)
        stopping = asyncio.create_task(server.stop(10))
        await asyncio.sleep(0.05)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary("/t.S/UnaryUnary")(b"abc", timeout=2)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        go_on.set()
        assert await call == b"x"
        await asyncio.wait_for(stopping, 10)
    assert asyncio.all_tasks() == before


async def _awaited(call: Any) -> bytes:
    answer: bytes = await call
    return answer
