"""silo.data.v1.TransportService: proto to operation and back."""

from __future__ import annotations

from collections.abc import AsyncIterator

from boundary.errors import InvalidArgument
from boundary.interceptors.call import Call
from services.data.transport import Form, ItemTransport
from silo.data.v1 import transport_pb2

_FORMS: dict[int, Form] = {
    transport_pb2.ITEM_FORM_PORTABLE: Form.PORTABLE,
    transport_pb2.ITEM_FORM_EXACT: Form.EXACT,
}


class TransportServicer:
    """silo.data.v1.TransportService."""

    def __init__(self, transport: ItemTransport) -> None:
        self._transport = transport

    async def read_items(
        self, request: transport_pb2.ReadItemsRequest, call: Call
    ) -> AsyncIterator[transport_pb2.ReadItemsResponse]:
        """Reads items out."""
        form = _form_of(request.form)
        if request.max_bytes < 0:
            raise InvalidArgument("max_bytes", "must not be negative")
        async for each in self._transport.read(
            call.tenant, form, position=request.position, max_bytes=request.max_bytes
        ):
            yield transport_pb2.ReadItemsResponse(
                lines=each.lines, count=each.count, position=each.position
            )

    async def write_items(
        self, requests: AsyncIterator[transport_pb2.WriteItemsRequest], call: Call
    ) -> transport_pb2.WriteItemsResponse:
        """Writes items in."""
        form = await _first_form(requests)
        written = await self._transport.write(call.tenant, form, _chunks_of(requests))
        return transport_pb2.WriteItemsResponse(
            line_count=written.lines, written_count=written.items
        )

    async def summarize_items(
        self, request: transport_pb2.SummarizeItemsRequest, call: Call
    ) -> transport_pb2.SummarizeItemsResponse:
        """Adds items up."""
        total = await self._transport.summarize(call.tenant, _form_of(request.form))
        return transport_pb2.SummarizeItemsResponse(count=total.count, digest=total.digest)


def _form_of(number: int) -> Form:
    form = _FORMS.get(number)
    if form is None:
        raise InvalidArgument("form", "must be portable or exact")
    return form


async def _first_form(requests: AsyncIterator[transport_pb2.WriteItemsRequest]) -> Form:
    async for request in requests:
        if request.WhichOneof("part") == "form":
            return _form_of(request.form)
        break
    raise InvalidArgument("form", "must be in the first message")


async def _chunks_of(
    requests: AsyncIterator[transport_pb2.WriteItemsRequest],
) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidArgument("chunk", "must be set in every message after the first")
        yield request.chunk
