"""silo.search.v1.EventRetentionService: messages to operations and back."""

from __future__ import annotations

from boundary.interceptors.call import Call
from boundary.masks import mask_fields
from services.search.retention import NAME, EventRetention, etag_of
from silo.search.v1 import event_retention_pb2

SERVICE = event_retention_pb2.DESCRIPTOR.services_by_name["EventRetentionService"].full_name


class EventRetentionServicer:
    """Serves the RPCs behind the chain."""

    def __init__(self, retention: EventRetention) -> None:
        self._retention = retention

    async def get_event_retention(
        self, _request: event_retention_pb2.GetEventRetentionRequest, call: Call
    ) -> event_retention_pb2.GetEventRetentionResponse:
        """GetEventRetention."""
        days = await self._retention.get(call.tenant)
        return event_retention_pb2.GetEventRetentionResponse(
            event_retention=retention_message(days)
        )

    async def update_event_retention(
        self, request: event_retention_pb2.UpdateEventRetentionRequest, call: Call
    ) -> event_retention_pb2.UpdateEventRetentionResponse:
        """UpdateEventRetention."""
        asked = request.event_retention
        mask = mask_fields(
            request.update_mask.paths,
            settable=("days",),
            populated=("days",) if asked.days else (),
            fixed=("name", "etag"),
        )
        days = await self._retention.update(
            call.tenant, name=asked.name, days=asked.days if mask else None, etag=asked.etag
        )
        return event_retention_pb2.UpdateEventRetentionResponse(
            event_retention=retention_message(days)
        )


def retention_message(days: int) -> event_retention_pb2.EventRetention:
    """The message that tells of a tenant's retention."""
    return event_retention_pb2.EventRetention(name=NAME, days=days, etag=etag_of(days))
