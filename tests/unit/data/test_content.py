"""Content over storage's stubs, against a server that speaks its protocol."""

import hashlib
from collections.abc import AsyncIterator

import grpc
import pytest

from boundary.channel import open_channel
from boundary.context import CONTEXT_KEY
from boundary.errors import (
    DataLoss,
    Internal,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    key_destroyed,
    status_of,
)
from boundary.metadata import STATUS_KEY
from services.data.content import CHUNK_BYTES, StorageContent
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.contexts import make_context, mint_token
from tests.unit.data.conftest import service_token, verifier

DATA = b"<p>" + b"x" * (CHUNK_BYTES + 10)
SHA = hashlib.sha256(DATA).hexdigest()
PATH = "templates/html/welcome.html"


class FakeStorage(object_pb2_grpc.ObjectServiceServicer):
    """Objects in memory, each call's context, and a refusal where one is set."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.tokens: list[str] = []
        self.refusal: grpc.StatusCode | None = None
        self.error = None

    async def _enter(self, context) -> None:
        metadata = context.invocation_metadata()
        self.tokens += [value for key, value in metadata if key == CONTEXT_KEY]
        if self.error is not None:
            status = status_of(self.error, "r")
            context.set_trailing_metadata(((STATUS_KEY, status.SerializeToString()),))
            await context.abort(grpc.StatusCode[self.error.code], status.message)
        if self.refusal is not None:
            await context.abort(self.refusal, "no")

    async def UploadObject(self, requests, context):  # noqa: N802
        spec, data = None, b""
        received = [request async for request in requests]
        await self._enter(context)
        for request in received:
            if request.HasField("spec"):
                spec = request.spec
            else:
                assert len(request.chunk) <= CHUNK_BYTES
                data += request.chunk
        assert spec.sha256 == hashlib.sha256(data).hexdigest()
        assert spec.content_type == "text/html; charset=utf-8"
        self.objects[spec.path] = data
        return object_pb2.UploadObjectResponse()

    async def _object(self, path, context) -> object_pb2.Object:
        await self._enter(context)
        if path not in self.objects:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no")
        data = self.objects[path]
        return object_pb2.Object(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())

    async def DownloadObject(self, request, context):  # noqa: N802
        found = await self._object(request.path, context)
        yield object_pb2.DownloadObjectResponse(object=found)
        for start in range(0, found.size, 1000_000):
            chunk = self.objects[request.path][start : start + 1000_000]
            yield object_pb2.DownloadObjectResponse(chunk=chunk)

    async def GetObject(self, request, context):  # noqa: N802
        return object_pb2.GetObjectResponse(object=await self._object(request.path, context))

    async def DeleteObject(self, request, context):  # noqa: N802
        await self._object(request.path, context)
        del self.objects[request.path]
        return object_pb2.DeleteObjectResponse()


class Contexts:
    """Tokens for storage, each telling how it was asked for."""

    async def on_behalf_of(self, context, *, audience) -> str:
        return mint_token(context.tenant_id, audience=audience, principal=context.principal)

    async def for_tenant(self, tenant_id, *, audience) -> str:
        return service_token(tenant_id, audience=audience)


@pytest.fixture
async def storage() -> AsyncIterator[tuple[FakeStorage, str]]:
    fake = FakeStorage()
    server = grpc.aio.server()
    object_pb2_grpc.add_ObjectServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield fake, f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def content(storage) -> AsyncIterator[StorageContent]:
    channel = open_channel(storage[1])
    yield StorageContent(channel, Contexts())
    await channel.close()


@pytest.fixture
def fake(storage) -> FakeStorage:
    return storage[0]


CONTEXT = make_context("A")


async def test_content_is_stored_read_described_and_deleted(content, fake):
    assert await content.read(CONTEXT, "welcome") is None
    assert await content.stat(CONTEXT, "welcome") is None
    await content.put(CONTEXT, "welcome", DATA, sha256=SHA)
    assert fake.objects == {PATH: DATA}
    read = await content.read(CONTEXT, "welcome")
    assert (read.data, read.sha256) == (DATA, SHA)
    stat = await content.stat(CONTEXT, "welcome")
    assert (stat.size, stat.sha256) == (len(DATA), SHA)
    await content.delete(CONTEXT, "welcome")
    await content.delete(CONTEXT, "welcome")
    assert fake.objects == {}


async def test_every_call_carries_a_context_for_storage_on_the_callers_behalf(content, fake):
    await content.put(CONTEXT, "welcome", DATA, sha256=SHA)
    await content.read(CONTEXT, "welcome")
    await content.stat(CONTEXT, "welcome")
    await content.delete(CONTEXT, "welcome")
    contexts = [await verifier("storage").verify(token) for token in fake.tokens]
    assert [(each.tenant_id, each.principal) for each in contexts] == [("A", "alice")] * 4


async def test_recovery_works_under_the_services_own_name(content, fake):
    own = await verifier("data").verify(service_token("A", audience="data"))
    await content.stat(own, "welcome")
    assert (await verifier("storage").verify(fake.tokens[0])).principal == "service:data"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("UNAVAILABLE", Unavailable),
        ("DEADLINE_EXCEEDED", Unavailable),
        ("ABORTED", Unavailable),
        ("UNAUTHENTICATED", Unavailable),
        ("PERMISSION_DENIED", PermissionDenied),
        ("RESOURCE_EXHAUSTED", ResourceExhausted),
        ("INTERNAL", Unavailable),
        ("INVALID_ARGUMENT", Internal),
        ("UNKNOWN", Internal),
    ],
)
async def test_refusals(content, fake, code, expected):
    fake.refusal = grpc.StatusCode[code]
    for call in (
        content.put(CONTEXT, "welcome", DATA, sha256=SHA),
        content.read(CONTEXT, "welcome"),
        content.stat(CONTEXT, "welcome"),
        content.delete(CONTEXT, "welcome"),
    ):
        with pytest.raises(expected):
            await call


async def test_a_defect_of_storages_is_one_of_ours(content, fake):
    fake.error = Internal()
    with pytest.raises(Internal):
        await content.stat(CONTEXT, "welcome")


async def test_a_reason_that_the_caller_can_mend_is_kept(content, fake):
    fake.error = ResourceExhausted("OBJECT_TOO_LARGE", "the object is larger than 5 bytes")
    with pytest.raises(ResourceExhausted) as refused:
        await content.put(CONTEXT, "welcome", DATA, sha256=SHA)
    assert refused.value.reason == "OBJECT_TOO_LARGE"
    assert refused.value.message == "the object is larger than 5 bytes"


@pytest.mark.parametrize(
    "error",
    [
        key_destroyed(),
        DataLoss("CONTENT_DAMAGED", "not as stored: p, frame 1", metadata={"place": "p, frame 1"}),
    ],
    ids=lambda error: error.reason,
)
async def test_what_concerns_the_tenants_key_is_told_as_it_is(content, fake, error):
    fake.error = error
    with pytest.raises(type(error)) as refused:
        await content.read(CONTEXT, "welcome")
    told = refused.value
    assert (told.reason, told.message) == (error.reason, error.message)
    assert told.metadata.get("place") == error.metadata.get("place")


async def test_storage_that_is_down(storage):
    channel = open_channel("127.0.0.1:1")
    with pytest.raises(Unavailable):
        await StorageContent(channel, Contexts()).stat(CONTEXT, "welcome")
    await channel.close()
