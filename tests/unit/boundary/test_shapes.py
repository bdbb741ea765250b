"""The chain around all four call shapes, over a real loopback server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from boundary.channel import keep_ending, what_ended
from boundary.context import CONTEXT_KEY, current_context
from boundary.errors import InvalidArgument
from boundary.ids import TenantId
from boundary.interceptors.call import Call
from boundary.tenants import TenantState
from silo.search.v1 import event_pb2, event_pb2_grpc
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.contexts import make_context, mint_lifecycle_token, mint_token
from tests.serving import Serving, reason_of, serving

OBJECTS = "silo.storage.v1.ObjectService"


class Objects:
    """Answers with what it saw of the call."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def unused(_: Message, __: Call) -> Message:
            raise AssertionError(name)

        return unused

    async def get_object(
        self, request: object_pb2.GetObjectRequest, call: Call
    ) -> object_pb2.GetObjectResponse:
        if request.path == "broken":
            raise RuntimeError("the driver said: password=hunter2")
        if request.path == "invalid":
            raise InvalidArgument("path", "is not for tests")
        if request.path == "slow":
            await asyncio.sleep(30)
        context = current_context()
        assert context is call.tenant
        return object_pb2.GetObjectResponse(object=object_pb2.Object(path=context.tenant_id))

    async def download_object(
        self, request: object_pb2.DownloadObjectRequest, call: Call
    ) -> AsyncIterator[object_pb2.DownloadObjectResponse]:
        try:
            for number in range(1 if request.path == "short" else 10_000):
                chunk = f"{call.tenant.tenant_id}{number}".encode()
                yield object_pb2.DownloadObjectResponse(chunk=chunk)
                await asyncio.sleep(0.005)
        finally:
            self.ended.append(call.tenant.tenant_id)

    async def upload_object(
        self, requests: AsyncIterator[object_pb2.UploadObjectRequest], call: Call
    ) -> object_pb2.UploadObjectResponse:
        size = 0
        async for request in requests:
            size += len(request.chunk)
        return object_pb2.UploadObjectResponse(
            object=object_pb2.Object(path=call.tenant.tenant_id, size=size)
        )


@pytest.fixture
async def objects(tmp_path: Path) -> AsyncIterator[tuple[Serving, Any, Objects]]:
    servicer = Objects()
    async with serving("storage", {OBJECTS: servicer}, tmp_path) as running:
        yield running, object_pb2_grpc.ObjectServiceStub(running.channel), servicer


