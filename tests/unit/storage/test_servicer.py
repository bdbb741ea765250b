"""ObjectService over a real loopback server, behind the chain."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from boundary.channel import keep_ending, what_ended
from boundary.ids import TenantId
from boundary.tenants import TenantState
from services.storage.operations import ObjectOperations
from services.storage.servicer import ObjectServicer
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.serving import Serving, reason_of, serving

Request = object_pb2.UploadObjectRequest
MIB = 1024 * 1024


@pytest.fixture
async def server(operations: ObjectOperations, tmp_path: Path) -> AsyncIterator[Serving]:
    servicers = {"silo.storage.v1.ObjectService": ObjectServicer(operations)}
    async with serving("storage", servicers, tmp_path / "audit") as running:
        yield running


@pytest.fixture
def stub(server: Serving) -> object_pb2_grpc.ObjectServiceAsyncStub:
    stub: object_pb2_grpc.ObjectServiceAsyncStub = object_pb2_grpc.ObjectServiceStub(server.channel)
    return stub


class Client:
    """A tenant's caller."""

    def __init__(self, server: Serving, tenant_id: str, **claims: Any) -> None:
        self.stub: object_pb2_grpc.ObjectServiceAsyncStub = object_pb2_grpc.ObjectServiceStub(
            server.channel
        )
        self.metadata = server.metadata(tenant_id, **claims)

    async def send(self, requests: Iterable[Request]) -> object_pb2.Object:
        async def stream() -> AsyncIterator[Request]:
            for request in requests:
                yield request

        call = keep_ending(self.stub.UploadObject(stream(), metadata=self.metadata))
        try:
            return (await call).object
        except grpc.aio.AioRpcError as error:
            raise await what_ended(call, error) from None

    async def put(self, path: str, *chunks: bytes, **spec: Any) -> object_pb2.Object:
        first = Request(spec=object_pb2.UploadSpec(path=path, **spec))
        return await self.send([first, *(Request(chunk=chunk) for chunk in chunks)])

    async def get(self, path: str, **request: Any) -> tuple[object_pb2.Object, bytes]:
        call = self.stub.DownloadObject(
            object_pb2.DownloadObjectRequest(path=path, **request), metadata=self.metadata
        )
        parts = [part async for part in call]
        assert [part.WhichOneof("part") for part in parts[:1]] == ["object"]
        return parts[0].object, b"".join(part.chunk for part in parts[1:])

    async def list(self, **request: Any) -> object_pb2.ListObjectsResponse:
        return await self.stub.ListObjects(
            object_pb2.ListObjectsRequest(**request), metadata=self.metadata
        )


@pytest.fixture
def alice(server: Serving) -> Client:
    return Client(server, "A")


@pytest.fixture
def bob(server: Serving) -> Client:
    return Client(server, "B")


class refuses:  # noqa: N801 - reads as a verb in `with`
    """Expects a status with a reason, and a field where one is at fault."""

    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        self._expected = (code, reason)

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> bool:
        assert isinstance(error, grpc.aio.AioRpcError), "the call was not refused"
        assert (error.code(), reason_of(error)) == self._expected
        return True


async def test_up_and_down(alice: Client) -> None:
    chunks = [b"a" * MIB, b"b" * 2 * MIB, b"c"]
    stored = await alice.put("exports/x.bin", *chunks, content_type="a/b", metadata={"k": "v"})
    content = b"".join(chunks)
    assert (stored.size, stored.content_type) == (len(content), "a/b")
    assert dict(stored.metadata) == {"k": "v"}
    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    assert await alice.get("exports/x.bin") == (stored, content)
    assert (await alice.get("exports/x.bin", offset=-1))[1] == b"c"
    assert (await alice.get("exports/x.bin", offset=MIB - 1, length=2))[1] == b"ab"
    described = await alice.stub.GetObject(
        object_pb2.GetObjectRequest(path="exports/x.bin"), metadata=alice.metadata
    )
    assert described.object == stored


