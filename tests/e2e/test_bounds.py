"""What one client of the edge can hold."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

CONCURRENT = 256
WAIT = 0.3
"""Seconds after which a call counts as held back."""


async def test_a_connection_carries_so_many_calls_at_once_and_others_go_on(stack: Any) -> None:
    request = health_pb2.HealthCheckRequest()
    async with grpc.aio.insecure_channel(stack.gateway) as crowded:
        stub = health_pb2_grpc.HealthStub(crowded)
        watching = [stub.Watch(request) for _ in range(CONCURRENT)]
        for call in watching:
            assert (await call.read()).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as held_back:
            await stub.Check(request, timeout=WAIT)
        assert held_back.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(stack.gateway, options=options) as other:
            await health_pb2_grpc.HealthStub(other).Check(request, timeout=5)
        watching[0].cancel()
        await stub.Check(request, timeout=5)
        for call in watching:
            call.cancel()
