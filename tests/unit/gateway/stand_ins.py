"""Services of the tests' own, behind the gateway, and what their tests share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from boundary.errors import InvalidArgument, NotFound
from boundary.interceptors.call import Call
from silo.search.v1 import event_pb2
from silo.storage.v1 import object_pb2

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


def get(path: str = "a") -> object_pb2.GetObjectRequest:
    return object_pb2.GetObjectRequest(path=path)


async def chunks(count: int, size: int = 1000) -> AsyncIterator[object_pb2.UploadObjectRequest]:
    for _ in range(count):
        yield object_pb2.UploadObjectRequest(chunk=b"x" * size)


async def until(condition: Any, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - looks at files and at the other side
            await asyncio.sleep(0.005)


async def drained(call: Any) -> None:
    """What had been sent before the end arrives first."""
    while await call.read() is not grpc.aio.EOF:
        pass


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await (call.read() if hasattr(call, "read") else call)
    return raised.value
