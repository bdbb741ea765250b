"""How long a tenant's items are kept: an item of its own in the tenant's partition.

Counters alone go by their age. Nothing is written into them: what is too old is told by its day, so that a change
of the days holds for what is there already and for every part of a counter alike.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from boundary.context import TenantContext
from boundary.errors import InvalidArgument, etag_mismatch
from services.data import changes
from services.data.changes import Clock
from services.data.codec import NANOS
from services.data.operations import ATTEMPTS, contended
from services.table.ports import Condition, ConditionFailed, Item, Table, Update

NAME = "itemRetention"
SORT_KEY = "RETENTION"
INITIAL_ETAG = "0"
"""The etag of a retention that was never changed."""

MAX_DAYS = 3_650

_PATH = "item_retention"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long items are kept.

    Attributes:
        counter_days: a counter's day lies at most so many days back; 0 for any.
        etag: another one after every change.
    """

    counter_days: int = 0
    etag: str = INITIAL_ETAG


class ItemRetention:
    """The retention of tenants' items."""

    def __init__(self, *, table: Table, clock: Clock = changes.now) -> None:
        self._table = table
        self._clock = clock

    async def get(self, tenant: TenantContext) -> Retention:
        """The retention."""
        return _retention_in(await self._table.get(tenant.partition, SORT_KEY))

    async def update(
        self, tenant: TenantContext, *, name: str, counter_days: int | None, etag: str
    ) -> Retention:
        """The retention as changed.

        Args:
            tenant: whose.
            name: the resource's, or empty.
            counter_days: the new number; None to leave it as it is.
            etag: where set, it must be the current one.

        Raises:
            InvalidArgument: the name is another, or the days are out of range.
            Aborted: the etag is stale, or others keep changing the retention.
        """
        if name not in ("", NAME):
            raise InvalidArgument(f"{_PATH}.name", f"must be {NAME}", reason="INVALID_NAME")
        if counter_days is not None and not 0 <= counter_days <= MAX_DAYS:
            raise InvalidArgument(f"{_PATH}.counter_days", f"must be 0 to {MAX_DAYS}")
        for _ in range(ATTEMPTS):
            present = await self.get(tenant)
            if etag and etag != present.etag:
                raise etag_mismatch(NAME, field=f"{_PATH}.etag")
            if counter_days is None:
                return present
            changed = Retention(counter_days=counter_days, etag=changes.new_etag())
            if await self._write(tenant, present, changed):
                return changed
        raise contended(NAME)

    async def oldest_day(self, tenant: TenantContext) -> str | None:
        """The day of the oldest counters that are kept, as `YYYY-MM-DD`; None where all are."""
        retention = await self.get(tenant)
        if not retention.counter_days:
            return None
        today = datetime.datetime.fromtimestamp(self._clock() // NANOS, datetime.UTC).date()
        return (today - datetime.timedelta(days=retention.counter_days)).isoformat()

    async def _write(self, tenant: TenantContext, present: Retention, changed: Retention) -> bool:
        """Whether the retention was still the present one and so was changed."""
        etag = None if present.etag == INITIAL_ETAG else present.etag
        update = Update(
            sort_key=SORT_KEY,
            set={"counter_days": changed.counter_days, "etag": changed.etag},
            condition=Condition(equals={"etag": etag}),
        )
        try:
            await self._table.write(tenant.partition, update)
        except ConditionFailed:
            return False
        return True


def _retention_in(item: Item | None) -> Retention:
    if item is None:
        return Retention()
    return Retention(counter_days=int(str(item["counter_days"])), etag=str(item["etag"]))
