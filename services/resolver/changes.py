"""Tells everyone who watches of every change of a tenant, as it is made.

What other resolvers over the same directory change, `following.py` finds there and tells here, too. A watcher may
so hear of a change twice, and of an older state after a newer one: what counts is the generation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from boundary.errors import Unavailable
from services.resolver.directory import Tenant

if TYPE_CHECKING:
    from collections.abc import Iterator

_BACKLOG = 10_000


class Subscription:
    """What one watcher has yet to hear."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Tenant | None] = asyncio.Queue(_BACKLOG + 1)
        self._behind = False

    def tell(self, tenant: Tenant) -> None:
        """Adds a change; a watcher that is too far behind is sent away, to begin again."""
        if self._waiting.qsize() >= _BACKLOG:
            self._behind = True
            self.end()
        else:
            self._waiting.put_nowait(tenant)

    def end(self) -> None:
        """Ends the subscription after what has been told."""
        if not self._waiting.full():
            self._waiting.put_nowait(None)

    async def changes(self) -> AsyncIterator[Tenant]:
        """The changes as they come, until the subscription ends.

        Raises:
            Unavailable: the watcher was too far behind; it has to begin again.
        """
        while (tenant := await self._waiting.get()) is not None:
            yield tenant
        if self._behind:
            raise Unavailable("WATCH_BEHIND", "the watcher is too far behind; begin again")


class Changes:
    """All subscriptions."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    def publish(self, tenant: Tenant) -> None:
        """Tells every watcher of a tenant's new state."""
        for subscription in self._subscriptions:
            subscription.tell(tenant)

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """A subscription for as long as the block runs."""
        subscription = Subscription()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        """Ends every subscription; the process is stopping."""
        for subscription in self._subscriptions:
            subscription.end()
