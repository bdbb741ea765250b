"""silo.search.v1.TransportService: messages to operations and back."""

from __future__ import annotations

from collections.abc import AsyncIterator

from boundary.errors import InvalidArgument
from boundary.interceptors.call import Call
from services.search.retention import EventRetention
from services.search.retention_servicer import retention_message
from services.search.transport import EventTransport
from silo.search.v1 import transport_pb2

SERVICE = transport_pb2.DESCRIPTOR.services_by_name["TransportService"].full_name


class TransportServicer:
    """silo.search.v1.TransportService."""

    def __init__(self, transport: EventTransport, *, retention: EventRetention) -> None:
        self._transport = transport
        self._retention = retention

    async def read_events(
        self, request: transport_pb2.ReadEventsRequest, call: Call
    ) -> AsyncIterator[transport_pb2.ReadEventsResponse]:
        """Reads events out."""
        if request.max_bytes < 0:
            raise InvalidArgument("max_bytes", "must not be negative")
        async for each in self._transport.read(
            call.tenant.index, position=request.position, max_bytes=request.max_bytes
        ):
            yield transport_pb2.ReadEventsResponse(
                lines=each.lines, count=each.count, position=each.position
            )

    async def write_events(
        self, requests: AsyncIterator[transport_pb2.WriteEventsRequest], call: Call
    ) -> transport_pb2.WriteEventsResponse:
        """Writes events in."""
        written = await self._transport.write(call.tenant.index, _chunks_of(requests))
        return transport_pb2.WriteEventsResponse(
            line_count=written.lines, written_count=written.events
        )

    async def summarize_events(
        self, _: transport_pb2.SummarizeEventsRequest, call: Call
    ) -> transport_pb2.SummarizeEventsResponse:
        """Adds events up."""
        total = await self._transport.summarize(call.tenant.index)
        return transport_pb2.SummarizeEventsResponse(count=total.count, digest=total.digest)

    async def read_retention(
        self, _: transport_pb2.ReadRetentionRequest, call: Call
    ) -> transport_pb2.ReadRetentionResponse:
        """Reads how long events are kept."""
        days = await self._retention.get(call.tenant)
        return transport_pb2.ReadRetentionResponse(event_retention=retention_message(days))

    async def write_retention(
        self, request: transport_pb2.WriteRetentionRequest, call: Call
    ) -> transport_pb2.WriteRetentionResponse:
        """Says how long events are kept."""
        asked = request.event_retention.days
        days = await self._retention.update(call.tenant, name="", days=asked, etag="")
        return transport_pb2.WriteRetentionResponse(event_retention=retention_message(days))


async def _chunks_of(
    requests: AsyncIterator[transport_pb2.WriteEventsRequest],
) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request.chunk
