"""Calls through the gateway, in all four shapes, as a caller sees them."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from boundary.errors import InvalidArgument, NotFound
from boundary.ids import TenantId
from boundary.interceptors.call import Call
from boundary.interceptors.serve import MAX_MESSAGE_BYTES
from boundary.resolver_client import rich_status
from boundary.tenants import TenantState
from silo.search.v1 import event_pb2, event_pb2_grpc
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.contexts import mint_token
from tests.serving import reason_of
from tests.unit.gateway.edge import Edge, bearer, edge

CHUNK = b"x" * (1024 * 1024)


class Objects:
    """A storage service that remembers nothing but what it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[tuple[str, Any], ...]] = []
        self.remaining: list[float] = []
        self.uploaded: list[int] = []
        self.ended: list[str] = []
        self.sent = 0

    def __getattr__(self, name: str) -> Any:
        async def unused(_: Any, __: Call) -> Any:
            raise AssertionError(name)

        return unused

    async def get_object(self, request: Any, call: Call) -> Any:
        self.seen.append(call.metadata)
        self.remaining.append(call.remaining(at_most=1000))
        if request.path == "missing":
            raise NotFound("objects/missing", field="path")
        if request.path == "slow":
            try:
                await asyncio.sleep(30)
            finally:
                self.ended.append("slow")
        return object_pb2.GetObjectResponse(
            object=object_pb2.Object(path=call.tenant.tenant_id + "/" + request.path)
        )

    async def download_object(self, request: Any, call: Call) -> AsyncIterator[Any]:
        self.seen.append(call.metadata)
        if request.path == "missing":
            raise NotFound("objects/missing", field="path")
        try:
            for _ in range(request.length or 3):
                self.sent += 1
                yield object_pb2.DownloadObjectResponse(chunk=CHUNK)
            if request.path == "breaks":
                raise InvalidArgument("path", "breaks in the middle")
        finally:
            self.ended.append("download")

    async def upload_object(self, requests: AsyncIterator[Any], call: Call) -> Any:
        self.seen.append(call.metadata)
        size = 0
        async for request in requests:
            size += len(request.chunk)
            if request.spec.path == "refused":
                raise InvalidArgument("spec.path", "is refused")
        self.uploaded.append(size)
        return object_pb2.UploadObjectResponse(object=object_pb2.Object(size=size))


class Events:
    """A search service that acknowledges each batch by its number."""

    def __getattr__(self, name: str) -> Any:
        async def unused(_: Any, __: Call) -> Any:
            raise AssertionError(name)

        return unused

    async def ingest_events(self, requests: AsyncIterator[Any], call: Call) -> AsyncIterator[Any]:
        async for request in requests:
            if len(request.events) > 5:
                raise InvalidArgument("events", "are too many")
            yield event_pb2.IngestEventsResponse(accepted_count=len(request.events))


@pytest.fixture
async def objects(tmp_path: Path) -> AsyncIterator[tuple[Edge, Any, Objects]]:
    servicer = Objects()
    async with edge(tmp_path, servicers={"silo.storage.v1.ObjectService": servicer}) as running:
        yield running, object_pb2_grpc.ObjectServiceStub(running.channel), servicer


@pytest.fixture
async def events(tmp_path: Path) -> AsyncIterator[tuple[Edge, Any]]:
    async with edge(
        tmp_path, service="search", servicers={"silo.search.v1.EventService": Events()}
    ) as running:
        yield running, event_pb2_grpc.EventServiceStub(running.channel)


def get(path: str = "a") -> object_pb2.GetObjectRequest:
    return object_pb2.GetObjectRequest(path=path)


async def chunks(count: int, size: int = 1000) -> AsyncIterator[object_pb2.UploadObjectRequest]:
    for _ in range(count):
        yield object_pb2.UploadObjectRequest(chunk=b"x" * size)


async def until(condition: Any, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - looks at files and at the other side
            await asyncio.sleep(0.005)


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
    await others.done_writing()
    assert (await others).object.size == 1


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


async def drained(call: Any) -> None:
    """What had been sent before the end arrives first."""
    while await call.read() is not grpc.aio.EOF:
        pass


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await (call.read() if hasattr(call, "read") else call)
    return raised.value


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
