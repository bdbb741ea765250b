"""ItemRetentionService over a real loopback server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.data.retention import ItemRetention
from services.data.retention_servicer import SERVICE, ItemRetentionServicer
from services.table.guard import GuardedTable
from services.table.sqlite import SqliteTable
from silo.data.v1 import item_retention_pb2, item_retention_pb2_grpc
from tests.serving import Serving, reason_of, serving

Retention = item_retention_pb2.ItemRetention


@pytest.fixture
async def server(engine: SqliteTable, tmp_path: Path) -> AsyncIterator[Serving]:
    servicer = ItemRetentionServicer(ItemRetention(table=GuardedTable(engine)))
    async with serving("data", {SERVICE: servicer}, tmp_path / "audit") as running:
        yield running


class Client:
    """A tenant's caller."""

    def __init__(self, server: Serving, tenant_id: str, **claims: Any) -> None:
        self.stub: item_retention_pb2_grpc.ItemRetentionServiceAsyncStub = (
            item_retention_pb2_grpc.ItemRetentionServiceStub(server.channel)
        )
        self.metadata = server.metadata(tenant_id, **claims)

    async def get(self) -> Retention:
        request = item_retention_pb2.GetItemRetentionRequest()
        answer = await self.stub.GetItemRetention(request, metadata=self.metadata)
        return answer.item_retention

    async def update(self, *, mask: str = "", **fields: Any) -> Retention:
        request = item_retention_pb2.UpdateItemRetentionRequest(item_retention=Retention(**fields))
        if mask:
            request.update_mask.paths.append(mask)
        answer = await self.stub.UpdateItemRetention(request, metadata=self.metadata)
        return answer.item_retention


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code(), reason_of(refused.value)


async def test_days_are_set_read_and_taken_away(server: Serving) -> None:
    client = Client(server, "A")
    unset = await client.get()
    assert (unset.name, unset.counter_days) == ("itemRetention", 0)
    changed = await client.update(counter_days=90)
    assert changed.counter_days == 90
    assert await client.get() == changed
    assert await Client(server, "AB").get() == unset
    assert await client.update() == changed  # no field is populated
    taken_away = await client.update(mask="counter_days")
    assert (taken_away.counter_days, await client.get()) == (0, taken_away)


async def test_an_etag_that_is_stale_is_refused(server: Serving) -> None:
    client = Client(server, "A")
    first = await client.get()
    second = await client.update(counter_days=90, etag=first.etag)
    assert second.etag != first.etag
    stale = (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert await refusal(client.update(counter_days=9, etag=first.etag)) == stale
    assert await client.get() == second


@pytest.mark.parametrize("days", [-1, 3_651])
async def test_days_out_of_range_are_refused(server: Serving, days: int) -> None:
    client = Client(server, "A")
    refused = await refusal(client.update(counter_days=days, mask="counter_days"))
    assert refused[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert (await client.update(counter_days=3_650)).counter_days == 3_650


async def test_names_and_masks_out_of_order_are_refused(server: Serving) -> None:
    client = Client(server, "A")
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert await refusal(client.update(counter_days=1, name="config")) == (invalid, "INVALID_NAME")
    assert await refusal(client.update(mask="etag")) == (invalid, "FIELD_NOT_SETTABLE")
    assert await refusal(client.update(mask="weeks")) == (invalid, "INVALID_MASK")
    assert (await client.update(counter_days=1, name="itemRetention")).counter_days == 1


async def test_each_way_needs_its_permission(server: Serving) -> None:
    client = Client(server, "A", permissions=("analytics.write", "policies.read"))
    assert (await client.get()).counter_days == 0
    assert (await refusal(client.update(counter_days=1)))[0] is grpc.StatusCode.PERMISSION_DENIED
    client = Client(server, "A", permissions=("analytics.*",))
    assert (await refusal(client.get()))[0] is grpc.StatusCode.PERMISSION_DENIED
