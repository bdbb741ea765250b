"""Lines and objects from one place to another, in constant memory. Nothing that is carried is parsed here.

What carries keeps where it is in the operation's memory after each part, and after a crash goes on there.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from boundary.json_lines import CHUNK_BYTES
from services.resolver.lifecycle.services import Access
from silo.data.v1 import transport_pb2 as data_pb2
from silo.data.v1 import transport_pb2_grpc as data_grpc
from silo.search.v1 import transport_pb2 as search_pb2
from silo.search.v1 import transport_pb2_grpc as search_grpc
from silo.storage.v1 import transport_pb2 as storage_pb2
from silo.storage.v1 import transport_pb2_grpc as storage_grpc

PART_SECONDS = 3600.0
"""How long one stream may take. A part that takes longer is begun again, and fails in the end."""

PART_BYTES = 64 * 1024 * 1024
"""About how many bytes a part has, and how many are carried between two notes of where the work is."""

Messages = AsyncGenerator[Any, None]
"""Responses with `lines`, `count` and `position`."""


class Carried:
    """Counts what passes through.

    Attributes:
        count: how many lines or objects.
        content_bytes: how many bytes of content they describe; 0 for lines that describe none.
        position: where to go on; empty where there is nothing more.
    """

    def __init__(self) -> None:
        self.count = 0
        self.content_bytes = 0
        self.position = b""

    def take(self, message: Any) -> None:
        """Counts a message of lines."""
        self.count += message.count
        self.content_bytes += getattr(message, "content_bytes", 0)
        self.position = message.position


def items_from(
    data: Access,
    form: data_pb2.ItemForm.ValueType,
    position: bytes,
    *,
    max_bytes: int = PART_BYTES,
) -> Messages:
    """A part's worth of items."""
    request = data_pb2.ReadItemsRequest(form=form, position=position, max_bytes=max_bytes)
    stub = data.stub(data_grpc.TransportServiceStub)
    return data.read(stub.ReadItems, request, seconds=PART_SECONDS)


def events_from(search: Access, position: bytes, *, max_bytes: int = PART_BYTES) -> Messages:
    """A part's worth of events."""
    request = search_pb2.ReadEventsRequest(position=position, max_bytes=max_bytes)
    stub = search.stub(search_grpc.TransportServiceStub)
    return search.read(stub.ReadEvents, request, seconds=PART_SECONDS)


async def lines_of(messages: Messages, carried: Carried) -> AsyncGenerator[bytes, None]:
    """The lines of messages in pieces of at most CHUNK_BYTES, counted as they pass."""
    async with aclosing(messages):
        async for message in messages:
            carried.take(message)
            for start in range(0, len(message.lines), CHUNK_BYTES):
                yield message.lines[start : start + CHUNK_BYTES]


async def write_items(
    data: Access, form: data_pb2.ItemForm.ValueType, chunks: AsyncIterator[bytes]
) -> int:
    """Writes lines as items; how many lines there were."""

    async def requests() -> AsyncIterator[data_pb2.WriteItemsRequest]:
        yield data_pb2.WriteItemsRequest(form=form)
        async for chunk in chunks:
            yield data_pb2.WriteItemsRequest(chunk=chunk)

    stub = data.stub(data_grpc.TransportServiceStub)
    return int((await data.send(stub.WriteItems, requests(), seconds=PART_SECONDS)).line_count)


async def write_events(search: Access, chunks: AsyncIterator[bytes]) -> int:
    """Writes lines as events; how many lines there were."""

    async def requests() -> AsyncIterator[search_pb2.WriteEventsRequest]:
        async for chunk in chunks:
            yield search_pb2.WriteEventsRequest(chunk=chunk)

    stub = search.stub(search_grpc.TransportServiceStub)
    return int((await search.send(stub.WriteEvents, requests(), seconds=PART_SECONDS)).line_count)


async def copy_objects(
    origin: Access, target: Access, position: bytes, *, under: str = "", into: str = ""
) -> Carried:
    """Copies a part's worth of objects, from a position on.

    Args:
        under: how the paths begin of those that are copied.
        into: how they begin where they are copied to, in place of `under`.
    """
    carried = Carried()
    request = storage_pb2.ReadObjectsRequest(prefix=under, position=position, max_bytes=PART_BYTES)
    stub = origin.stub(storage_grpc.TransportServiceStub)
    read = origin.read(stub.ReadObjects, request, seconds=PART_SECONDS)
    method = target.stub(storage_grpc.TransportServiceStub).WriteObjects
    renamed = (under, into) if into else ("", "")
    async with aclosing(_pieces(read, carried, *renamed)) as pieces:
        await target.send(method, pieces, seconds=PART_SECONDS)
    return carried


async def _pieces(
    read: Messages, carried: Carried, former: str, prefix: str
) -> AsyncGenerator[storage_pb2.WriteObjectsRequest, None]:
    async with aclosing(read):
        async for response in read:
            part = response.WhichOneof("part")
            if part == "position":
                carried.position = response.position
            elif part == "object":
                carried.count += 1
                response.object.path = prefix + response.object.path.removeprefix(former)
                yield storage_pb2.WriteObjectsRequest(object=response.object)
            else:
                carried.content_bytes += len(response.chunk)
                yield storage_pb2.WriteObjectsRequest(chunk=response.chunk)


async def remove_objects(storage: Access, archive: str) -> AsyncGenerator[int, None]:
    """Removes an archive, or where it is empty every object outside of the archives; how many so far."""
    request = storage_pb2.RemoveObjectsRequest(archive=archive)
    stub = storage.stub(storage_grpc.TransportServiceStub)
    async with aclosing(
        storage.read(stub.RemoveObjects, request, seconds=PART_SECONDS)
    ) as responses:
        async for response in responses:
            yield int(response.count)


def packed_position(position: bytes) -> str:
    """A position as it is kept in an operation's memory."""
    return base64.b64encode(position).decode()


def position_in(packed: object) -> bytes:
    """The position that was kept; the beginning where there is none."""
    return base64.b64decode(packed) if isinstance(packed, str) else b""
