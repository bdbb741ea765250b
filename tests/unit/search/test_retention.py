"""EventRetentionService over a real loopback server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.search.retention import EventRetention
from services.search.retention_servicer import SERVICE, EventRetentionServicer
from services.search.sqlite import SqliteIndexes
from silo.search.v1 import event_retention_pb2, event_retention_pb2_grpc
from tests.serving import Serving, reason_of, serving

Retention = event_retention_pb2.EventRetention


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Serving]:
    indexes = SqliteIndexes(tmp_path / "search")
    servicer = EventRetentionServicer(EventRetention(indexes))
    async with serving("search", {SERVICE: servicer}, tmp_path / "audit") as running:
        yield running
    await asyncio.to_thread(indexes.close)


class Client:
    """A tenant's caller."""

    def __init__(self, server: Serving, tenant_id: str, **claims: Any) -> None:
        self.stub: event_retention_pb2_grpc.EventRetentionServiceAsyncStub = (
            event_retention_pb2_grpc.EventRetentionServiceStub(server.channel)
        )
        self.metadata = server.metadata(tenant_id, **claims)

    async def get(self) -> Retention:
        request = event_retention_pb2.GetEventRetentionRequest()
        answer = await self.stub.GetEventRetention(request, metadata=self.metadata)
        return answer.event_retention

    async def update(self, *, mask: str = "", **fields: Any) -> Retention:
        request = event_retention_pb2.UpdateEventRetentionRequest(
            event_retention=Retention(**fields)
        )
        if mask:
            request.update_mask.paths.append(mask)
        answer = await self.stub.UpdateEventRetention(request, metadata=self.metadata)
        return answer.event_retention


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code(), reason_of(refused.value)


async def test_days_are_set_read_and_taken_away(server: Serving) -> None:
    client = Client(server, "A")
    unset = await client.get()
    assert (unset.name, unset.days) == ("eventRetention", 0)
    changed = await client.update(days=90)
    assert changed.days == 90
    assert await client.get() == changed
    assert await Client(server, "AB").get() == unset
    assert await client.update() == changed  # no field is populated
    assert await client.update(mask="days") == unset


async def test_an_etag_that_is_stale_is_refused(server: Serving) -> None:
    client = Client(server, "A")
    first = await client.get()
    second = await client.update(days=90, etag=first.etag)
    assert second.etag != first.etag
    stale = (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert await refusal(client.update(days=9, etag=first.etag)) == stale
    assert await client.get() == second


@pytest.mark.parametrize("days", [-1, 3_651])
async def test_days_out_of_range_are_refused(server: Serving, days: int) -> None:
    client = Client(server, "A")
    refused = await refusal(client.update(days=days, mask="days"))
    assert refused[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert (await client.update(days=3_650)).days == 3_650


async def test_names_and_masks_out_of_order_are_refused(server: Serving) -> None:
    client = Client(server, "A")
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert await refusal(client.update(days=1, name="config")) == (invalid, "INVALID_NAME")
    assert await refusal(client.update(mask="etag")) == (invalid, "FIELD_NOT_SETTABLE")
    assert await refusal(client.update(mask="weeks")) == (invalid, "INVALID_MASK")
    assert (await client.update(days=1, name="eventRetention")).days == 1


async def test_each_way_needs_its_permission(server: Serving) -> None:
    client = Client(server, "A", permissions=("events.write", "policies.read"))
    assert (await client.get()).days == 0
    assert (await refusal(client.update(days=1)))[0] is grpc.StatusCode.PERMISSION_DENIED
    client = Client(server, "A", permissions=("events.*",))
    assert (await refusal(client.get()))[0] is grpc.StatusCode.PERMISSION_DENIED
