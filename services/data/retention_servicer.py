"""silo.data.v1.ItemRetentionService: messages to operations and back."""

from __future__ import annotations

from boundary.interceptors.call import Call
from boundary.masks import mask_fields
from services.data.retention import NAME, ItemRetention, Retention
from silo.data.v1 import item_retention_pb2

SERVICE = item_retention_pb2.DESCRIPTOR.services_by_name["ItemRetentionService"].full_name


class ItemRetentionServicer:
    """Serves the RPCs behind the chain."""

    def __init__(self, retention: ItemRetention) -> None:
        self._retention = retention

    async def get_item_retention(
        self, _request: item_retention_pb2.GetItemRetentionRequest, call: Call
    ) -> item_retention_pb2.GetItemRetentionResponse:
        """GetItemRetention."""
        retention = await self._retention.get(call.tenant)
        return item_retention_pb2.GetItemRetentionResponse(item_retention=_message(retention))

    async def update_item_retention(
        self, request: item_retention_pb2.UpdateItemRetentionRequest, call: Call
    ) -> item_retention_pb2.UpdateItemRetentionResponse:
        """UpdateItemRetention."""
        asked = request.item_retention
        mask = mask_fields(
            request.update_mask.paths,
            settable=("counter_days",),
            populated=("counter_days",) if asked.counter_days else (),
            fixed=("name", "etag"),
        )
        retention = await self._retention.update(
            call.tenant,
            name=asked.name,
            counter_days=asked.counter_days if mask else None,
            etag=asked.etag,
        )
        return item_retention_pb2.UpdateItemRetentionResponse(item_retention=_message(retention))


def _message(retention: Retention) -> item_retention_pb2.ItemRetention:
    return item_retention_pb2.ItemRetention(
        name=NAME, counter_days=retention.counter_days, etag=retention.etag
    )