async def call_every_shape(stub: Any, metadata: Any) -> list[grpc.aio.AioRpcError]:
    """Calls the three shapes of the object service and gives the errors."""

    async def download() -> None:
        async for _ in stub.DownloadObject(
            object_pb2.DownloadObjectRequest(path="short"), metadata=metadata
        ):
            pass

    async def upload() -> None:
        async def parts() -> AsyncIterator[object_pb2.UploadObjectRequest]:
            yield object_pb2.UploadObjectRequest(chunk=b"x")

        call = keep_ending(stub.UploadObject(parts(), metadata=metadata))
        try:
            await call
        except grpc.aio.AioRpcError as error:
            raise await what_ended(call, error) from None

    errors = []
    for attempt in (
        stub.GetObject(object_pb2.GetObjectRequest(path="x"), metadata=metadata),
        download(),
        upload(),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await attempt
        errors.append(caught.value)
    return errors


async def test_a_good_context_is_served_in_every_shape(objects: Any) -> None:
    running, stub, _ = objects
    metadata = running.metadata("A")
    response = await stub.GetObject(object_pb2.GetObjectRequest(path="p"), metadata=metadata)
    assert response.object.path == "A"
    chunks = [
        response.chunk
        async for response in stub.DownloadObject(
            object_pb2.DownloadObjectRequest(path="short"), metadata=metadata
        )
    ]
    assert chunks == [b"A0"]

    async def parts() -> AsyncIterator[object_pb2.UploadObjectRequest]:
        yield object_pb2.UploadObjectRequest(spec=object_pb2.UploadSpec(path="up/load"))
        yield object_pb2.UploadObjectRequest(chunk=b"12345")

    uploaded = await stub.UploadObject(parts(), metadata=metadata)
    assert (uploaded.object.path, uploaded.object.size) == ("A", 5)
    assert [(r["resource"], r["decision"], r["status"]) for r in running.records()] == [
        ("p", "ALLOWED", "OK"),
        ("short", "ALLOWED", "OK"),
        ("up/load", "ALLOWED", "OK"),
    ]


@pytest.mark.parametrize(
    ("reason", "tokens"),
    [
        ("CONTEXT_MISSING", []),
        ("CONTEXT_INVALID", ["", "garbage", "a.b.c"]),
        ("CONTEXT_AUDIENCE", ["other-audience"]),
        ("CONTEXT_EXPIRED", ["expired"]),
        ("CREDENTIAL_DOUBLED", ["doubled"]),
        ("CONTEXT_INVALID", ["tampered"]),
    ],
)
async def test_a_bad_context_is_refused_and_recorded_in_every_shape(
    objects: Any, reason: str, tokens: list[str]
) -> None:
    running, stub, _ = objects
    made = {
        "other-audience": lambda: [mint_token("A", audience="search")],
        "expired": lambda: [mint_token("A", audience="storage", not_after=time.time() - 1)],
        "doubled": lambda: [mint_token("A", audience="storage")] * 2,
        "tampered": lambda: [_tampered(mint_token("A", audience="storage"))],
    }
    for token in tokens or [None]:
        values = [] if token is None else made.get(token, lambda value=token: [value])()
        metadata = tuple((CONTEXT_KEY, value) for value in values)
        errors = await call_every_shape(stub, metadata)
        assert {error.code() for error in errors} == {grpc.StatusCode.UNAUTHENTICATED}
        assert {reason_of(error) for error in errors} == {reason}
    records = running.records()
    assert len(records) == 3 * max(1, len(tokens))
    assert {(r["decision"], r["reason"], r["tenant"]) for r in records} == {("REFUSED", reason, "")}


def _tampered(token: str) -> str:
    head, claims, signature = token.split(".")
    flipped = "A" if claims[10] != "A" else "B"
    return f"{head}.{claims[:10]}{flipped}{claims[11:]}.{signature}"


async def test_a_missing_permission_is_named(objects: Any) -> None:
    running, stub, _ = objects
    errors = await call_every_shape(stub, running.metadata("A", permissions=("campaigns.*",)))
    assert {error.code() for error in errors} == {grpc.StatusCode.PERMISSION_DENIED}
    assert {reason_of(error) for error in errors} == {"PERMISSION_MISSING"}
    assert "objects.read" in errors[0].details()
    assert "objects.write" in errors[2].details()
    assert {r["tenant"] for r in running.records()} == {"A"}


async def test_a_tenant_of_another_region_is_refused(tmp_path: Path) -> None:
    async with serving("storage", {OBJECTS: Objects()}, tmp_path, region="eu") as running:
        stub = object_pb2_grpc.ObjectServiceStub(running.channel)
        errors = await call_every_shape(stub, running.metadata("A"))
    assert {reason_of(error) for error in errors} == {"REGION_NOT_SERVED"}


async def test_a_defect_shows_nothing_of_itself(objects: Any) -> None:
    running, stub, _ = objects
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetObject(
            object_pb2.GetObjectRequest(path="broken"),
            metadata=(*running.metadata("A"), ("x-request-id", "my-request")),
        )
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert reason_of(caught.value) == "INTERNAL"
    assert "hunter2" not in str(caught.value.details())
    assert running.records()[-1]["request_id"] == "my-request"


async def test_bytes_that_are_no_message_are_an_invalid_argument(objects: Any) -> None:
    running, _, _ = objects
    call = running.channel.unary_unary(f"/{OBJECTS}/GetObject")
    for raw in (b"\xff\xff\xff", b"\x0a\x02\xff\xfe"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(raw, metadata=running.metadata("A"))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason_of(caught.value) == "MALFORMED_MESSAGE"


async def test_a_message_over_the_limit_has_a_reason_and_a_record(objects: Any) -> None:
    running, stub, _ = objects
    big = object_pb2.GetObjectRequest(path="x" * (5 * 1024 * 1024))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetObject(big, metadata=running.metadata("A"))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(caught.value) == "MESSAGE_TOO_LARGE"
    assert running.records()[-1]["reason"] == "MESSAGE_TOO_LARGE"


@pytest.mark.parametrize("shape", ["GetObject", "DownloadObject"])
async def test_a_call_whose_one_message_never_comes_is_answered(objects: Any, shape: str) -> None:
    running, _, _ = objects

    async def nothing() -> AsyncIterator[bytes]:
        for raw in ():
            yield raw

    call = running.channel.stream_unary(f"/{OBJECTS}/{shape}")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(nothing(), metadata=running.metadata("A"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(caught.value) == "MESSAGE_MISSING"
    assert running.records()[-1]["reason"] == "MESSAGE_MISSING"


async def test_nothing_of_a_message_is_waited_for_that_nobody_vouches_for(objects: Any) -> None:
    running, _, _ = objects
    release = asyncio.Event()

    async def later() -> AsyncIterator[bytes]:
        await release.wait()
        yield b""

    call = running.channel.stream_unary(f"/{OBJECTS}/GetObject")(later(), timeout=10)
    try:
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
    finally:
        release.set()
    assert running.records()[-1]["reason"] == "CONTEXT_MISSING"


async def test_a_message_that_grpc_itself_refuses_has_a_record(objects: Any) -> None:
    running, _, _ = objects
    huge = b"x" * (17 * 1024 * 1024)
    async with grpc.aio.insecure_channel(running.address) as channel:  # it sends what it is given
        call = channel.unary_unary(f"/{OBJECTS}/GetObject")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(huge, metadata=running.metadata("A"))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await _until(lambda: bool(running.records()))
    assert running.records()[-1]["principal"] == "alice"


async def test_a_record_stays_small_whatever_the_caller_names(objects: Any) -> None:
    running, stub, _ = objects
    path = "\x01" * 3_000_000
    await stub.GetObject(object_pb2.GetObjectRequest(path=path), metadata=running.metadata("A"))
    assert str(running.records()[0]["resource"]).endswith("\x01...")
    (segment,) = running.audit_folder.glob("*/[0-9]*.jsonl")
    assert segment.stat().st_size < 16_384


async def test_a_deadline_that_passes_is_the_callers_status(objects: Any) -> None:
    running, stub, _ = objects
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetObject(
            object_pb2.GetObjectRequest(path="slow"), metadata=running.metadata("A"), timeout=0.2
        )
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await _until(lambda: len(running.records()) == 1)
    assert running.records()[0]["status"] in {"CANCELLED", "DEADLINE_EXCEEDED"}


async def test_a_client_that_goes_away_ends_the_handler_and_is_recorded(objects: Any) -> None:
    running, stub, servicer = objects
    call = stub.DownloadObject(
        object_pb2.DownloadObjectRequest(path="long"), metadata=running.metadata("A")
    )
    await call.read()
    call.cancel()
    await _until(lambda: servicer.ended == ["A"] and len(running.records()) == 1)
    assert running.records()[0]["status"] == "CANCELLED"


async def test_a_suspension_ends_the_tenants_streams_and_no_others(objects: Any) -> None:
    running, stub, servicer = objects

    async def download(tenant_id: str) -> tuple[int, grpc.aio.AioRpcError | None]:
        count = 0
        try:
            async for _ in stub.DownloadObject(
                object_pb2.DownloadObjectRequest(path="long"), metadata=running.metadata(tenant_id)
            ):
                count += 1
                if count == 100:
                    return count, None
        except grpc.aio.AioRpcError as error:
            return count, error
        return count, None

    async def upload() -> grpc.aio.AioRpcError:
        async def parts() -> AsyncIterator[object_pb2.UploadObjectRequest]:
            while True:
                yield object_pb2.UploadObjectRequest(chunk=b"x")
                await asyncio.sleep(0.005)

        call = keep_ending(stub.UploadObject(parts(), metadata=running.metadata("A")))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        return await what_ended(call, caught.value)

    tasks = [asyncio.create_task(download("A")), asyncio.create_task(download("AB"))]
    uploading = asyncio.create_task(upload())
    await asyncio.sleep(0.15)
    running.states.observe(TenantState(tenant_id=TenantId("A"), generation=2, active=False))
    (count, error), (neighbours, neighbours_error) = await asyncio.gather(*tasks)
    assert error is not None
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert reason_of(error) == "TENANT_UNAVAILABLE"
    assert reason_of(await uploading) == "TENANT_UNAVAILABLE"
    assert 0 < count < 100
    assert (neighbours, neighbours_error) == (100, None)
    refused = [r for r in running.records() if r["tenant"] == "A"]
    assert [(r["decision"], r["status"]) for r in refused] == [("REFUSED", "PERMISSION_DENIED")] * 2
    assert "A" in servicer.ended


async def test_the_next_call_of_a_suspended_tenant_and_of_an_old_generation(objects: Any) -> None:
    running, stub, _ = objects
    old = running.metadata("A", generation=1)
    running.states.observe(TenantState(tenant_id=TenantId("A"), generation=2, active=False))
    errors = await call_every_shape(stub, old)
    assert {reason_of(error) for error in errors} == {"TENANT_UNAVAILABLE"}
    running.states.observe(TenantState(tenant_id=TenantId("A"), generation=3, active=True))
    errors = await call_every_shape(stub, old)
    assert {reason_of(error) for error in errors} == {"CONTEXT_STALE"}
    fresh = running.metadata("A", generation=3)
    await stub.GetObject(object_pb2.GetObjectRequest(path="x"), metadata=fresh)


async def test_a_tenant_that_is_being_moved_is_read_and_not_written(objects: Any) -> None:
    running, stub, _ = objects
    moving = running.metadata("A", status="MOVING", generation=2)
    await stub.GetObject(object_pb2.GetObjectRequest(path="x"), metadata=moving)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.DeleteObject(object_pb2.DeleteObjectRequest(path="x"), metadata=moving)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reason_of(caught.value) == "TENANT_READ_ONLY"


async def test_a_move_ends_the_writes_under_way_and_no_reads(objects: Any) -> None:
    running, stub, servicer = objects
    metadata = running.metadata("A")

    async def parts() -> AsyncIterator[object_pb2.UploadObjectRequest]:
        while True:
            yield object_pb2.UploadObjectRequest(chunk=b"x")
            await asyncio.sleep(0.005)

    upload = keep_ending(stub.UploadObject(parts(), metadata=metadata))
    download = stub.DownloadObject(object_pb2.DownloadObjectRequest(path="long"), metadata=metadata)
    await download.read()
    await asyncio.sleep(0.1)
    running.states.observe(
        TenantState(tenant_id=TenantId("A"), generation=2, active=True, read_only=True)
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await upload
    assert reason_of(await what_ended(upload, caught.value)) == "TENANT_READ_ONLY"
    for _ in range(100):
        assert isinstance(await download.read(), object_pb2.DownloadObjectResponse)
    download.cancel()
    await _until(lambda: "A" in servicer.ended)


async def test_the_platforms_own_work_is_done_whatever_the_status_and_is_no_callers(
    objects: Any,
) -> None:
    running, stub, _ = objects
    running.states.observe(TenantState(tenant_id=TenantId("A"), generation=9, active=False))
    own = ((CONTEXT_KEY, mint_lifecycle_token("A", audience="storage")),)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetObject(object_pb2.GetObjectRequest(path="x"), metadata=own)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert reason_of(caught.value) == "PERMISSION_MISSING"


@pytest.mark.parametrize(
    "claims",
    [
        {"permissions": ("lifecycle.purge",)},  # not the resolver's own work
        {"permissions": ("lifecycle.*", "*"), "principal": "service:resolver"},
        {"status": "SUSPENDED"},
        {"status": "PURGED", "principal": "service:resolver"},
    ],
)
async def test_a_context_that_mixes_a_caller_with_the_platforms_own_work_is_none(
    objects: Any, claims: dict[str, Any]
) -> None:
    running, stub, _ = objects
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetObject(
            object_pb2.GetObjectRequest(path="x"), metadata=running.metadata("A", **claims)
        )
    assert reason_of(caught.value) == "CONTEXT_INVALID"


def test_only_lifecycle_permissions_are_minted_for_the_platforms_own_work() -> None:
    with pytest.raises(ValueError, match="alone"):
        mint_lifecycle_token("A", permissions=("lifecycle.purge", "objects.read"))


async def test_a_context_that_is_newer_than_what_was_heard_is_taken(objects: Any) -> None:
    running, stub, _ = objects
    running.states.observe(TenantState(tenant_id=TenantId("A"), generation=2, active=False))
    resumed = running.metadata("A", generation=3)
    await stub.GetObject(object_pb2.GetObjectRequest(path="x"), metadata=resumed)
    running.states.observe(TenantState(tenant_id=TenantId("A"), generation=4, active=False))
    errors = await call_every_shape(stub, resumed)
    assert {reason_of(error) for error in errors} == {"TENANT_UNAVAILABLE"}


async def test_interleaved_tenants_each_see_their_own_context(objects: Any) -> None:
    running, stub, _ = objects

    async def ask(tenant_id: str) -> bool:
        response = await stub.GetObject(
            object_pb2.GetObjectRequest(path="x"), metadata=running.metadata(tenant_id)
        )
        return bool(response.object.path == tenant_id)

    answers = await asyncio.gather(*(ask(t) for t in ("A", "B", "a-b", "A-b") * 25))
    assert all(answers)


async def test_bidirectional_streams_pass_the_same_chain(tmp_path: Path) -> None:
    class Events:
        def __getattr__(self, name: str) -> Any:
            return None

        async def ingest_events(
            self, requests: AsyncIterator[event_pb2.IngestEventsRequest], call: Call
        ) -> AsyncIterator[event_pb2.IngestEventsResponse]:
            async for request in requests:
                yield event_pb2.IngestEventsResponse(accepted_count=len(request.events))

    async with serving("search", {"silo.search.v1.EventService": Events()}, tmp_path) as running:
        stub: Any = event_pb2_grpc.EventServiceStub(running.channel)
        call = stub.IngestEvents(metadata=running.metadata("A"))
        for count in (1, 2):
            await call.write(event_pb2.IngestEventsRequest(events=[event_pb2.Event()] * count))
            assert (await call.read()).accepted_count == count
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        refused = stub.IngestEvents()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await refused.read()
        assert reason_of(caught.value) == "CONTEXT_MISSING"


def test_a_context_cannot_be_made_by_hand() -> None:
    context = make_context("A")
    with pytest.raises(TypeError):
        type(context)(**{name: getattr(context, name) for name in context.__slots__} | {"seal": 1})
    with pytest.raises(TypeError):
        type(context.partition)(seal=None, tenant_id="B", table="t", key="TENANT#B")


async def _until(condition: Any) -> None:
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come about")
