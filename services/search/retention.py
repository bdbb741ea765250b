"""How long a tenant's events are kept: the number of days, and deleting what is older."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Protocol

from boundary.context import TenantContext
from boundary.errors import InvalidArgument, etag_mismatch
from boundary.guard import require_index
from boundary.regions import ByRegion, engine_by_region
from boundary.scope import SearchIndex

NAME = "eventRetention"
MAX_DAYS = 3_650
DAY_MS = 24 * 3_600 * 1_000

EXPIRED_AT_ONCE = 500
"""How many events are deleted in one piece of work of an engine, which the tenant's other writes wait for."""

_PATH = "event_retention"

Change = Callable[[int], int]
"""Makes the new number of days from the present one, or raises where it may not; can be asked again."""


class EventRetentions(Protocol):
    """How long each tenant's events are kept, and what that takes away.

    Every call may raise boundary.errors.Unavailable or ResourceExhausted.
    """

    async def read_retention(self, index: SearchIndex) -> int:
        """The days that the tenant's events are kept; 0 for good."""

    async def change_retention(self, index: SearchIndex, change: Change) -> int:
        """Gives the tenant what change makes of its days; those. One change at a time."""

    async def expire(self, index: SearchIndex, *, now_ms: int, limit: int) -> int:
        """Deletes at most limit of the events that are too old now, by the days as they are at this moment.

        Args:
            now_ms: the time in milliseconds since the epoch.

        Returns:
            How many. 0 where none is left, where events are kept for good, and where there is no index.
        """


class EventRetention:
    """The retention of tenants' events."""

    def __init__(
        self,
        retentions: EventRetentions | ByRegion[EventRetentions],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes the engines and the time in seconds since the epoch."""
        self._engine = engine_by_region(retentions)
        self._clock = clock

    async def get(self, tenant: TenantContext) -> int:
        """The days; 0 for good."""
        return await self._of(tenant).read_retention(tenant.index)

    async def update(self, tenant: TenantContext, *, name: str, days: int | None, etag: str) -> int:
        """The days as changed.

        Args:
            name: the resource's, or empty.
            days: the new number; None to leave it as it is.
            etag: where set, it must be the current one.

        Raises:
            InvalidArgument: the name is another, or the days are out of range.
            Aborted: the etag is stale.
        """
        engine = self._of(tenant)
        if name not in ("", NAME):
            raise InvalidArgument(f"{_PATH}.name", f"must be {NAME}", reason="INVALID_NAME")
        if days is not None and not 0 <= days <= MAX_DAYS:
            raise InvalidArgument(f"{_PATH}.days", f"must be 0 to {MAX_DAYS}")

        def change(present: int) -> int:
            if etag and etag != etag_of(present):
                raise etag_mismatch(NAME, field=f"{_PATH}.etag")
            return present if days is None else days

        return await engine.change_retention(tenant.index, change)

    async def apply(self, tenant: TenantContext) -> int:
        """Deletes what is too old, for as long as the context holds; how much. The rest is for the next time."""
        engine, deleted = self._of(tenant), 0
        if not await engine.read_retention(tenant.index):
            return deleted
        while (now := self._clock()) < tenant.expires_at:
            expired = await engine.expire(
                tenant.index, now_ms=int(now * 1_000), limit=EXPIRED_AT_ONCE
            )
            deleted += expired
            if not expired:
                break
        return deleted

    def _of(self, tenant: TenantContext) -> EventRetentions:
        require_index(tenant.index)
        return self._engine(tenant.index.region)


def oldest_ms(days: int, *, now_ms: int) -> int:
    """The time of the oldest event that is kept, in milliseconds since the epoch."""
    return now_ms - days * DAY_MS


def etag_of(days: int) -> str:
    """The etag of a retention: equal ones have an equal etag, whichever engine has them."""
    return hashlib.sha256(f"{NAME}:{days}".encode()).hexdigest()[:16]
