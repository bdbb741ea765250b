"""Deleting counters that are older than their tenant keeps them."""

from __future__ import annotations

import asyncio

from boundary.context import TenantContext
from services.data import changes
from services.data.analytics import counters_before
from services.data.changes import Clock
from services.data.codec import NANOS
from services.data.retention import ItemRetention
from services.table.ports import Delete, Table

DELETED_AT_ONCE = 25
"""How many items are deleted side by side; others' calls share the engine meanwhile."""


class CounterExpiry:
    """What the service does of itself in a tenant."""

    def __init__(
        self, *, table: Table, retention: ItemRetention, clock: Clock = changes.now
    ) -> None:
        self._table = table
        self._retention = retention
        self._clock = clock

    async def apply(self, tenant: TenantContext) -> int:
        """Deletes what is too old, for as long as the context holds; how many items.

        The days are read anew before each piece. The rest is for the next time.
        """
        deleted = 0
        asked, position = "", None
        while self._clock() < tenant.expires_at * NANOS:
            oldest = await self._retention.oldest_day(tenant)
            if oldest is None:
                break
            if oldest != asked:
                asked, position = oldest, None
            page = await self._table.query(
                tenant.partition,
                keys=counters_before(oldest),
                limit=DELETED_AT_ONCE,
                position=position,
            )
            await asyncio.gather(
                *(
                    self._table.write(tenant.partition, Delete(sort_key=stored.sort_key))
                    for stored in page.items
                )
            )
            deleted += len(page.items)
            position = page.position
            if position is None:
                break
        return deleted
