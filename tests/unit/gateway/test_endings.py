"""Calls that are ended: by the caller, by a change of the tenant, by a context that is no longer the newest."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import grpc
import pytest

from boundary.ids import TenantId
from boundary.tenants import TenantState
from silo.storage.v1 import object_pb2
from tests.serving import reason_of
from tests.unit.gateway.edge import bearer
from tests.unit.gateway.stand_ins import chunks, drained, get, until


async def test_a_cancelled_call_ends_at_the_service(objects: Any) -> None:
    _, stub, servicer = objects
    call = stub.GetObject(get("slow"), metadata=bearer())
    await until(lambda: servicer.seen)
    call.cancel()
    await until(lambda: servicer.ended == ["slow"])


async def test_a_cancelled_download_ends_at_the_service(objects: Any) -> None:
    _, stub, servicer = objects
    call = stub.DownloadObject(
        object_pb2.DownloadObjectRequest(path="a", length=10_000), metadata=bearer()
    )
    await call.read()
    call.cancel()
    await until(lambda: servicer.ended == ["download"])
    assert servicer.sent < 100, "nothing runs ahead of the reader without bound"


async def test_an_upload_that_is_cut_off_never_passes_for_complete(objects: Any) -> None:
    running, stub, servicer = objects
    metadata = bearer()
    for number in range(60):
        call = stub.UploadObject(metadata=metadata)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            await call.write(object_pb2.UploadObjectRequest(chunk=b"x" * (number * 5000 + 1)))
            call.cancel()
            await call
    await until(lambda: len(running.service.records()) + len(running.records()) >= 60)
    assert servicer.uploaded == []
    statuses = {record["status"] for record in running.service.records() + running.records()}
    assert statuses <= {"CANCELLED"}


async def test_a_stale_context_is_replaced_once_in_every_shape(objects: Any) -> None:
    running, stub, servicer = objects
    metadata = bearer()
    generation = 1

    def changes_unseen_by_the_gateway() -> None:
        nonlocal generation
        generation += 1
        running.resolver.generations["A"] = generation
        running.service.states.observe(
            TenantState(tenant_id=TenantId("A"), generation=generation, active=True)
        )

    await stub.GetObject(get(), metadata=metadata)
    changes_unseen_by_the_gateway()
    await stub.GetObject(get(), metadata=metadata)
    changes_unseen_by_the_gateway()
    assert (await stub.UploadObject(chunks(3), metadata=metadata)).object.size == 3000
    changes_unseen_by_the_gateway()
    download = stub.DownloadObject(object_pb2.DownloadObjectRequest(path="a"), metadata=metadata)
    assert len([message async for message in download]) == 3
    assert len(running.resolver.resolved) == 4
    running.resolver.resolved.clear()
    generation += 10
    running.service.states.observe(
        TenantState(tenant_id=TenantId("A"), generation=generation, active=True)
    )
    for call in (
        stub.GetObject(get(), metadata=metadata),
        stub.UploadObject(chunks(3), metadata=metadata),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        assert reason_of(raised.value) == "CONTEXT_STALE"
    assert servicer.uploaded == [3000]


async def test_a_suspension_ends_calls_under_way(objects: Any) -> None:
    running, stub, _ = objects
    metadata = bearer("A")
    upload = stub.UploadObject(metadata=metadata)
    await upload.write(object_pb2.UploadObjectRequest(chunk=b"x"))
    download = stub.DownloadObject(
        object_pb2.DownloadObjectRequest(path="a", length=10_000), metadata=metadata
    )
    await download.read()
    others = stub.UploadObject(metadata=bearer("B"))
    await others.write(object_pb2.UploadObjectRequest(chunk=b"x"))
    running.resolver.tell("A", 2, active=False)
    begun = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await upload
    assert time.monotonic() - begun < 0.1
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert reason_of(raised.value) == "TENANT_UNAVAILABLE"
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await drained(download)
    assert reason_of(raised.value) == "TENANT_UNAVAILABLE"
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.GetObject(get(), metadata=metadata)
    assert reason_of(raised.value) == "TENANT_UNAVAILABLE"
    assert {record["reason"] for record in running.records()} == {"TENANT_UNAVAILABLE"}
    assert {record["decision"] for record in running.records()} == {"REFUSED"}
    await others.done_writing()
    assert (await others).object.size == 1
