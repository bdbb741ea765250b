"""Calls through the gateway, in all four shapes, as a caller sees them."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from silo.search.v1 import event_pb2
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.contexts import mint_token
from tests.serving import reason_of
from tests.unit.gateway.edge import bearer, edge
from tests.unit.gateway.stand_ins import CHUNK, chunks, get


async def test_unary(objects: Any) -> None:
    running, stub, _ = objects
    assert (await stub.GetObject(get(), metadata=bearer("A"))).object.path == "A/a"
    assert (await stub.GetObject(get(), metadata=bearer("B"))).object.path == "B/a"
    assert running.resolver.resolved == [("A", "storage"), ("B", "storage")]
    assert [record["tenant"] for record in running.service.records()] == ["A", "B"]
    assert running.records() == [], "the service has recorded them"


async def test_server_stream(objects: Any) -> None:
    _, stub, _ = objects
    received = [
        len(message.chunk)
        async for message in stub.DownloadObject(
            object_pb2.DownloadObjectRequest(path="a", length=7), metadata=bearer()
        )
    ]
    assert received == [len(CHUNK)] * 7


async def test_client_stream(objects: Any) -> None:
    running, stub, servicer = objects
    response = await stub.UploadObject(chunks(50), metadata=bearer())
    assert response.object.size == 50_000
    assert servicer.uploaded == [50_000]
    assert running.records() == []
    assert len(running.service.records()) == 1


async def test_both_streams_interleave(events: Any) -> None:
    _, stub = events
    call = stub.IngestEvents(metadata=bearer())
    for count in (1, 3, 2):
        await call.write(
            event_pb2.IngestEventsRequest(events=[event_pb2.Event(event_id="e")] * count)
        )
        assert (await call.read()).accepted_count == count
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_what_a_client_puts_in_metadata_never_reaches_a_service(objects: Any) -> None:
    _, stub, servicer = objects
    forged = mint_token("B", audience="storage")
    await stub.GetObject(
        get(),
        metadata=(
            *bearer("A"),
            ("x-silo-context", forged),
            ("x-silo-context", forged),
            ("x-silo-peer", "data.secret"),
            ("x-silo-future-bin", b"1"),
            ("cookie", "a=b"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("x-request-id", "mine-2"),
        ),
    )
    (metadata,) = servicer.seen
    keys = sorted(key for key, _ in metadata)
    assert keys == ["traceparent", "user-agent", "x-request-id", "x-silo-context"]
    assert dict(metadata)["x-silo-context"] != forged
    assert dict(metadata)["x-request-id"] == "mine-2"


async def test_two_tokens_are_one_too_many(objects: Any) -> None:
    running, stub, servicer = objects
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.GetObject(get(), metadata=(*bearer("A"), *bearer("B")))
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert reason_of(raised.value) == "CREDENTIAL_DOUBLED"
    assert servicer.seen == []
    assert running.records()[-1]["decision"] == "REFUSED"


async def test_the_operators_calls_go_with_the_token_and_without_a_context(objects: Any) -> None:
    running, _, _ = objects
    from silo.resolver.v1 import tenant_pb2, tenant_pb2_grpc

    stub = tenant_pb2_grpc.TenantServiceStub(running.channel)
    sent = bearer("", permissions=["platform.*"])
    response = await stub.GetTenant(
        tenant_pb2.GetTenantRequest(name="tenants/A"),
        metadata=(*sent, ("x-silo-context", mint_token("B"))),
    )
    assert response.tenant.display_name == "Seen"
    (seen,) = running.resolver.operator_calls
    assert seen["authorization"] == [sent[0][1]]
    assert "x-silo-context" not in seen
    assert running.resolver.resolved == []


async def test_a_token_without_a_tenant_reaches_no_tenants_method(objects: Any) -> None:
    running, stub, servicer = objects
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.GetObject(get(), metadata=bearer("", permissions=["platform.*"]))
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert reason_of(raised.value) == "TENANT_UNAVAILABLE"
    assert servicer.seen == []
    assert running.resolver.resolved == []


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer not-a-token"),)])
async def test_no_valid_token_no_call(objects: Any, metadata: Any) -> None:
    running, stub, servicer = objects
    for call in (
        stub.GetObject(get(), metadata=metadata),
        stub.UploadObject(chunks(1), metadata=metadata),
        stub.DownloadObject(object_pb2.DownloadObjectRequest(), metadata=metadata),
    ):
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
    assert servicer.seen == []
    assert len(running.records()) == 3


async def test_metadata_of_a_services_stream_reaches_the_client(tmp_path: Path) -> None:
    async def streams(_: Any, rpc: Any) -> None:
        await rpc.send_initial_metadata((("x-initial", "1"), ("x-silo-inner", "2")))
        await rpc.write(b"")
        rpc.set_trailing_metadata((("x-trailing-bin", b"\x00\xff"), ("x-silo-inner", "2")))

    handlers = grpc.method_handlers_generic_handler(
        "silo.storage.v1.ObjectService",
        {"DownloadObject": grpc.unary_stream_rpc_method_handler(streams)},
    )
    async with edge(tmp_path, handlers=(handlers,)) as running:
        stub = object_pb2_grpc.ObjectServiceStub(running.channel)
        call = stub.DownloadObject(object_pb2.DownloadObjectRequest(), metadata=bearer())
        assert len([message async for message in call]) == 1, "an empty message is a message"
        assert dict(await call.initial_metadata()) == {"x-initial": "1"}
        assert dict(await call.trailing_metadata()) == {"x-trailing-bin": b"\x00\xff"}


async def test_memory_stays_flat_however_much_passes(objects: Any) -> None:
    """256 MiB each way at once; client, gateway and service are all in this process."""
    _, stub, _ = objects
    size = 256

    async def upload() -> int:
        message = object_pb2.UploadObjectRequest(chunk=CHUNK)

        async def many() -> AsyncIterator[Any]:
            for _ in range(size):
                yield message

        return (await stub.UploadObject(many(), metadata=bearer())).object.size

    async def download() -> int:
        call = stub.DownloadObject(
            object_pb2.DownloadObjectRequest(path="a", length=size), metadata=bearer()
        )
        return sum([len(message.chunk) async for message in call])

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert await asyncio.gather(upload(), download()) == [size * len(CHUNK)] * 2
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 120 * 1024, "kilobytes"