async def test_streams_in_the_wrong_order(alice: Client) -> None:
    spec = Request(spec=object_pb2.UploadSpec(path="x"))
    chunk = Request(chunk=b"1")
    with refuses(grpc.StatusCode.INVALID_ARGUMENT, "SPEC_MISSING"):
        await alice.send([])
    with refuses(grpc.StatusCode.INVALID_ARGUMENT, "SPEC_MISSING"):
        await alice.send([chunk, spec])
    with refuses(grpc.StatusCode.INVALID_ARGUMENT, "SPEC_MISSING"):
        await alice.send([Request(), spec])
    with refuses(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"):
        await alice.send([spec, chunk, spec])
    with refuses(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"):
        await alice.send([spec, chunk, Request()])
    with refuses(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"):
        await alice.send([spec, Request(chunk=b"1" * (2 * MIB + 1))])
    assert not (await alice.list()).objects


async def test_conditions_and_limits(alice: Client, server: Serving) -> None:
    first = await alice.put("doc", b"1", create_only=True)
    with refuses(grpc.StatusCode.ALREADY_EXISTS, "RESOURCE_EXISTS"):
        await alice.put("doc", b"2", create_only=True)
    await alice.put("doc", b"2", if_match=first.etag)
    with refuses(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"):
        await alice.put("doc", b"3", if_match=first.etag)
    with refuses(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"):
        await alice.get("doc", if_match=first.etag)
    with refuses(grpc.StatusCode.INVALID_ARGUMENT, "CHECKSUM_MISMATCH"):
        await alice.put("doc", b"3", sha256="0" * 64)
    with refuses(grpc.StatusCode.OUT_OF_RANGE, "RANGE_BEYOND_END"):
        await alice.get("doc", offset=1)
    with refuses(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"):
        await alice.get("doc", length=-1)
    with refuses(grpc.StatusCode.RESOURCE_EXHAUSTED, "OBJECT_TOO_LARGE"):
        await alice.put("doc", *[b"3" * MIB] * 9)
    small = Client(server, "A", max_object_bytes=10)
    with refuses(grpc.StatusCode.RESOURCE_EXHAUSTED, "OBJECT_TOO_LARGE"):
        await small.put("doc", b"3" * 11)
    assert (await alice.get("doc"))[1] == b"2"


@pytest.mark.parametrize("path", ["", "../tenant-b/x", "/x", "a//b", "a\\b", "a%2fb", "a\0"])
async def test_paths_out_of_grammar(alice: Client, path: str) -> None:
    stub, metadata = alice.stub, alice.metadata
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: alice.put(path, b"1"),
        lambda: alice.get(path),
        lambda: stub.GetObject(object_pb2.GetObjectRequest(path=path), metadata=metadata),
        lambda: stub.DeleteObject(object_pb2.DeleteObjectRequest(path=path), metadata=metadata),
        lambda: stub.CopyObject(
            object_pb2.CopyObjectRequest(source_path=path, destination_path="x"), metadata=metadata
        ),
        lambda: stub.CopyObject(
            object_pb2.CopyObjectRequest(source_path="x", destination_path=path), metadata=metadata
        ),
        lambda: stub.SignUpload(object_pb2.SignUploadRequest(path=path), metadata=metadata),
        lambda: stub.SignDownload(object_pb2.SignDownloadRequest(path=path), metadata=metadata),
    ]
    for call in calls:
        with refuses(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PATH"):
            await call()


async def test_a_neighbour_reads_like_nothing(alice: Client, bob: Client) -> None:
    await bob.put("secret", b"1")
    for path in ("secret", "missing"):
        with refuses(grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
            await alice.get(path)
        with refuses(grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
            await alice.stub.DeleteObject(
                object_pb2.DeleteObjectRequest(path=path), metadata=alice.metadata
            )
        with refuses(grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
            await alice.stub.CopyObject(
                object_pb2.CopyObjectRequest(source_path=path, destination_path="mine"),
                metadata=alice.metadata,
            )
    assert not (await alice.list()).objects


async def test_lists(alice: Client, bob: Client) -> None:
    for path in ("a", "d/1", "d/2", "e"):
        await alice.put(path, b"1")
    page = await alice.list(delimiter="/", page_size=2)
    assert ([o.path for o in page.objects], list(page.prefixes)) == (["a"], ["d/"])
    rest = await alice.list(delimiter="/", page_size=5, page_token=page.next_page_token)
    assert ([o.path for o in rest.objects], list(rest.prefixes)) == (["e"], [])
    assert rest.next_page_token == ""
    for request in ({}, {"delimiter": "/", "prefix": "d"}):
        with refuses(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN"):
            await alice.list(page_token=page.next_page_token, **request)
    with refuses(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN"):
        await bob.list(delimiter="/", page_token=page.next_page_token)
    with refuses(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"):
        await alice.list(delimiter="|")
    with refuses(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"):
        await alice.list(page_size=-1)
    with refuses(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PATH"):
        await alice.list(prefix="../")


async def test_delete_by_prefix(alice: Client, bob: Client) -> None:
    async def delete(**request: Any) -> object_pb2.DeleteObjectsResponse:
        return await alice.stub.DeleteObjects(
            object_pb2.DeleteObjectsRequest(**request), metadata=alice.metadata
        )

    await bob.put("t/1", b"1")
    await asyncio.gather(*(alice.put(f"t/{n}", b"1") for n in range(1003)))
    await alice.put("tx", b"1")
    with refuses(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"):
        await delete()
    with refuses(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"):
        await delete(prefix="t/", all=True)
    first = await delete(prefix="t/")
    assert (first.deleted_count, first.more) == (1000, True)
    second = await delete(prefix="t/")
    assert (second.deleted_count, second.more) == (3, False)
    assert [o.path for o in (await alice.list()).objects] == ["tx"]
    assert (await delete(all=True)).deleted_count == 1
    assert (await delete(all=True)).deleted_count == 0
    assert [o.path for o in (await bob.list()).objects] == ["t/1"]


async def test_signing_checks_what_is_asked(alice: Client) -> None:
    async def upload(**request: Any) -> object_pb2.SignUploadResponse:
        return await alice.stub.SignUpload(
            object_pb2.SignUploadRequest(path="x", **request), metadata=alice.metadata
        )

    signed = await upload(content_type="text/html", ttl=Duration(seconds=60))
    assert signed.url.startswith("http://storage.test/email-platform-storage/tenant-a/x?")
    assert signed.headers == {"Content-Type": "text/html"}
    for bad in (
        {"ttl": Duration(seconds=0)},
        {"ttl": Duration(seconds=3601)},
        {"ttl": Duration(seconds=-1)},
        {"max_bytes": -1},
    ):
        with refuses(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"):
            await upload(**bad)
    with refuses(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TYPE"):
        await upload(content_type="text/html\r\nX: y")
    with refuses(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"):
        await alice.stub.SignDownload(
            object_pb2.SignDownloadRequest(path="x", download_name="a\r\nb"),
            metadata=alice.metadata,
        )


async def test_reading_rights_do_not_write(server: Serving, alice: Client) -> None:
    await alice.put("x", b"1")
    reader = Client(server, "A", permissions=("objects.read",))
    assert (await reader.get("x"))[1] == b"1"
    writer = Client(server, "A", permissions=("objects.write",))
    copy = object_pb2.CopyObjectRequest(source_path="x", destination_path="y")
    with refuses(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING"):
        await writer.stub.CopyObject(copy, metadata=writer.metadata)  # its answer would tell of x
    with refuses(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING"):
        await reader.put("x", b"2")
    with refuses(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING"):
        await reader.stub.SignUpload(
            object_pb2.SignUploadRequest(path="x"), metadata=reader.metadata
        )


async def test_cut_off_and_suspended_uploads_leave_nothing(
    server: Serving, alice: Client, bucket_folder: Path
) -> None:
    async def stalled() -> AsyncIterator[Request]:
        yield Request(spec=object_pb2.UploadSpec(path="cut"))
        for _ in range(4):
            yield Request(chunk=b"1" * MIB)
        await asyncio.Event().wait()

    cut = alice.stub.UploadObject(stalled(), metadata=alice.metadata)
    ended = alice.stub.UploadObject(stalled(), metadata=alice.metadata)
    await _until(lambda: len(_content_files(bucket_folder)) == 2)
    cut.cancel()
    await _until(lambda: len(_content_files(bucket_folder)) == 1)
    server.states.observe(TenantState(tenant_id=TenantId("A"), generation=2, active=False))
    with refuses(grpc.StatusCode.PERMISSION_DENIED, "TENANT_UNAVAILABLE"):
        await ended
    await _until(lambda: not _content_files(bucket_folder))


async def test_a_suspension_ends_a_download(server: Serving, alice: Client) -> None:
    await alice.put("big", *[b"1" * 2 * MIB] * 4)
    call = alice.stub.DownloadObject(
        object_pb2.DownloadObjectRequest(path="big"), metadata=alice.metadata
    )
    parts = aiter(call)
    await anext(parts)
    server.states.observe(TenantState(tenant_id=TenantId("A"), generation=2, active=False))
    with refuses(grpc.StatusCode.PERMISSION_DENIED, "TENANT_UNAVAILABLE"):
        async for _ in parts:
            pass


def _content_files(root: Path) -> list[Path]:
    return [path for path in (root / "content").rglob("*") if path.is_file()]


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come to hold within 5 s")
