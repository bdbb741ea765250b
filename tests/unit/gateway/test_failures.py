"""How calls through the gateway fail, as a caller sees it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from boundary.interceptors.serve import MAX_MESSAGE_BYTES
from boundary.resolver_client import rich_status
from silo.search.v1 import event_pb2
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.serving import reason_of
from tests.unit.gateway.edge import bearer, edge
from tests.unit.gateway.stand_ins import CHUNK, chunks, failure, get, until


async def test_an_error_ends_both_streams_and_arrives_whole(events: Any) -> None:
    _, stub = events
    call = stub.IngestEvents(metadata=bearer())
    await call.write(event_pb2.IngestEventsRequest(events=[event_pb2.Event()] * 6))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(raised.value) == "INVALID_FIELD"


async def test_a_rich_error_and_its_trailers_arrive_whole(objects: Any) -> None:
    running, stub, _ = objects
    metadata = (*bearer(), ("x-request-id", "mine-1"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.GetObject(get("missing"), metadata=metadata)
    error = raised.value
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == "objects/missing was not found"
    assert reason_of(error) == "RESOURCE_NOT_FOUND"
    assert rich_status(error).code == 5
    assert dict(error.trailing_metadata())["x-request-id"] == "mine-1"
    assert running.records() == []
    assert running.service.records()[-1]["request_id"] == "mine-1"


async def test_an_error_before_the_first_message_of_a_stream(objects: Any) -> None:
    _, stub, _ = objects
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.DownloadObject(
            object_pb2.DownloadObjectRequest(path="missing"), metadata=bearer()
        ).read()
    assert reason_of(raised.value) == "RESOURCE_NOT_FOUND"


async def test_an_error_in_the_middle_of_a_stream(objects: Any) -> None:
    _, stub, _ = objects
    call = stub.DownloadObject(
        object_pb2.DownloadObjectRequest(path="breaks", length=4), metadata=bearer()
    )
    for _ in range(4):
        assert (await call.read()).chunk == CHUNK
    assert reason_of(await failure(call)) == "INVALID_FIELD"


async def test_an_error_while_the_client_still_sends(objects: Any) -> None:
    running, stub, _ = objects
    call = stub.UploadObject(metadata=bearer())
    await call.write(object_pb2.UploadObjectRequest(spec=object_pb2.UploadSpec(path="refused")))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert reason_of(raised.value) == "INVALID_FIELD"
    assert running.records() == []


async def test_the_deadline_travels(objects: Any) -> None:
    _, stub, servicer = objects
    await stub.GetObject(get(), metadata=bearer(), timeout=7)
    assert 5 < servicer.remaining[-1] < 7.1
    await stub.GetObject(get(), metadata=bearer())
    assert 50 < servicer.remaining[-1] < 61


async def test_a_passed_deadline_ends_the_call_at_the_service(objects: Any) -> None:
    _, stub, servicer = objects
    begun = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.GetObject(get("slow"), metadata=bearer(), timeout=0.3)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - begun < 2
    await until(lambda: servicer.ended == ["slow"])


async def test_a_message_over_the_limit(objects: Any) -> None:
    running, stub, servicer = objects
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.GetObject(get("x" * (MAX_MESSAGE_BYTES + 1)), metadata=bearer())
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(raised.value) == "MESSAGE_TOO_LARGE"
    assert servicer.seen == []
    assert running.records()[-1]["reason"] == "MESSAGE_TOO_LARGE"
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.UploadObject(chunks(2, MAX_MESSAGE_BYTES + 1), metadata=bearer())
    assert reason_of(raised.value) == "MESSAGE_TOO_LARGE"
    assert servicer.uploaded == []


async def test_a_service_that_is_down(tmp_path: Path) -> None:
    async with edge(tmp_path) as running:
        stub = object_pb2_grpc.ObjectServiceStub(running.channel)
        for call in (
            stub.GetObject(get(), metadata=bearer()),
            stub.UploadObject(chunks(1), metadata=bearer()),
            stub.DownloadObject(object_pb2.DownloadObjectRequest(), metadata=bearer()),
        ):
            error = await failure(call)
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert reason_of(error) == "SERVICE_UNAVAILABLE"
            assert any(d.type_url.endswith("RetryInfo") for d in rich_status(error).details)
        assert [record["status"] for record in running.records()] == ["UNAVAILABLE"] * 3


@pytest.mark.parametrize(
    ("code", "expected", "reason"),
    [
        (grpc.StatusCode.INTERNAL, "UNAVAILABLE", "SERVICE_UNAVAILABLE"),
        (grpc.StatusCode.UNKNOWN, "UNAVAILABLE", "SERVICE_UNAVAILABLE"),
        (grpc.StatusCode.CANCELLED, "UNAVAILABLE", "SERVICE_UNAVAILABLE"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED", "TRANSPORT_LIMIT"),
        (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED", "METHOD_UNKNOWN"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "UNAVAILABLE", "TIMED_OUT"),
    ],
)
async def test_what_the_transport_makes_up_is_translated(
    tmp_path: Path, code: grpc.StatusCode, expected: str, reason: str
) -> None:
    async def fails(_: Any, rpc: Any) -> bytes:
        await rpc.abort(code, "driver text")
        return b""

    handlers = grpc.method_handlers_generic_handler(
        "silo.storage.v1.ObjectService",
        {
            "GetObject": grpc.unary_unary_rpc_method_handler(fails),
            "UploadObject": grpc.stream_unary_rpc_method_handler(fails),
            "DownloadObject": grpc.unary_stream_rpc_method_handler(fails),
        },
    )
    async with edge(tmp_path, handlers=(handlers,)) as running:
        stub = object_pb2_grpc.ObjectServiceStub(running.channel)
        for call in (
            stub.GetObject(get(), metadata=bearer()),
            stub.UploadObject(chunks(1), metadata=bearer()),
            stub.DownloadObject(object_pb2.DownloadObjectRequest(), metadata=bearer()),
        ):
            error = await failure(call)
            assert error.code().name == expected
            assert reason_of(error) == reason
            assert "driver" not in (error.details() or "")


async def test_the_resolver_is_down(objects: Any) -> None:
    running, stub, servicer = objects
    held = bearer("A")
    await stub.GetObject(get(), metadata=held)
    await running.stop_resolver()
    await stub.GetObject(get(), metadata=held)
    error = await failure(stub.GetObject(get(), metadata=bearer("A"), timeout=10))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert reason_of(error) == "SERVICE_UNAVAILABLE"
    assert len(servicer.seen) == 2
